"""Parsing of signed tokens before their verification."""

from dataclasses import dataclass, field

from joserfc.util import urlsafe_b64decode

from app.lib.strict_json import JsonObject, loads

MAX_CHARACTERS = 16 * 1024
_MAX_DEPTH = 16


class Refused(Exception):
    """The token is rejected. ``reason`` is only for our log; the caller's response does not depend on it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Unverified:
    """The header and claims of a token. Do not trust them until the signature has been verified."""

    text: str = field(repr=False)
    header: JsonObject = field(repr=False)
    claims: JsonObject = field(repr=False)


def read_token(text: str) -> Unverified:
    """Parse a compact JWS of two JSON objects (RFC 7515 section 7.1). Raises ``Refused``.

    The JSON must be strict, without duplicate members, so that the signer and we read the same claims.
    """
    if len(text) > MAX_CHARACTERS:
        raise Refused("too large")
    parts = text.split(".")
    if len(parts) != 3:
        raise Refused("not three parts")
    return Unverified(text, _object(parts[0]), _object(parts[1]))


def _object(part: str) -> JsonObject:
    try:
        value = loads(urlsafe_b64decode(part.encode("ascii")), max_depth=_MAX_DEPTH)
    except ValueError:
        raise Refused("not strict JSON in base64url") from None
    if not isinstance(value, dict):
        raise Refused("not a JSON object")
    return value
