"""Peppered digests of credentials, encrypted secrets, and keys derived for single purposes.

Every key list is newest first: the first key writes, all of them read. A key's id is derived from the key and stored
with what the key produced, so no registry of keys is needed.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MINIMUM_KEY_BYTES = 32
_NONCE = 12
_DATA_KEY = 32
_WRAPPED = _NONCE + _DATA_KEY + 16


class KeyFault(ValueError):
    """A key is missing or too short. The message never holds the key."""


class UnsealingFault(Exception):
    """A sealed value cannot be decrypted: wrong key, wrong associated data or changed bytes."""


def derive_key(key: bytes, purpose: str) -> bytes:
    """Derive a 32-byte key for one purpose (RFC 5869)."""
    return HKDF(SHA256(), 32, salt=None, info=b"scopegate " + purpose.encode()).derive(key)


def key_id(key: bytes) -> str:
    """The public name of a key: 12 hex characters that reveal nothing about it."""
    return hmac.new(key, b"scopegate key id", hashlib.sha256).hexdigest()[:12]


def key_ring(keys: Sequence[bytes]) -> dict[str, bytes]:
    """The keys by their ids, in their order. Raises ``KeyFault``."""
    if not keys:
        raise KeyFault("at least one key is needed")
    if any(len(key) < MINIMUM_KEY_BYTES for key in keys):
        raise KeyFault(f"a key has at least {MINIMUM_KEY_BYTES} bytes")
    return {key_id(key): key for key in keys}


class KeyRing:
    """Keys, newest first; ``ids`` are their ids in this order. Raises ``KeyFault`` for none or short ones."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = key_ring(keys)
        self.ids = tuple(self._keys)
        self.current_id = self.ids[0]

    def derive(self, purpose: str) -> bytes:
        """A key for one purpose derived from the newest key."""
        return derive_key(self._keys[self.current_id], purpose)

    def derive_all(self, purpose: str) -> list[bytes]:
        """The keys for one purpose derived from every key, newest first."""
        return [derive_key(key, purpose) for key in self._keys.values()]


class Peppers(KeyRing):
    """HMAC-SHA256 digests of credentials under the server's pepper."""

    def digest(self, data: bytes) -> bytes:
        """The 32-byte digest under the current pepper, whose id is ``current_id``."""
        return hmac.digest(self._keys[self.current_id], data, "sha256")

    def matches(self, pepper_key_id: str, digest: bytes, data: bytes) -> bool:
        """Compare in constant time. An unknown key id takes the same time and does not match."""
        key = self._keys.get(pepper_key_id)
        actual = hmac.digest(key or self._keys[self.current_id], data, "sha256")
        return hmac.compare_digest(actual, digest) and key is not None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value and the id of the key that wraps its data key."""

    key_id: str
    data: bytes


class Sealer(KeyRing):
    """AES-256-GCM with a fresh data key for each value, wrapped by the encryption key.

    ``place`` is the associated data: a value can be decrypted only with the place that it was sealed for.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        super().__init__(keys)
        wrapping = self.derive_all("wrap data keys")
        self._wrappers = {id: AESGCM(key) for id, key in zip(self.ids, wrapping, strict=True)}

    def seal(self, plaintext: bytes, place: bytes) -> Sealed:
        """Encrypt a value for one place."""
        data_key = AESGCM.generate_key(256)
        wrap_nonce, nonce = os.urandom(_NONCE), os.urandom(_NONCE)
        wrapped = wrap_nonce + self._wrappers[self.current_id].encrypt(wrap_nonce, data_key, place)
        return Sealed(self.current_id, wrapped + nonce + AESGCM(data_key).encrypt(nonce, plaintext, place))

    def unseal(self, sealed: Sealed, place: bytes) -> bytes:
        """Decrypt a value. Raises ``UnsealingFault``."""
        wrapper = self._wrappers.get(sealed.key_id)
        if wrapper is None:
            raise UnsealingFault("sealed with a key that is not configured")
        wrapped, rest = sealed.data[:_WRAPPED], sealed.data[_WRAPPED:]
        try:
            data_key = wrapper.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], place)
            return AESGCM(data_key).decrypt(rest[:_NONCE], rest[_NONCE:], place)
        except (InvalidTag, ValueError) as error:
            raise UnsealingFault("the sealed value does not open here") from error
