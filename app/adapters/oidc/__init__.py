"""Access tokens (JWT) of OpenID providers: read strictly, checked against the provider's own keys.

See ADR 7.
"""
