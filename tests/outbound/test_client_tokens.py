"""Access tokens for upstreams are fetched once, renewed in the background, and read only from valid responses."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import pytest

from app.outbound.client_tokens import MAX_BYTES, RETRY_S, ClientCredentials, ClientTokens, TokenFault
from app.outbound.http import AddressPolicy, OutboundClient
from tests.features.tools.upstreams import answer, serving

SECRET = "cl:ient secret/ü"


@dataclass
class Issuer:
    """A token endpoint with numbered tokens, configurable responses and a clock."""

    url: str = ""
    now: float = 0.0
    asked: list[tuple[dict[str, str], dict[str, list[str]]]] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=dict)
    answers: Callable[[Any, Any, Any], Awaitable[None]] | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((headers, parse_qs(message.get("body", b"").decode())))
        self.came.set()
        await self.go.wait()
        if self.answers is not None:
            await self.answers(scope, _nothing, send)
            return
        token = {"access_token": f"token-{len(self.asked)}", "token_type": "Bearer", "expires_in": 3600}
        await answer(200, json.dumps({**token, **self.members}).encode())(scope, _nothing, send)

    @property
    def credentials(self) -> ClientCredentials:
        return ClientCredentials(uuid4(), f"{self.url}/token", "scope:gate", SECRET, resource="https://up/")


async def _nothing() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


@asynccontextmanager
async def issuing() -> AsyncIterator[tuple[Issuer, ClientTokens]]:
    issuer = Issuer()
    issuer.go.set()
    async with (
        serving(issuer) as issuer.url,
        OutboundClient(AddressPolicy((ip_network("127.0.0.0/8"),))) as outbound,
    ):
        tokens = ClientTokens(outbound, clock=lambda: issuer.now)
        yield issuer, tokens
        await tokens.aclose()


def bearer(number: int) -> tuple[bytes, bytes]:
    return (b"authorization", f"Bearer token-{number}".encode())


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_the_client_proves_itself_as_the_endpoint_wants_it(method: Any) -> None:
    async with issuing() as (issuer, tokens):
        await tokens.header(replace(issuer.credentials, auth_method=method, scope="a b", audience="x"))
        headers, form = issuer.asked[0]

    assert form["grant_type"] == ["client_credentials"]
    assert (form["scope"], form["audience"], form["resource"]) == (["a b"], ["x"], ["https://up/"])
    if method == "client_secret_post":
        assert (form["client_id"], form["client_secret"]) == (["scope:gate"], [SECRET])
        assert "authorization" not in headers
    else:
        pair = base64.b64decode(headers["authorization"].removeprefix("Basic "))
        assert pair == b"scope%3Agate:cl%3Aient+secret%2F%C3%BC"
        assert "client_secret" not in form


async def test_all_callers_share_one_fetch_and_one_that_leaves_does_not_end_it() -> None:
    async with issuing() as (issuer, tokens):
        issuer.go.clear()
        credentials = issuer.credentials
        callers = [asyncio.create_task(tokens.header(credentials)) for _ in range(20)]
        await issuer.came.wait()
        callers[0].cancel()
        await asyncio.gather(callers[0], return_exceptions=True)
        issuer.go.set()
        assert set(await asyncio.gather(*callers[1:])) == {bearer(1)}
        assert await tokens.header(credentials) == bearer(1)
        # Another credential of the same client has its own token.
        assert await tokens.header(replace(credentials, id=uuid4())) == bearer(2)


async def test_a_token_is_renewed_beside_the_calls_and_not_used_past_its_end() -> None:
    async with issuing() as (issuer, tokens):
        credentials = issuer.credentials
        await tokens.header(credentials)
        issuer.now = 2800.0
        issuer.came.clear()
        issuer.go.clear()
        assert await tokens.header(credentials) == bearer(1)
        await issuer.came.wait()
        assert await tokens.header(credentials) == bearer(1)
        assert len(issuer.asked) == 2
        issuer.now = 3595.0
        waiting = asyncio.create_task(tokens.header(credentials))
        issuer.go.set()
        assert await waiting == bearer(2)


async def test_a_renewal_that_fails_costs_no_call_while_the_token_is_good() -> None:
    async with issuing() as (issuer, tokens):
        credentials = issuer.credentials
        await tokens.header(credentials)
        issuer.now, issuer.answers = 2800.0, answer(503, b"")
        renewing = tokens._cache[credentials.id]
        assert await tokens.header(credentials) == bearer(1)
        assert renewing.fetching is not None
        await renewing.fetching
        assert await tokens.header(credentials) == bearer(1)
        assert len(issuer.asked) == 2
        issuer.now = 3600.0
        with pytest.raises(TokenFault):
            await tokens.header(credentials)


async def test_a_refused_token_is_replaced_but_a_new_one_is_not_asked_for_with_every_call() -> None:
    async with issuing() as (issuer, tokens):
        credentials = issuer.credentials
        first = await tokens.header(credentials)
        tokens.refused(credentials.id, first)
        assert await tokens.header(credentials) == bearer(1)
        issuer.now = RETRY_S
        tokens.refused(credentials.id, (b"authorization", b"Bearer of-somebody-else"))
        assert await tokens.header(credentials) == bearer(1)
        tokens.refused(credentials.id, first)
        assert await tokens.header(credentials) == bearer(2)
        tokens.refused(credentials.id, first)
        assert await tokens.header(credentials) == bearer(2)


BAD: list[tuple[str, Any, bool]] = [
    ("a redirect", answer(302, b"", (b"location", b"http://127.0.0.1:1/")), False),
    ("status 401", answer(401, b'{"error": "invalid_client"}'), False),
    ("status 500", answer(500, b"{}"), True),
    ("status 429", answer(429, b"{}"), True),
    ("not answer with JSON", answer(200, b"access_token=x&token_type=bearer"), False),
    ("not answer with JSON", answer(200, b'{"access_token": "a", "access_token": "b"}'), False),
    ("JSON object", answer(200, b"[]"), False),
    ("too large", answer(200, b" " * (MAX_BYTES + 1)), True),
    ("no token", answer(200, b'{"token_type": "Bearer"}'), False),
    ("no token", answer(200, b'{"token_type": "Bearer", "access_token": "a\\r\\nX-Evil: 1"}'), False),
    ("no token", answer(200, b'{"token_type": "Bearer", "access_token": ""}'), False),
    ("not a bearer", answer(200, b'{"access_token": "a", "token_type": "mac"}'), False),
    ("not a bearer", answer(200, b'{"access_token": "a"}'), False),
    *(
        (
            "expires_in",
            answer(200, b'{"access_token":"a","token_type":"bearer","expires_in":%s}' % end),
            False,
        )
        for end in (b"0", b"-1", b"true", b'"soon"', b"null")
    ),
]


@pytest.mark.parametrize(("words", "answers", "passing"), BAD)
async def test_what_is_no_answer_gives_no_token_and_is_not_asked_for_again_at_once(
    words: str, answers: Any, passing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with issuing() as (issuer, tokens):
        issuer.answers, credentials = answers, issuer.credentials
        for _ in range(3):
            with pytest.raises(TokenFault, match=words) as caught:
                await tokens.header(credentials)
        assert caught.value.passing is passing
        assert len(issuer.asked) == 1
        issuer.answers, issuer.now = None, RETRY_S
        assert await tokens.header(credentials) == bearer(2)
    assert words in caplog.text
    assert SECRET not in caplog.text
    assert "token-" not in caplog.text


async def test_a_token_endpoint_at_a_forbidden_address_is_not_asked() -> None:
    async with OutboundClient(AddressPolicy()) as outbound:
        credentials = ClientCredentials(uuid4(), "https://169.254.169.254/token", "id", "secret")
        with pytest.raises(TokenFault, match="may not be reached"):
            await ClientTokens(outbound).header(credentials)


async def test_a_short_life_is_used_and_a_long_one_is_not_believed() -> None:
    async with issuing() as (issuer, tokens):
        issuer.members["expires_in"] = 4
        credentials = issuer.credentials
        assert await tokens.header(credentials) == bearer(1)
        issuer.now = 2.0
        assert await tokens.header(credentials) == bearer(2)
        issuer.members["expires_in"] = 10**399  # More than a float holds.
        other = replace(credentials, id=uuid4())
        await tokens.header(other)
        issuer.now += 25 * 3600
        assert await tokens.header(other) == bearer(4)


async def test_a_fault_that_meets_many_callers_keeps_none_of_them() -> None:
    async with issuing() as (issuer, tokens):
        issuer.answers = answer(500, b"")
        faults = []
        credentials = issuer.credentials
        for _ in range(3):
            with pytest.raises(TokenFault) as caught:
                await tokens.header(credentials)
            faults.append(caught.value)
    assert len({id(fault) for fault in faults}) == 3
