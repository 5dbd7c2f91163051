"""The Cedar policy engine (ADR 17)."""
