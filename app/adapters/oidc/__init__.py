"""Verification of access tokens (JWT) of OpenID providers with the providers' published keys.

See ADR 7.
"""
