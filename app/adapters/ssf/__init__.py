"""Shared Signals (SSF 1.0): event tokens, pushed (RFC 8935) or polled (RFC 8936), and streams at transmitters.

See ADR 19.
"""
