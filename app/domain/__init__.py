"""The pure core: access decisions, scopes, token format, risk. Standard library only, no I/O."""
