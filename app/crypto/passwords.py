"""Human passwords: hashed with Argon2id through passlib. Slow on purpose, so never called on the event loop."""

from passlib.hash import argon2

MIN_LENGTH = 12
"""Characters. What opens a deployment to whoever guesses it is not to be guessed."""
MAX_LENGTH = 1024


def hash_password(password: str) -> str:
    """The hash to configure, with a salt of its own."""
    hashed: str = argon2.hash(password)
    return hashed


def matches_hash(password: str, hashed: str) -> bool:
    """Whether this is the password. A hash that is none matches nothing."""
    return is_password_hash(hashed) and bool(argon2.verify(password, hashed))


def is_password_hash(text: str) -> bool:
    """Whether this is a whole hash of Argon2id."""
    try:
        parsed = argon2.from_string(text)
    except (TypeError, ValueError):
        return False
    # The reader is lenient about what stands at the end.
    return parsed.type == "id" and parsed.checksum is not None and parsed.to_string() == text
