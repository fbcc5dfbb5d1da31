"""Shared by tests and benchmarks: stacks, fleets, simulated hosts, processes."""
