"""What tests and benchmarks share: stacks and fleets to bring up and look at, simulated hosts, processes."""
