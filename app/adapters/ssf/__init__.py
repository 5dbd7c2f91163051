"""Shared Signals (SSF 1.0): receiving event tokens by push (RFC 8935) or poll (RFC 8936), and managing streams.

See ADR 19.
"""
