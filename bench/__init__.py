"""Benchmarks of a ``tools/call`` through the gateway, compared with plain proxies and the upstream only.

Run ``python -m bench``. ``docs/how-to/benchmark.md`` describes the figures.
"""
