"""Vagrant for tests: a stand-in backed by the sandbox's machines, and Debian's own with emulated VMs."""
