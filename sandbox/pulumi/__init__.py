"""Pulumi where it can't be downloaded: the real engine, built from Go modules, and stand-ins for the plugins."""
