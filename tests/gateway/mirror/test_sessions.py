"""Sessions and versions on ``/mcp/{slug}``: sealed for a token and server, and those of the upstream."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from app.domain.scopes import ListedScope
from app.gateway.sealed_ids import SessionSealer
from app.gateway.wire.messages import ClientFeatures
from tests.gateway.messages import LEGACY, MODERN, call, initialize, post, post_modern, request
from tests.gateway.upstreams import reference
from tests.gateway.world import running

INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


async def test_the_upstreams_session_id_is_never_seen_and_opens_for_its_token_and_server_alone() -> None:
    async with running() as world, reference(json_response=True) as (url, seen):
        await world.register("calc", url)
        await world.register("copy", url)
        grant = world.store.grant()
        async with (
            world.client(world.store.issue(grant)) as client,
            world.client(world.store.issue(grant)) as other,
        ):
            started = await post(client, "/mcp/calc", initialize())
            session = started.headers["mcp-session-id"]
            result = started.json()["result"]
            assert result["capabilities"] == {"tools": {"listChanged": False}}
            assert "instructions" not in result
            assert len(session) <= 118
            sent = {"mcp_session_id": session, "mcp_protocol_version": LEGACY}
            assert (await post(client, "/mcp/calc", INITIALIZED, **sent)).status_code == 202
            real = seen.of("notifications/initialized")[-1][0][b"mcp-session-id"].decode()
            assert real not in started.text + str(started.headers)
            assert "result" in (await post(client, "/mcp/calc", call("add", {"a": 1, "b": 2}), **sent)).json()
            forged = {**sent, "mcp_session_id": real}
            for who, path, headers in (
                (other, "/mcp/calc", sent),
                (client, "/mcp/copy", sent),
                (client, "/mcp/calc", forged),
            ):
                before = len(seen.requests)
                for message in (
                    call("add", {"a": 1, "b": 2}),
                    request("tools/list"),
                    request("ping"),
                    INITIALIZED,
                ):
                    assert (await post(who, path, message, **headers)).status_code == 404
                got = await who.delete(path, headers={"mcp-session-id": headers["mcp_session_id"]})
                assert got.status_code == 404
                assert len(seen.requests) == before
            ended = await client.delete("/mcp/calc", headers={"mcp-session-id": session})
            assert ended.status_code == 204
            assert (await post(client, "/mcp/calc", request("tools/list"), **sent)).status_code == 404


async def test_messages_in_an_ended_session_are_refused_by_every_worker() -> None:
    async with running() as world, reference(json_response=True) as (url, seen):
        await world.register("calc", url)
        ends: tuple[tuple[dict[str, Any], int], ...] = (
            ({"revoked": True}, 401),
            ({"scope": ListedScope(())}, 404),
            ({}, 404),
        )
        for changes, status in ends:
            token = world.store.issue(world.store.grant())
            async with world.client(token) as client:
                session = (await post(client, "/mcp/calc", initialize())).headers["mcp-session-id"]
                sent = {"mcp_session_id": session, "mcp_protocol_version": LEGACY}
                assert (await post(client, "/mcp/calc", INITIALIZED, **sent)).status_code == 202
                if changes:
                    world.store.change(token, **changes)
                else:
                    world.store.change_server("calc", enabled=False)
                before = len(seen.requests)
                assert (await post(client, "/mcp/calc", INITIALIZED, **sent)).status_code == status
                got = await client.delete("/mcp/calc", headers={"mcp-session-id": session})
                assert got.status_code == status
                assert len(seen.requests) == before


async def test_a_missing_session_is_the_upstreams_to_refuse() -> None:
    async with running() as world, reference() as (url, _seen):
        await world.register("calc", url)
        async with world.client(world.store.issue(world.store.grant())) as client:
            got = await post(client, "/mcp/calc", request("tools/list", id="x"))
            assert (got.status_code, got.json()["id"]) == (400, "x")
            assert (await client.delete("/mcp/calc")).status_code == 400


async def test_a_mirror_offers_the_versions_of_its_upstream() -> None:
    async with running() as world, reference(modern=False) as (url, seen):
        server = await world.register("calc", url)
        assert MODERN not in world.store.targets[server.id].protocol_versions
        async with world.client(world.store.issue(world.store.grant())) as client:
            seen.requests.clear()
            got = await post_modern(client, "/mcp/calc", request("server/discover"))
            assert got.status_code == 400
            assert got.json()["error"]["code"] == -32022
            assert got.json()["error"]["data"]["supported"][0] == LEGACY
            assert not seen.requests
            world.store.targets[server.id] = replace(
                world.store.targets[server.id], protocol_versions=("2025-06-18",)
            )
            started = await post(client, "/mcp/calc", initialize(LEGACY))
            text = next(line for line in started.text.splitlines() if "protocolVersion" in line)
            assert '"protocolVersion":"2025-06-18"' in text.replace(" ", "")
            got = await post(client, "/mcp/calc", request("tools/list"), mcp_protocol_version=LEGACY)
            assert got.json()["error"]["code"] == -32022
            world.store.targets[server.id] = replace(
                world.store.targets[server.id], protocol_versions=(MODERN,)
            )
            got = await post(client, "/mcp/calc", initialize(LEGACY))
            assert got.json()["error"]["data"] == {"supported": [MODERN], "requested": LEGACY}


async def test_an_unknown_version_is_a_denied_call() -> None:
    async with running() as world, reference() as (url, seen):
        await world.register("calc", url)
        seen.requests.clear()
        token = world.store.issue(world.store.grant(world.store.servers["calc"]))
        for path, supported, reason in (
            ("/mcp/calc", (MODERN, LEGACY), "version_unsupported"),
            ("/mcp/none", (MODERN, LEGACY, "2025-06-18"), "server_unknown"),
            ("/mcp", (MODERN, LEGACY, "2025-06-18"), "version_unsupported"),
        ):
            async with world.client(token, **{"mcp-protocol-version": "2031-01-01"}) as client:
                for got in (
                    await client.post(path, json=call("add", {"a": 1, "b": 2}, id=7)),
                    await client.get(path),
                    await client.delete(path),
                ):
                    assert got.status_code == 400
                    error = got.json()["error"]
                    assert (error["code"], error["data"]["requested"]) == (-32022, "2031-01-01")
                    assert set(supported) <= set(error["data"]["supported"])
                    denied = world.store.calls.pop()
                    assert (denied.action, denied.decision.allowed) == ("mcp.negotiate", False)
                    assert denied.decision.reason_code == reason
        assert not seen.requests
        assert not world.store.calls


def test_sessions_open_with_any_configured_key() -> None:
    token, server = uuid4(), uuid4()
    old, new = SessionSealer([b"o" * 32]), SessionSealer([b"n" * 32, b"o" * 32])
    sealed = old.seal_session(token, server, b"upstream", ClientFeatures.FORM)
    assert new.open_session(token, server, sealed) == (b"upstream", ClientFeatures.FORM)
    assert (
        old.open_session(token, server, new.seal_session(token, server, b"upstream", ClientFeatures.NOTHING))
        is None
    )
    assert old.open_session(server, token, sealed) is None
    with pytest.raises(ValueError, match="key"):
        SessionSealer([])
    for bad in (b"", b"x", b"!" * 60, sealed[:-1], sealed + b"A", b"A" * 5000, b"\xff" * 60):
        assert old.open_session(token, server, bad) is None
