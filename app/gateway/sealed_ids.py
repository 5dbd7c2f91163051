"""Ids that only the gateway can read or make: sessions, stable names, and requests of servers.

AES-256-GCM with the token's id and the server's id as associated data: an id opens only for its token and server, in
any worker, without a store. Format: base64url(nonce ‖ ciphertext ‖ tag). See ADR 10.
"""

import base64
import binascii
import hmac
import os
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from app.gateway.wire.messages import ClientFeatures
from app.gateway.wire.refusals import bad_upstream
from app.lib import strict_json

_NONCE = 12
_OVERHEAD = _NONCE + 16
_SIV = 16
MAX_SEALED = 1024
"""Characters. A longer upstream session id is refused."""
_SESSION = b"session"
FLEET = UUID(int=0)
"""The server id for sessions on ``/mcp``."""


class SessionSealer:
    """Seals and signs with the first key; opens and verifies with any key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """``keys``: 16, 24 or 32 bytes each, newest first. Raises ``ValueError`` without one."""
        if not keys:
            raise ValueError("at least one session key is needed")
        self._ciphers = [AESGCM(key) for key in keys]
        # Derive separate keys, because a key should serve one algorithm.
        self._signing = [hmac.digest(key, b"scopegate: ids of server requests", "sha256") for key in keys]
        self._naming = [AESSIV(hmac.digest(key, b"scopegate: names that stay", "sha512")) for key in keys]

    def seal(self, token_id: UUID, server_id: UUID, session_id: bytes, purpose: bytes) -> bytes:
        """Seal an id for the client. ``purpose`` separates sessions from other ids, and binds an id to its context."""
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[0].encrypt(nonce, session_id, token_id.bytes + server_id.bytes + purpose)
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=")

    def open(
        self, token_id: UUID, server_id: UUID, text: bytes, purpose: bytes, max_length: int = MAX_SEALED
    ) -> bytes | None:
        """Open a sealed id; ``None`` if it is forged, or of another token, server or purpose."""
        data = _decode(text, max_length)
        if len(data) < _OVERHEAD:
            return None
        place = token_id.bytes + server_id.bytes + purpose
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(data[:_NONCE], data[_NONCE:], place)
            except InvalidTag:
                continue
        return None

    def seal_session(
        self, token_id: UUID, server_id: UUID, session_id: bytes, features: ClientFeatures
    ) -> bytes:
        """Seal a session id, with the features that the client declared."""
        return self.seal(token_id, server_id, bytes([features]) + session_id, _SESSION)

    def open_session(
        self, token_id: UUID, server_id: UUID, text: bytes
    ) -> tuple[bytes, ClientFeatures] | None:
        """Open a session id with its client's features; ``None`` if it is forged, or of another token or server."""
        opened = self.open(token_id, server_id, text, _SESSION)
        return None if opened is None else (opened[1:], ClientFeatures(opened[0]))

    def seal_name(self, token_id: UUID, server_id: UUID, name: bytes, purpose: bytes) -> bytes:
        """Seal a name deterministically (AES-SIV, without a nonce)."""
        sealed = self._naming[0].encrypt(name, [token_id.bytes + server_id.bytes + purpose])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=")

    def open_name(
        self, token_id: UUID, server_id: UUID, text: bytes, purpose: bytes, max_length: int
    ) -> bytes | None:
        """Open a sealed name, like ``open``."""
        data = _decode(text, max_length)
        if len(data) <= _SIV:
            return None
        for cipher in self._naming:
            try:
                return cipher.decrypt(data, [token_id.bytes + server_id.bytes + purpose])
            except InvalidTag:
                continue
        return None

    def sign(self, *parts: bytes) -> bytes:
        """Return a short signature of these parts, the same in every worker."""
        return _signature(self._signing[0], parts)

    def has_signed(self, signature: bytes, *parts: bytes) -> bool:
        """Whether the signature of these parts is valid with any key."""
        return any(hmac.compare_digest(signature, _signature(key, parts)) for key in self._signing)


def _decode(text: bytes, max_length: int) -> bytes:
    """Decode a sealed text; empty if it is malformed."""
    if len(text) > max_length or b"+" in text or b"/" in text:
        return b""
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return b""


def _signature(key: bytes, parts: Sequence[bytes]) -> bytes:
    mac = hmac.new(key, digestmod="sha256")
    for part in parts:
        mac.update(len(part).to_bytes(8, "big") + part)
    return base64.urlsafe_b64encode(mac.digest()[:16]).rstrip(b"=")


MAX_KEPT = 10_000
MAX_REQUEST_ID = 256
_NO_SESSION = b""


class ServerRequests:
    """The server requests that this worker forwarded. An entry is true while its response is pending."""

    def __init__(self, sealer: SessionSealer) -> None:
        self._sealer = sealer
        self._waiting: OrderedDict[str, bool] = OrderedDict()

    def register(self, token_id: UUID, server_id: UUID, session: bytes | None, id: str | int) -> str:
        """Return the client's id of a request, and wait for its response."""
        shown = self.show_id(token_id, server_id, session, id)
        self._mark(shown, self._waiting.get(shown, True))
        return shown

    def show_id(self, token_id: UUID, server_id: UUID, session: bytes | None, id: str | int) -> str:
        """Return the client's id of a request. Raises ``Refused`` for an invalid id."""
        try:
            text = strict_json.dumps(id)
        except ValueError:
            raise bad_upstream("The server behind the gateway sent a request with an invalid id.") from None
        signature = self._sealer.sign(token_id.bytes, server_id.bytes, session or _NO_SESSION, text)
        return f"{signature.decode()}.{text.decode()}"

    def take(self, token_id: UUID, server_id: UUID, session: bytes | None, shown: object) -> str | int | None:
        """Return the server's own id of a pending request, and end the wait; ``None`` if it is not pending."""
        if not isinstance(shown, str):
            return None
        signature, _, text = shown.partition(".")
        parts = (token_id.bytes, server_id.bytes, session or _NO_SESSION, text.encode())
        if not self._sealer.has_signed(signature.encode(), *parts) or not self._waiting.get(shown, True):
            return None
        self._mark(shown, False)
        id = strict_json.loads(text.encode())
        return id if isinstance(id, (str, int)) else None

    def close(self, shown: str) -> None:
        """Stop waiting for a response."""
        if shown in self._waiting:
            self._waiting[shown] = False

    def _mark(self, shown: str, waits: bool) -> None:
        self._waiting[shown] = waits
        self._waiting.move_to_end(shown)
        if len(self._waiting) > MAX_KEPT:
            self._waiting.popitem(last=False)
