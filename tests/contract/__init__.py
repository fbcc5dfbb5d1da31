"""Checks what Watchpost writes, sends and runs against the libraries and programs that consume it."""
