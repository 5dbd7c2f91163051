"""Client ids, which bind the address and program of a caller to the sealed events that name them.

An event is sealed with the id of its client. The readable parts are in a separate row, so that they can be erased. The
id is a digest of that row: of a 16-byte salt, and of address, user agent, client name and client version as a JSON
array. Without the salt, guesses cannot be tested against the id.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from uuid import UUID

Parts = tuple[str | None, str | None, str | None, str | None]
"""Address, user agent, client name, client version."""
KEY_PURPOSE = "clients"
"""The purpose for which the key of the salts is derived from the pepper."""
_SALT_BYTES = 16
_PURPOSE = b"scopegate client v1\0"


def salt_of(key: bytes, parts: Parts) -> bytes:
    """The salt of a client: the same in every worker with this key, and secret."""
    return hmac.digest(key, _PURPOSE + _text(parts), "sha256")[:_SALT_BYTES]


def client_id(salt: bytes, parts: Parts) -> UUID:
    """The id of the client with this salt."""
    return _uuid(hashlib.sha256(_PURPOSE + salt + _text(parts)).digest())


def is_client(id: UUID, salt: bytes | None, parts: Parts, keys: Iterable[bytes]) -> bool:
    """Whether a row is unchanged since events were sealed with its id.

    Rows of older code have no salt; their id is a keyed digest with one of ``keys``.
    """
    if salt is not None:
        return id == client_id(salt, parts)
    written = repr(parts).encode("utf-8", "backslashreplace")
    return any(id == _uuid(hmac.digest(key, written, "sha256")) for key in keys)


def _text(parts: Sequence[str | None]) -> bytes:
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()


def _uuid(digest: bytes) -> UUID:
    # A version 8 UUID (RFC 9562) with its bits set by hand, as Python 3.11 supports only versions 1 to 5.
    number = int.from_bytes(digest[:16]) & ~(0xF << 76 | 0x3 << 62)
    return UUID(int=number | 0x8 << 76 | 0x2 << 62)
