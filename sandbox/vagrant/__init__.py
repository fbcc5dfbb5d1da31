"""Vagrant for the tests: a stand-in whose VMs are the sandbox's machines, and Debian's own with emulated VMs."""
