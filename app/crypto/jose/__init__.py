"""Reading what others sign: the text of a token, the keys of whoever signs, the signature (RFC 7515, 7517, 8725)."""
