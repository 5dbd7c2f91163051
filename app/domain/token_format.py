"""The text format of credentials: ``<prefix>_<id>_<secret><checksum>``.

``sgt_<22 base62 id>_<43 base62 secret><6 base62 CRC-32>``. The id is the object's UUID and is safe to log. The checksum
covers everything before it, so that a typo costs no lookup and secret scanners recognize real credentials. Only an HMAC
of id and secret is stored.
"""

import re
import zlib
from dataclasses import dataclass, field
from uuid import UUID

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUE = {char: index for index, char in enumerate(_ALPHABET)}

ID_LENGTH = 22
SECRET_LENGTH = 43
CHECKSUM_LENGTH = 6
SECRET_BYTES = 32

SCOPED_TOKEN = "sgt"
CLIENT_SECRET = "sgc"
API_BEARER = "sgb"
BREAK_GLASS = "sge"
BROWSER_SESSION = "sgs"
INVITATION = "sgi"

TOKEN_NEEDED = (
    "This needs a valid Scopegate token. Send it as 'Authorization: Bearer sgt_...'; if yours has expired or was "
    "revoked, ask your administrator for a new one."
)
"""The gateway's message for requests without a valid token. It fits in a quoted string of a header."""

_SHAPE = re.compile(
    rf"(sg[tcbesi])_([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A parsed credential. ``repr`` leaves out ``secret``."""

    prefix: str
    id: UUID
    secret: str = field(repr=False)

    @property
    def digest_input(self) -> bytes:
        """The input of the stored HMAC: id, then secret."""
        return encode_base62(self.id.int, ID_LENGTH).encode() + self.secret.encode()


def encode_base62(number: int, length: int) -> str:
    """Write a non-negative integer in base62, zero-padded to ``length``.

    Raises ``ValueError`` when it does not fit.
    """
    if number < 0:
        raise ValueError("base62 takes no negative numbers")
    chars = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        chars.append(_ALPHABET[digit])
    if number:
        raise ValueError("number does not fit the length")
    return "".join(reversed(chars))


def decode_base62(text: str) -> int:
    """Read base62. Raises ``ValueError`` on a foreign character."""
    number = 0
    for char in text:
        value = _VALUE.get(char)
        if value is None:
            raise ValueError("not base62")
        number = number * 62 + value
    return number


def _checksum(text: str) -> str:
    return encode_base62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def format_credential(prefix: str, id: UUID, secret_bytes: bytes) -> str:
    """Build the text of a new credential from 32 random bytes. Raises ``ValueError`` on another length."""
    if len(secret_bytes) != SECRET_BYTES:
        raise ValueError("a secret is made of 32 random bytes")
    secret = encode_base62(int.from_bytes(secret_bytes), SECRET_LENGTH)
    body = f"{prefix}_{encode_base62(id.int, ID_LENGTH)}_{secret}"
    return body + _checksum(body)


def parse_credential(text: str, prefix: str) -> Credential | None:
    """Parse a credential with this prefix; ``None`` if it is malformed, mistyped or has another prefix."""
    match = _SHAPE.fullmatch(text)
    if match is None or match[1] != prefix:
        return None
    if _checksum(text[:-CHECKSUM_LENGTH]) != match[4]:
        return None
    number = decode_base62(match[2])
    if number >= 1 << 128:
        return None
    return Credential(prefix=prefix, id=UUID(int=number), secret=match[3])
