"""Benchmarks of a large organization (a million tokens, ten million events) and a small one of the same shape."""
