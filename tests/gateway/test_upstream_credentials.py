"""Calls whose upstream credential is missing, rejected or renewed."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from app.admission.store import CredentialUnavailable, UpstreamTarget
from app.gateway.aggregate.sessions import UpstreamSessions
from app.outbound.client_tokens import ClientCredentials
from app.outbound.http import AddressPolicy, OutboundClient, Timeouts
from tests.gateway.messages import LEGACY, MODERN, call, post, post_modern
from tests.gateway.upstreams import event, reference, scripted, send_events, send_json
from tests.gateway.world import LOOPBACK, running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]


@pytest.mark.parametrize(("passing", "status"), [(True, 503), (False, 502)])
async def test_an_allowed_call_without_a_credential_is_recorded_and_not_sent(
    passing: bool, status: int
) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        raise AssertionError("nothing is sent")

    async with running() as world, scripted(script) as (url, _):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        world.store.no_credential = CredentialUnavailable("the secret's place", passing=passing)
        async with world.client(world.store.issue(world.store.grant())) as client:
            got = await post(client, "/mcp/calc", call("add", id=7))
    assert got.status_code == status
    assert got.json()["id"] == 7
    assert "access token" in got.json()["error"]["message"]
    assert "secret's place" not in got.text
    assert (got.headers.get("retry-after") is not None) is passing
    (row,) = world.store.admitted("tool.call")
    assert world.store.outcomes == {row.id: "not_forwarded"}


async def test_a_caller_without_access_does_not_learn_of_a_missing_credential() -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        raise AssertionError("nothing is sent")

    async with running() as world, scripted(script) as (url, _):
        server = world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client:
            await post(client, "/mcp/other", call("add"))
            world.store.no_credential = CredentialUnavailable("gone", passing=False)
            world.store.change_server(server.slug, enabled=False)
            got = await post(client, "/mcp/calc", call("add"))
    assert got.status_code == 404
    assert world.store.admitted("tool.call") == []


@pytest.mark.parametrize("path", ["/mcp/calc", "/mcp"])
async def test_a_401_of_the_upstream_drops_the_token_and_is_not_passed_on(path: str) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 401}
        await send({**start, "headers": [(b"www-authenticate", b"Bearer"), (b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"no"})

    async with running() as world, scripted(script) as (url, seen):
        server = world.store.register("calc", url, (MODERN,), TOOLS)
        name = "add" if path == "/mcp/calc" else "calc__add"
        async with world.client(world.store.issue(world.store.grant())) as client:
            got = await post_modern(client, path, call(name))
    assert got.status_code == 502
    assert "www-authenticate" not in got.headers
    assert "does not accept the gateway's credential" in got.json()["error"]["message"]
    assert world.store.not_accepted == [world.store.targets[server.id]]
    # What may have been sent is never sent again.
    assert len(seen.requests) == 1
    assert list(world.store.outcomes.values()) == ["error"]


def client_credentials() -> ClientCredentials:
    return ClientCredentials(uuid4(), "https://idp.example/token", "gateway", "secret")


async def test_a_session_continues_with_a_renewed_token_and_ends_with_another_credential() -> None:
    async with (
        reference(modern=False) as (url, seen),
        OutboundClient(AddressPolicy((LOOPBACK,))) as outbound,
    ):
        sessions, key = UpstreamSessions(outbound, Timeouts()), (uuid4(), uuid4())
        first = UpstreamTarget(
            url, ((b"authorization", b"Bearer 1"),), (LEGACY,), client=client_credentials()
        )
        renewed = replace(first, headers=((b"authorization", b"Bearer 2"),))
        other = replace(renewed, client=client_credentials())
        for target in (first, renewed, other):
            async with sessions.use(
                key, target, modern=False, before_send=lambda: True, before_next=lambda: True
            ) as connection:
                await connection.request("tools/list", {})
        await sessions.aclose()
    sent = [(headers[b"authorization"], headers[b"mcp-session-id"]) for headers, _ in seen.of("tools/list")]
    assert [token for token, _ in sent] == [b"Bearer 1", b"Bearer 2", b"Bearer 2"]
    assert sent[0][1] == sent[1][1] != sent[2][1]


async def test_a_stream_that_outlives_its_token_answers_the_server_with_the_renewed_one() -> None:
    replied = asyncio.Event()

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if "method" not in message:
            replied.set()
            await send_json(send, 202, b"")
            return
        renewed = replace(world.store.targets[server.id], headers=((b"authorization", b"Bearer renewed"),))
        world.store.targets[server.id] = renewed
        await send_events(send, event({"jsonrpc": "2.0", "id": "p", "method": "sampling/other"}), last=False)
        await replied.wait()
        await send({"type": "http.response.body", "body": event({"jsonrpc": "2.0", "id": 1, "result": {}})})

    async with running() as world, scripted(script) as (url, seen):
        server = world.store.register("calc", url, (LEGACY,), TOOLS)
        armed = replace(world.store.targets[server.id], client=client_credentials())
        world.store.targets[server.id] = armed
        async with world.client(world.store.issue(world.store.grant())) as client:
            await post(client, "/mcp/calc", call("add"))
    sent = [headers[b"authorization"] for _, headers, _ in seen.requests]
    assert sent == [armed.headers[0][1], b"Bearer renewed"]
