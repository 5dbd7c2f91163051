"""What Shared Signals tell of identities, and what becomes of it."""
