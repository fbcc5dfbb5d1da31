"""Sandbox machines: real systemd, apt and SSH in namespaces of this host."""

from sandbox.machine.host import packages, require
from sandbox.machine.machine import Machine

__all__ = ["Machine", "packages", "require"]
