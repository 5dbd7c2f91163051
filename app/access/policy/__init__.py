"""The Cedar policy engine."""
