"""Shared Signals: receive security events about identities, and apply them."""
