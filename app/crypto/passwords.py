"""Argon2id hashes of human passwords through passlib. Slow on purpose; never call this on the event loop."""

from passlib.hash import argon2

MIN_LENGTH = 12
"""Characters. The password gives full access, so it must resist guessing."""
MAX_LENGTH = 1024


def hash_password(password: str) -> str:
    """Hash a password for the configuration, with a random salt."""
    hashed: str = argon2.hash(password)
    return hashed


def matches_hash(password: str, hashed: str) -> bool:
    """Whether the password matches. A malformed hash matches nothing."""
    return is_password_hash(hashed) and bool(argon2.verify(password, hashed))


def is_password_hash(text: str) -> bool:
    """Whether this is a complete Argon2id hash."""
    try:
        parsed = argon2.from_string(text)
    except (TypeError, ValueError):
        return False
    # The parser ignores trailing text.
    return parsed.type == "id" and parsed.checksum is not None and parsed.to_string() == text
