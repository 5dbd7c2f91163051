"""Verification of tokens that providers sign: parsing, keys and signatures (RFC 7515, 7517, 8725)."""
