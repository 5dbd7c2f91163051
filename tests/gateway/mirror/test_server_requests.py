"""Requests of a legacy server reach its client, and only that client can respond."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest

from app.gateway import sealed_ids as server_requests
from app.gateway.mirror.streams import MirrorStreamFilter, StreamContext
from app.gateway.results import Tasks
from app.gateway.sealed_ids import FLEET, ServerRequests, SessionSealer
from app.gateway.wire.answers import InputRequestRules
from app.gateway.wire.messages import ClientFeatures
from app.http.service_address import OwnAddresses
from tests.gateway.messages import LEGACY, call, initialize, post, post_modern
from tests.gateway.upstreams import event, scripted, send_events, send_json
from tests.gateway.world import CREDENTIAL, World, running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]
ACCEPT = {"action": "accept", "content": {}}


@dataclass
class Asking:
    """A server that gives each session an id and asks in every call."""

    sessions: int = 0
    responses: list[tuple[bytes, dict[str, Any]]] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    asks: dict[str, Any] = field(
        default_factory=lambda: {"jsonrpc": "2.0", "id": 5, "method": "elicitation/create", "params": {}}
    )

    async def script(self, message: dict[str, Any], receive: Any, send: Any) -> None:
        if "method" not in message:
            self.responses.append((b"", message))
            self.answered.set()
            await send_json(send, 202, b"")
        elif message["method"] == "initialize":
            self.sessions += 1
            result = {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "serverInfo": {"name": "x", "version": "1"},
            }
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await send_json(send, 200, answer, {"mcp-session-id": f"s{self.sessions}"})
        else:
            await send_events(send, event(self.asks), last=False)
            await self.answered.wait()
            done = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}
            await send({"type": "http.response.body", "body": event(done)})


@asynccontextmanager
async def asked(
    world: World, client: httpx2.AsyncClient, path: str = "/mcp/calc"
) -> AsyncIterator[tuple[dict[str, str], dict[str, Any], AsyncIterator[str]]]:
    """A call in a session of its own, up to the server's question: headers, the question, what follows."""
    session = (await post(client, path, initialize())).headers["mcp-session-id"]
    headers = {"mcp-session-id": session, "mcp-protocol-version": LEGACY}
    async with client.stream("POST", path, json=call("add"), headers=headers) as stream:
        lines = stream.aiter_lines()
        async for line in lines:
            if line.startswith("data:"):
                yield headers, json.loads(line.removeprefix("data:")), lines
                return


async def respond(client: httpx2.AsyncClient, path: str, id: Any, headers: dict[str, str]) -> httpx2.Response:
    return await client.post(path, json={"jsonrpc": "2.0", "id": id, "result": ACCEPT}, headers=headers)


@pytest.mark.parametrize("method", ["elicitation/create", "sampling/createMessage", "roots/list", "ping"])
async def test_the_client_is_asked_and_its_response_arrives_once(method: str) -> None:
    server = Asking()
    server.asks["method"] = method
    async with running() as world, scripted(server.script) as (url, seen):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with (
            world.client(world.store.issue(world.store.grant())) as client,
            asyncio.timeout(50),
            asked(world, client) as (headers, question, lines),
        ):
            assert (question["method"], type(question["id"])) == (method, str)
            got = await respond(client, "/mcp/calc", question["id"], headers)
            assert got.status_code == 202
            assert '"content":[]' in "".join([line async for line in lines]).replace(" ", "")
            assert [body["id"] for _, body in server.responses] == [5]
            last = seen.requests[-1][1]
            assert last[b"mcp-session-id"] == b"s1"
            assert last[b"authorization"] == b"Bearer " + CREDENTIAL
            again = await respond(client, "/mcp/calc", question["id"], headers)
            assert again.status_code == 400
            assert len(server.responses) == 1


async def test_a_response_of_another_session_token_server_or_making_is_refused() -> None:
    server = Asking()
    async with running() as world, scripted(server.script) as (url, _):
        grant = world.store.grant()
        for slug in ("calc", "copy"):
            world.store.register(slug, url, (LEGACY,), TOOLS)
        token = world.store.issue(grant)
        async with (
            world.client(token) as client,
            world.client(world.store.issue(grant)) as other,
            asyncio.timeout(50),
            asked(world, client) as (headers, question, _),
        ):
            id = question["id"]
            for who, path in ((client, "/mcp/calc"), (other, "/mcp/calc"), (client, "/mcp/copy")):
                session = (await post(who, path, initialize())).headers["mcp-session-id"]
                foreign = {**headers, "mcp-session-id": session}
                assert (await respond(who, path, id, foreign)).status_code == 400
                assert (await respond(who, path, id, {"mcp-protocol-version": LEGACY})).status_code == 400
            assert (await respond(other, "/mcp/calc", id, headers)).status_code == 404
            signature, _, text = id.partition(".")
            for made_up in (5, "5", text, f"{signature}.6", f".{text}", f"{'A' * 22}.{text}", None, True):
                assert (await respond(client, "/mcp/calc", made_up, headers)).status_code == 400
            both = {"jsonrpc": "2.0", "id": id, "result": {}, "error": {"code": 1, "message": "x"}}
            assert (await client.post("/mcp/calc", json=both, headers=headers)).status_code == 400
            assert not server.responses
            world.store.change(token, revoked=True)
            assert (await respond(client, "/mcp/calc", id, headers)).status_code == 401
            assert not server.responses
            world.store.cut_all()


async def test_a_response_after_the_end_of_its_call_is_refused() -> None:
    server = Asking()
    async with running() as world, scripted(server.script) as (url, _):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client, asyncio.timeout(50):
            async with asked(world, client) as (headers, question, lines):
                world.store.cut_all()
                assert "withdrawn" in "".join([line async for line in lines])
            assert (await respond(client, "/mcp/calc", question["id"], headers)).status_code == 400
            assert not server.responses


async def test_responses_of_modern_clients_are_refused() -> None:
    async with running() as world, scripted(Asking().script) as (url, seen):
        world.store.register("calc", url, ("2026-07-28",), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            headers = {"mcp-protocol-version": "2026-07-28"}
            got = await respond(client, "/mcp/calc", "x.1", headers)
            assert (got.status_code, got.json()["error"]["code"]) == (400, -32600)
        assert not seen.requests


async def test_requests_of_a_modern_server_are_not_forwarded() -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        done = {"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", "content": []}}
        await send_events(send, event(Asking().asks), event(done))

    async with running() as world, scripted(script) as (url, _):
        world.store.register("calc", url, ("2026-07-28",), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            assert "elicitation" not in (await post_modern(client, "/mcp/calc", call("add"))).text


def test_any_worker_accepts_a_response_but_only_the_forwarding_one_knows_its_end() -> None:
    sealer = SessionSealer([b"n" * 32, b"o" * 32])
    here, there, older = (
        ServerRequests(sealer),
        ServerRequests(sealer),
        ServerRequests(SessionSealer([b"o" * 32])),
    )
    for id in (5, "5", "ü", -1):
        shown = here.register(FLEET, FLEET, b"s", id)
        assert there.take(FLEET, FLEET, b"s", shown) == id
        assert there.take(FLEET, FLEET, b"s", shown) is None
        here.close(shown)
        assert here.take(FLEET, FLEET, b"s", shown) is None
        assert there.take(FLEET, FLEET, b"t", shown) is None
        assert here.take(FLEET, FLEET, b"s", older.register(FLEET, FLEET, b"s", id)) == id


def test_forwarded_request_ids_are_bounded_in_every_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_requests, "MAX_KEPT", 3)
    sealer = SessionSealer([b"n" * 32])
    here, there = ServerRequests(sealer), ServerRequests(sealer)
    for id in range(10):
        assert there.take(FLEET, FLEET, b"s", here.register(FLEET, FLEET, b"s", id)) == id
    assert [len(each._waiting) for each in (here, there)] == [3, 3]


def test_requests_of_an_endless_server_are_bounded() -> None:
    sealer = SessionSealer([b"n" * 32])
    ends = SimpleNamespace(
        modern=False,
        session=b"s",
        requests=ServerRequests(sealer),
        input_rules=InputRequestRules(OwnAddresses(["https://gate.example.com"])),
        features=ClientFeatures.NOTHING,
        tfeatures=Tasks(sealer),
        view=SimpleNamespace(token=SimpleNamespace(id=FLEET)),
        server=SimpleNamespace(id=FLEET),
    )
    stream_filter = MirrorStreamFilter(cast("StreamContext", ends), None)
    for id in range(server_requests.MAX_KEPT + 10):
        assert stream_filter.filter_request({"method": "ping", "id": id})
    assert len(stream_filter._asked) == server_requests.MAX_KEPT
