"""Measures a ``tools/call`` through the gateway beside plain proxies and the upstream alone.

Run it as ``python -m bench``; what it measures and how to read it is in ``docs/how-to/benchmark.md``.
"""
