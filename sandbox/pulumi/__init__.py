"""Pulumi without its downloads: the real engine, built from Go modules, and stand-ins for the plugins."""
