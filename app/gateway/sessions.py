"""Session ids that only the gateway can read.

AES-256-GCM with the token's id and the server's id as associated data: an id opens only for the token and the
server that it was made for, in any worker, without a store. Form: base64url(nonce ‖ ciphertext ‖ tag).
"""

import base64
import binascii
import os
from collections.abc import Sequence
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_OVERHEAD = _NONCE + 16
MAX_SEALED = 1024
"""Characters. An upstream whose own session id makes a longer one is refused."""
FLEET = UUID(int=0)
"""Stands in the server's place for sessions on ``/mcp``."""


class SessionSealer:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """``keys``: 16, 24 or 32 bytes each, newest first. Raises ``ValueError`` without one."""
        if not keys:
            raise ValueError("at least one session key is needed")
        self._ciphers = [AESGCM(key) for key in keys]

    def seal(self, token_id: UUID, server_id: UUID, session_id: bytes) -> bytes:
        """The id that the client sees."""
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[0].encrypt(nonce, session_id, token_id.bytes + server_id.bytes)
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=")

    def open(self, token_id: UUID, server_id: UUID, text: bytes) -> bytes | None:
        """The id inside, or ``None``: forged, another token's, another server's."""
        if len(text) > MAX_SEALED or b"+" in text or b"/" in text:
            return None
        try:
            data = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            return None
        if len(data) < _OVERHEAD:
            return None
        place = token_id.bytes + server_id.bytes
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(data[:_NONCE], data[_NONCE:], place)
            except InvalidTag:
                continue
        return None
