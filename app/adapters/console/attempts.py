"""Sign-in attempts in progress, kept in the ``state`` parameter instead of in a store.

The attempt is encrypted into ``state`` and bound to a cookie of the browser that began it and to the callback path. An
answer for another browser (login CSRF) or from another provider (mix-up) is therefore refused. One browser can have
several attempts at once, and every worker can finish them.

See ADR 16.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.domain.errors import Malformed
from app.features.administrators.browser_sessions import Attempt

LIFETIME = timedelta(minutes=10)
_NONCE = 12
_HEAD = struct.Struct(">16s16sd")
_MAX_STATE_LENGTH = 2_000
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
# Only a path of this service: no host, nor anything that a browser reads as one.
_TARGET = re.compile(r"/(?!/)[A-Za-z0-9_\-./~?=&%+:,*@]{0,500}")


@dataclass(frozen=True, slots=True)
class ResumedAttempt:
    """An attempt whose answer arrived, with its provider and target path."""

    attempt: Attempt
    provider_id: UUID
    target: str
    browser: str = field(repr=False)


class Attempts:
    """Begins and resumes sign-in attempts. ``keys`` are newest first: the first encrypts, all decrypt."""

    def __init__(self, keys: Sequence[bytes], public_url: str) -> None:
        self._sealers = [AESGCM(key) for key in keys]
        self._public_url = public_url

    def begin(self, browser: str, provider_id: UUID, callback: str, target: str, now: float) -> Attempt:
        """Begin an attempt for this browser; ``target`` is the path to open after the sign-in."""
        id = os.urandom(16)
        plain = _HEAD.pack(id, provider_id.bytes, now) + target.encode("ascii")
        nonce = os.urandom(_NONCE)
        state = nonce + self._sealers[0].encrypt(nonce, plain, _bound_to(browser, callback))
        return self._attempt(browser, callback, id, base64.urlsafe_b64encode(state).decode())

    def resume(self, browser: str | None, callback: str, state: str, now: float) -> ResumedAttempt:
        """Decrypt the attempt that an answer at this path belongs to. Raises ``Malformed``."""
        plain = None if browser is None else self._open(browser, callback, state)
        if browser is None or plain is None:
            raise Malformed("This browser did not begin this sign-in, or it expired. Sign in again.")
        id, provider, begun_at = _HEAD.unpack_from(plain)
        if not 0 <= now - begun_at + 60 <= LIFETIME.total_seconds() + 60:
            raise Malformed("This sign-in expired. Sign in again.")
        target = plain[_HEAD.size :].decode("ascii")
        return ResumedAttempt(
            self._attempt(browser, callback, id, state), UUID(bytes=provider), target, browser
        )

    def _attempt(self, browser: str, callback: str, id: bytes, state: str) -> Attempt:
        redirect_uri = self._public_url + callback
        return Attempt(redirect_uri, state, _made_of(browser, b"nonce", id), _made_of(browser, b"pkce", id))

    def _open(self, browser: str, callback: str, state: str) -> bytes | None:
        if len(state) > _MAX_STATE_LENGTH or not state.isascii():
            return None
        try:
            sealed = base64.urlsafe_b64decode(state)
        except binascii.Error:
            return None
        for sealer in self._sealers:
            try:
                return sealer.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound_to(browser, callback))
            except (InvalidTag, ValueError):
                continue
        return None


def generate_browser_secret() -> str:
    """Generate the secret that identifies a browser while it signs in."""
    return base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()


def parse_browser_secret(text: str | None) -> str | None:
    """The cookie's text if it has the format of a browser secret."""
    return text if text is not None and _BROWSER.fullmatch(text) else None


def safe_target(requested: str | None, otherwise: str) -> str:
    """The requested path after the sign-in if it is a path of this service, ``otherwise`` if not."""
    return requested if requested is not None and _TARGET.fullmatch(requested) else otherwise


def _bound_to(browser: str, callback: str) -> bytes:
    # The browser secret has a fixed length, so the concatenation is unambiguous.
    return hashlib.sha256((browser + callback).encode()).digest()


def _made_of(browser: str, purpose: bytes, id: bytes) -> str:
    """Derive a secret of one attempt from the browser's cookie."""
    made = hmac.digest(browser.encode(), purpose + id, "sha256")
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
