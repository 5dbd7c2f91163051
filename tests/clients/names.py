"""Names that no other test has: the tests share a service."""

from uuid import uuid4


def name(stem: str) -> str:
    """A name that begins like this."""
    return f"{stem}-{uuid4().hex[:12]}"
