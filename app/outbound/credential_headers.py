"""Headers that carry somebody else's secret: which names and values may be stored, and sent later."""

import re

from pydantic import SecretStr

HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
# What the outbound client writes itself, and what would change how a request is read.
_RESERVED = frozenset(
    "accept accept-encoding connection content-encoding content-length content-type expect host keep-alive "
    "last-event-id proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split()
)


def visible_ascii(secret: SecretStr) -> SecretStr:
    """A token. Raises ``ValueError`` for what no header can carry as one."""
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("only visible ASCII characters, without spaces")
    return secret


def header_value(secret: SecretStr) -> SecretStr:
    """The value of a header. Raises ``ValueError``."""
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", secret.get_secret_value()):
        raise ValueError("only visible ASCII characters, with spaces inside at most")
    return secret


def check_free(name: str, *prefixes: str) -> str:
    """The name of a header that is nobody else's, nor begins as one of ours. Raises ``ValueError``."""
    lower = name.lower()
    if lower in _RESERVED or lower.startswith(prefixes):
        raise ValueError("this header belongs to the transport; choose another")
    return name
