"""Upstream credentials: validated headers, and a cache of access tokens fetched with client credentials.

Access tokens follow RFC 6749, section 4.4. There is one fetch at a time per credential. A valid token is renewed in the
background before it expires, so that calls do not wait for it. Responses of token endpoints are parsed strictly and
never quoted.
"""

import asyncio
import base64
import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal
from urllib.parse import quote_plus, urlencode
from uuid import UUID

from pydantic import SecretStr

from app.lib.strict_json import StrictJsonError, loads
from app.outbound.http import ForbiddenUrl, OutboundClient, OutboundResponse, Target, Timeouts, UpstreamError
from app.outbound.stdio import Launch

_log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

WITHIN_S = 10.0
MAX_BYTES = 64 * 1024
MAX_CACHED = 4096
DEFAULT_LIFETIME_S = 300.0
"""The assumed lifetime of a token without ``expires_in``."""
MAX_LIFETIME_S = 24 * 3600.0
MARGIN_S = 10.0
"""A token is not used this long before its expiry, because requests take time and clocks differ."""
RETRY_S = 5.0
"""The gap between two fetches after a failure, and the minimum age of a rejected token for another fetch."""
_TIMEOUTS = Timeouts(connect=3.0, first_byte=8.0, idle=5.0, total=9.0)
_ACCESS_TOKEN = re.compile(r"[!-~]{1,16384}")
_UNAVAILABLE = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A client at an authorization server. A changed credential has another ``id``."""

    id: UUID
    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    resource: str | None = None
    audience: str | None = None
    auth_method: Literal["client_secret_basic", "client_secret_post"] = "client_secret_basic"


@dataclass(slots=True)
class UpstreamTarget:
    """Where to send a server's calls. ``headers`` holds the decrypted upstream credential; never log it. Immutable.

    For a server that runs as a command, ``url`` is a ``Target`` and ``secrets`` must not appear in responses.
    """

    url: str | Target
    headers: tuple[Header, ...]
    protocol_versions: tuple[str, ...]
    client: ClientCredentials | None = None
    """The credentials of the access token in the headers, if any. It is renewed while a session continues."""
    secrets: tuple[bytes, ...] | None = None
    launch: Launch | None = None
    """The command of such a server, until ``url`` is known."""


class TokenFault(Exception):
    """No access token is available. ``reason`` is our own text. ``passing``: a retry may help."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing

    def copy(self) -> "TokenFault":
        """A copy for another caller, since an exception that is raised many times keeps all its tracebacks."""
        return TokenFault(self.reason, passing=self.passing)


@dataclass(slots=True)
class _CachedToken:
    header: Header | None = None
    fetched_at: float = 0.0
    renew_at: float = 0.0
    ends_at: float = 0.0
    fault: TokenFault | None = None
    failed_at: float = 0.0
    fetching: "asyncio.Task[None] | None" = None


class ClientTokens:
    """The access tokens of one worker. Close it with ``aclose``."""

    def __init__(self, outbound: OutboundClient, clock: Callable[[], float] = monotonic) -> None:
        self._outbound = outbound
        self._clock = clock
        self._cache: OrderedDict[UUID, _CachedToken] = OrderedDict()

    async def header(self, credentials: ClientCredentials) -> Header:
        """The header to send. Raises ``TokenFault``. Cancelling one caller does not cancel the fetch."""
        cached, now = self._find(credentials.id), self._clock()
        if cached.header is None or now >= cached.ends_at:
            if cached.fault is not None and now - cached.failed_at < RETRY_S:
                raise cached.fault.copy()
            await asyncio.shield(self._fetch(credentials, cached))
            if cached.fault is not None:
                raise cached.fault.copy()
        elif now >= cached.renew_at and (cached.fault is None or now - cached.failed_at >= RETRY_S):
            self._fetch(credentials, cached)
        if cached.header is None:
            raise TokenFault("the token endpoint returned no token", passing=True)
        return cached.header

    def refused(self, id: UUID, header: Header) -> None:
        """Discard a token that an upstream rejected, unless it has been renewed already."""
        cached = self._cache.get(id)
        # A token that was just fetched is kept: a server that rejects all tokens would cause a fetch for every call.
        if cached is not None and cached.header == header and self._clock() - cached.fetched_at >= RETRY_S:
            cached.header = None

    async def aclose(self) -> None:
        """Cancel all fetches."""
        tasks = [cached.fetching for cached in self._cache.values() if cached.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _find(self, id: UUID) -> _CachedToken:
        cached = self._cache.get(id)
        if cached is None:
            cached = self._cache[id] = _CachedToken()
            if len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(id)
        return cached

    def _fetch(self, credentials: ClientCredentials, cached: _CachedToken) -> "asyncio.Task[None]":
        if cached.fetching is None:
            cached.fetching = asyncio.create_task(self._fetch_into(credentials, cached), name="client token")
        return cached.fetching

    async def _fetch_into(self, credentials: ClientCredentials, cached: _CachedToken) -> None:
        asked_at = self._clock()
        try:
            header, life = await _ask(self._outbound, credentials)
        except TokenFault as fault:
            cached.fault, cached.failed_at = fault, self._clock()
            _log.warning("no access token for an upstream credential: %s", fault.reason)
        else:
            cached.fault, cached.header, cached.fetched_at = None, header, asked_at
            cached.ends_at = asked_at + max(life - MARGIN_S, life / 2)
            cached.renew_at = asked_at + life * 0.75
        finally:
            cached.fetching = None


async def _ask(outbound: OutboundClient, credentials: ClientCredentials) -> tuple[Header, float]:
    headers, body = _request(credentials)
    try:
        async with asyncio.timeout(WITHIN_S):
            url = credentials.token_url
            response = await outbound.request("POST", url, headers, body, timeouts=_TIMEOUTS)
            try:
                raw = await response.read(MAX_BYTES)
            finally:
                response.close()
    except TimeoutError:
        raise TokenFault("the token endpoint is too slow", passing=True) from None
    except ForbiddenUrl as error:
        raise TokenFault(f"the token endpoint may not be reached: {error.reason}", passing=False) from None
    except UpstreamError as error:
        raise TokenFault(f"the token endpoint cannot be reached: {error.message}", passing=True) from None
    return _read(response, raw)


def _request(credentials: ClientCredentials) -> tuple[list[Header], bytes]:
    form = {"grant_type": "client_credentials"}
    for name in ("scope", "resource", "audience"):
        value = getattr(credentials, name)
        if value is not None:
            form[name] = value
    headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"accept", b"application/json")]
    if credentials.auth_method == "client_secret_post":
        form |= {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
    else:
        # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
        pair = f"{quote_plus(credentials.client_id)}:{quote_plus(credentials.client_secret)}"
        headers.append((b"authorization", b"Basic " + base64.b64encode(pair.encode("ascii"))))
    return headers, urlencode(form).encode("ascii")


def _read(response: OutboundResponse, raw: bytes) -> tuple[Header, float]:
    """The header and its lifetime in seconds. Errors never quote the response, which can contain the secret."""
    status = response.status
    if 300 <= status < 400:
        raise TokenFault(
            "the token endpoint answers with a redirect, which is not followed: give its final URL",
            passing=False,
        )
    if status != 200:
        passing = status >= 500 or status in _UNAVAILABLE
        raise TokenFault(f"the token endpoint answers with HTTP status {status}", passing=passing)
    try:
        answer = loads(raw)
    except StrictJsonError:
        raise TokenFault("the token endpoint does not answer with JSON", passing=False) from None
    if not isinstance(answer, dict):
        raise TokenFault("the token endpoint does not answer with a JSON object", passing=False)
    token, kind = answer.get("access_token"), answer.get("token_type")
    if not isinstance(token, str) or not _ACCESS_TOKEN.fullmatch(token):
        raise TokenFault("the token endpoint returns no token that can be sent", passing=False)
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenFault("the token endpoint returns a token that is not a bearer token", passing=False)
    life = answer.get("expires_in", DEFAULT_LIFETIME_S)
    if isinstance(life, bool) or not isinstance(life, int | float) or life <= 0:
        raise TokenFault("the token endpoint returns an invalid expires_in", passing=False)
    return (b"authorization", b"Bearer " + token.encode("ascii")), float(min(life, MAX_LIFETIME_S))


HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"

# Headers that the outbound client sets itself, or that change how a request is read.
_RESERVED = frozenset(
    "accept accept-encoding connection content-encoding content-length content-type expect host keep-alive "
    "last-event-id proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split()
)


def visible_ascii(secret: SecretStr) -> SecretStr:
    """Validate a token. Raises ``ValueError`` for one that a header cannot carry."""
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("only visible ASCII characters, without spaces")
    return secret


def header_value(secret: SecretStr) -> SecretStr:
    """Validate the value of a header. Raises ``ValueError``."""
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", secret.get_secret_value()):
        raise ValueError("only visible ASCII characters, and spaces between them")
    return secret


def check_free(name: str, *prefixes: str) -> str:
    """Validate a header name: not reserved, and without these prefixes. Raises ``ValueError``."""
    lower = name.lower()
    if lower in _RESERVED or lower.startswith(prefixes):
        raise ValueError("this header belongs to the transport; choose another")
    return name
