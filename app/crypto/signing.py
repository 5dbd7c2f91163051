"""Publicly verifiable signatures: compact JWS (RFC 7515) with Ed25519 (RFC 8037), and their public keys.

Each configured signing key is the seed of one key pair, so it is a text like every other key. The newest key signs; all
public keys are published.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.crypto.keys import KeyRing
from app.lib import strict_json

ALGORITHM = "EdDSA"
"""The name of RFC 8037, which libraries support; few support the newer one of RFC 9864."""
_CURVE = "Ed25519"


class SignatureFault(ValueError):
    """A JWS is invalid. The message says what is wrong."""


@dataclass(frozen=True, slots=True)
class SignedText:
    """A compact JWS, and the id of the key that signed it."""

    key_id: str
    text: str


class Signer(KeyRing):
    """Signs as ``issuer`` with the newest of its keys."""

    def __init__(self, keys: Sequence[bytes], issuer: str) -> None:
        super().__init__(keys)
        self.issuer = issuer
        seeds = map(Ed25519PrivateKey.from_private_bytes, self.derive_all("sign with Ed25519"))
        self._pairs = dict(zip(self.ids, seeds, strict=True))

    def sign(self, claims: Mapping[str, Any], *, type: str) -> SignedText:
        """Sign claims with our ``iss``. ``type`` becomes the ``typ`` header, which prevents use for another purpose."""
        header = {"alg": ALGORITHM, "kid": self.current_id, "typ": type}
        signed = f"{_part(header)}.{_part({'iss': self.issuer, **claims})}"
        signature = self._pairs[self.current_id].sign(signed.encode())
        return SignedText(self.current_id, f"{signed}.{_encode(signature)}")

    def public_keys(self) -> list[dict[str, str]]:
        """The public keys as JSON Web Keys (RFC 8037 section 2), newest first."""
        return [
            {
                "kty": "OKP",
                "crv": _CURVE,
                "x": _encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
                "kid": id,
                "use": "sig",
                "alg": ALGORITHM,
            }
            for id, key in self._pairs.items()
        ]


def verify(text: str, keys: Sequence[Mapping[str, Any]], *, type: str) -> tuple[dict[str, Any], str]:
    """Verify a compact JWS of this type. Returns its claims and the id of the signing key.

    ``keys`` are JSON Web Keys. Raises ``SignatureFault``.
    """
    parts = text.split(".")
    if len(parts) != 3:
        raise SignatureFault("this is not a compact JWS: it does not have three parts separated by dots")
    header = _object(parts[0], "header")
    if header.get("typ") != type:
        raise SignatureFault(f"this is not a {type}, but says that it is {header.get('typ')!r}")
    if header.get("alg") != ALGORITHM or "crit" in header:
        raise SignatureFault(f"it is not signed with {ALGORITHM}, the only supported algorithm")
    key_id = header.get("kid")
    matching = [key for key in keys if key.get("kid") == key_id]
    if not isinstance(key_id, str) or not matching:
        raise SignatureFault(f"its signing key {key_id!r} is not among the keys")
    try:
        _public_key(matching[0]).verify(_decode(parts[2]), f"{parts[0]}.{parts[1]}".encode())
    except InvalidSignature:
        raise SignatureFault(f"the signature is not valid for the key {key_id!r}: it was changed") from None
    return _object(parts[1], "content"), key_id


def _public_key(key: Mapping[str, Any]) -> Ed25519PublicKey:
    if key.get("kty") != "OKP" or key.get("crv") != _CURVE or not isinstance(key.get("x"), str):
        raise SignatureFault(f"the key {key.get('kid')!r} is not an {_CURVE} key")
    try:
        return Ed25519PublicKey.from_public_bytes(_decode(key["x"]))
    except ValueError as error:
        raise SignatureFault(f"the key {key.get('kid')!r} cannot be read") from error


def _part(value: Mapping[str, Any]) -> str:
    return _encode(strict_json.dumps(dict(value)))


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        value = strict_json.loads(_decode(part))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SignatureFault(f"its {what} cannot be read")
    return value


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Decode canonical base64url. Raises ``SignatureFault``."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (ValueError, binascii.Error):
        data = None
    if data is None or _encode(data) != text:
        raise SignatureFault("a part of it is not base64url")
    return data
