"""Validation of headers that carry upstream credentials."""

import re

from pydantic import SecretStr

HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
# Headers that the outbound client sets itself, or that change how a request is read.
_RESERVED = frozenset(
    "accept accept-encoding connection content-encoding content-length content-type expect host keep-alive "
    "last-event-id proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split()
)


def visible_ascii(secret: SecretStr) -> SecretStr:
    """Validate a token. Raises ``ValueError`` for one that a header cannot carry."""
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("only visible ASCII characters, without spaces")
    return secret


def header_value(secret: SecretStr) -> SecretStr:
    """Validate the value of a header. Raises ``ValueError``."""
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", secret.get_secret_value()):
        raise ValueError("only visible ASCII characters, and spaces between them")
    return secret


def check_free(name: str, *prefixes: str) -> str:
    """Validate a header name: not reserved, and without these prefixes. Raises ``ValueError``."""
    lower = name.lower()
    if lower in _RESERVED or lower.startswith(prefixes):
        raise ValueError("this header belongs to the transport; choose another")
    return name
