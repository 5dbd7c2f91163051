"""Sign-ins that are under way. Nothing of them is stored here: a flood of them costs no more than its answers.

What has to come back is sealed into ``state``, bound to a cookie of the browser that began and to the address that the
answer comes to. So an answer that somebody else's browser began opens nothing (login CSRF), nor does one that comes to
the address of another provider (mix-up); several may be under way at once, and any worker takes the answer.

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
from app.features.administrators.browser_sign_in import Attempt

LIFETIME = timedelta(minutes=10)
_NONCE = 12
_HEAD = struct.Struct(">16s16sd")
_LONGEST_STATE = 2_000
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
# A path here and nothing else: no host, nothing that a browser could read as one.
_TARGET = re.compile(r"/(?!/)[A-Za-z0-9_\-./~?=&%+:,*@]{0,500}")


@dataclass(frozen=True, slots=True)
class Resumed:
    """An attempt whose answer has come, with what it was begun for."""

    attempt: Attempt
    provider_id: UUID
    target: str
    browser: str = field(repr=False)


class Attempts:
    """Begins sign-ins, and knows them again. ``keys`` are newest first: the first seals, all of them open."""

    def __init__(self, keys: Sequence[bytes], public_url: str) -> None:
        self._sealers = [AESGCM(key) for key in keys]
        self._public_url = public_url

    def begin(self, browser: str, provider_id: UUID, callback: str, target: str, now: float) -> Attempt:
        """A new one for this browser, which comes back to ``callback`` and goes on to ``target`` when signed in."""
        id = os.urandom(16)
        plain = _HEAD.pack(id, provider_id.bytes, now) + target.encode("ascii")
        nonce = os.urandom(_NONCE)
        state = nonce + self._sealers[0].encrypt(nonce, plain, _bound_to(browser, callback))
        return self._attempt(browser, callback, id, base64.urlsafe_b64encode(state).decode())

    def resume(self, browser: str | None, callback: str, state: str, now: float) -> Resumed:
        """The one that an answer at this address is of. Raises ``Malformed``."""
        plain = None if browser is None else self._open(browser, callback, state)
        if browser is None or plain is None:
            raise Malformed("This browser has not begun this sign-in, or too long ago: begin again.")
        id, provider, begun_at = _HEAD.unpack_from(plain)
        if not 0 <= now - begun_at + 60 <= LIFETIME.total_seconds() + 60:
            raise Malformed("This sign-in was begun too long ago: begin again.")
        target = plain[_HEAD.size :].decode("ascii")
        return Resumed(self._attempt(browser, callback, id, state), UUID(bytes=provider), target, browser)

    def _attempt(self, browser: str, callback: str, id: bytes, state: str) -> Attempt:
        redirect_uri = self._public_url + callback
        return Attempt(redirect_uri, state, _made_of(browser, b"nonce", id), _made_of(browser, b"pkce", id))

    def _open(self, browser: str, callback: str, state: str) -> bytes | None:
        if len(state) > _LONGEST_STATE or not state.isascii():
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


def new_browser() -> str:
    """What a browser is known by while it signs in."""
    return base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()


def known_browser(text: str | None) -> str | None:
    """The text of a cookie, if it can be one of ours."""
    return text if text is not None and _BROWSER.fullmatch(text) else None


def safe_target(asked: str | None, otherwise: str) -> str:
    """Where to go when signed in: a path of this service, whatever was asked for."""
    return asked if asked is not None and _TARGET.fullmatch(asked) else otherwise


def _bound_to(browser: str, callback: str) -> bytes:
    # The first has a length of its own, so no two pairs are one text.
    return hashlib.sha256((browser + callback).encode()).digest()


def _made_of(browser: str, purpose: bytes, id: bytes) -> str:
    """A secret of one attempt, which only whoever has the browser's cookie can make again."""
    made = hmac.digest(browser.encode(), purpose + id, "sha256")
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
