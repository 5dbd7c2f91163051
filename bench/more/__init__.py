"""Other benchmarks with a target: policies, workers, issuing, cuts, memory, lists, and the console."""
