"""Access tokens that upstreams want, fetched with client credentials (RFC 6749, section 4.4) and kept in memory.

One fetch at a time for each credential, and none on the way of a call while a token is good: it is renewed beside the
calls before it ends. What a token endpoint says is read strictly and repeated nowhere.
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

from app.lib.strict_json import JsonObject, StrictJsonError, loads
from app.outbound.http import ForbiddenUrl, OutboundClient, OutboundResponse, Timeouts, UpstreamError

_log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

WITHIN_S = 10.0
MOST_BYTES = 64 * 1024
MOST_KEPT = 4096
DEFAULT_LIFE_S = 300.0
"""Of a token whose end is not told."""
LONGEST_LIFE_S = 24 * 3600.0
MARGIN_S = 10.0
"""Before its end a token is not used any more: the request has to arrive, and clocks differ."""
RETRY_S = 5.0
"""Between two fetches after one that failed, and the age at which a refused token is worth another fetch."""
_TIMEOUTS = Timeouts(connect=3.0, first_byte=8.0, idle=5.0, total=9.0)
_ACCESS_TOKEN = re.compile(r"[!-~]{1,16384}")
_UNAVAILABLE = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A client at an authorization server. ``id`` names this very credential: another one has another id."""

    id: UUID
    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    resource: str | None = None
    audience: str | None = None
    auth_method: Literal["client_secret_basic", "client_secret_post"] = "client_secret_basic"


class TokenFault(Exception):
    """No access token can be had; ``reason`` is plain words of ours. ``passing``: it is worth trying again soon."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing

    def again(self) -> "TokenFault":
        """The same for another caller: one exception that is raised many times would keep all that raised it."""
        return TokenFault(self.reason, passing=self.passing)


@dataclass(slots=True)
class _Kept:
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
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()

    async def header(self, credentials: ClientCredentials) -> Header:
        """The header to send. Raises ``TokenFault``. A caller who goes away does not end a fetch for the others."""
        kept, now = self._find(credentials.id), self._clock()
        if kept.header is None or now >= kept.ends_at:
            if kept.fault is not None and now - kept.failed_at < RETRY_S:
                raise kept.fault.again()
            await asyncio.shield(self._fetch(credentials, kept))
            if kept.fault is not None:
                raise kept.fault.again()
        elif now >= kept.renew_at and (kept.fault is None or now - kept.failed_at >= RETRY_S):
            self._fetch(credentials, kept)
        if kept.header is None:
            raise TokenFault("the token endpoint gave no token", passing=True)
        return kept.header

    def refused(self, id: UUID, header: Header) -> None:
        """An upstream did not accept this token: fetch another for the next call, unless it is a new one already."""
        kept = self._kept.get(id)
        # A token that was fetched just now is not made better by another: a server that refuses all would have us ask
        # the authorization server with every call.
        if kept is not None and kept.header == header and self._clock() - kept.fetched_at >= RETRY_S:
            kept.header = None

    async def aclose(self) -> None:
        """End what is being fetched."""
        tasks = [kept.fetching for kept in self._kept.values() if kept.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _find(self, id: UUID) -> _Kept:
        kept = self._kept.get(id)
        if kept is None:
            kept = self._kept[id] = _Kept()
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(id)
        return kept

    def _fetch(self, credentials: ClientCredentials, kept: _Kept) -> "asyncio.Task[None]":
        if kept.fetching is None:
            kept.fetching = asyncio.create_task(self._fetch_into(credentials, kept), name="client token")
        return kept.fetching

    async def _fetch_into(self, credentials: ClientCredentials, kept: _Kept) -> None:
        asked_at = self._clock()
        try:
            header, life = await _ask(self._outbound, credentials)
        except TokenFault as fault:
            kept.fault, kept.failed_at = fault, self._clock()
            _log.warning("no access token for an upstream credential: %s", fault.reason)
        else:
            kept.fault, kept.header, kept.fetched_at = None, header, asked_at
            kept.ends_at = asked_at + max(life - MARGIN_S, life / 2)
            kept.renew_at = asked_at + life * 0.75
        finally:
            kept.fetching = None


async def _ask(outbound: OutboundClient, credentials: ClientCredentials) -> tuple[Header, float]:
    headers, body = _request(credentials)
    try:
        async with asyncio.timeout(WITHIN_S):
            response = await outbound.request(
                "POST", credentials.token_url, headers, body, timeouts=_TIMEOUTS
            )
            try:
                raw = await response.read(MOST_BYTES)
            finally:
                response.close()
    except TimeoutError:
        raise TokenFault("the token endpoint is too slow", passing=True) from None
    except ForbiddenUrl as error:
        raise TokenFault(f"the token endpoint may not be reached: {error.reason}", passing=False) from None
    except UpstreamError as error:
        raise TokenFault(f"the token endpoint cannot be asked: {error.message}", passing=True) from None
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
        # RFC 6749, section 2.3.1: both are form-encoded before they are put together.
        pair = f"{quote_plus(credentials.client_id)}:{quote_plus(credentials.client_secret)}"
        headers.append((b"authorization", b"Basic " + base64.b64encode(pair.encode("ascii"))))
    return headers, urlencode(form).encode("ascii")


def _read(response: OutboundResponse, raw: bytes) -> tuple[Header, float]:
    """The header and the seconds of its life. Quotes nothing of the answer: it may hold what was sent."""
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
        raise TokenFault("the token endpoint gives no token that can be sent", passing=False)
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenFault("the token endpoint gives a token that is no bearer", passing=False)
    return (b"authorization", b"Bearer " + token.encode("ascii")), _life(answer)


def _life(answer: JsonObject) -> float:
    life = answer.get("expires_in", DEFAULT_LIFE_S)
    if isinstance(life, bool) or not isinstance(life, int | float) or life <= 0:
        raise TokenFault("the token endpoint gives a token whose end cannot be read", passing=False)
    return float(min(life, LONGEST_LIFE_S))
