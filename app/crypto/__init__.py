"""Keys, sealing, signatures and hashing."""
