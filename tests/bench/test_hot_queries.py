"""Hot queries scan no big table sequentially: the statements of the service are recorded and explained."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr

from app.crypto.keys import Peppers
from app.db.engine import make_engine, make_sessions
from app.features.audit.stats import HourCounts
from app.lib.ids import GROUP, SERVER, TOKEN, format_id
from app.main import create_app
from app.settings import Settings
from bench.messages import LEGACY, MODERN
from bench.processes import child, python
from bench.scale.loading import Loaded, load, until_sealed
from bench.scale.sizes import Size
from bench.seed import SLUG
from tests.api import KEY, client_of, make_account
from tests.bench.statements import Heard, Plans, heard
from tests.ports import free_port
from tests.streams import listening

SIZE = Size(tokens=100_000, identities=3_000, servers=1_290, tools=6_600, events=60_000, called=100)
_ACCEPT = "application/json, text/event-stream"
_MONTH = timedelta(days=30.9)


@dataclass(frozen=True, slots=True)
class Service:
    """The application on a loaded organization, and its clients."""

    app: Any
    api: httpx2.AsyncClient
    caller: httpx2.AsyncClient
    loaded: Loaded
    url: str
    statements: Heard

    async def look(self, path: str, **search: str) -> Any:
        """Send a GET to the API; returns the answer."""
        return self._found(await self.api.get(f"/api/v1{path}", params=search))

    async def send(self, path: str, body: dict[str, Any]) -> Any:
        """Send a POST to the API; returns the answer."""
        return self._found(await self.api.post(f"/api/v1{path}", json=body))

    def _found(self, answer: httpx2.Response) -> Any:
        assert answer.status_code < 300, answer.text
        return answer.json()

    def id(self, prefix: str, number: int) -> str:
        """Return an id as in the API."""
        ids = {"tok": self.loaded.tokens, "idn": self.loaded.identities, GROUP: self.loaded.groups}
        return format_id(prefix, ids[prefix][number])

    async def call(self, token: int, method: str, path: str, **params: Any) -> httpx2.Response:
        """Send an MCP message with a token; returns the answer."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        named = {"Mcp-Name": params["name"]} if "name" in params else {}
        answer = await self.caller.post(
            path,
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}},
            headers={
                "Authorization": f"Bearer {self.loaded.credentials[token]}",
                "Accept": _ACCEPT,
                "MCP-Protocol-Version": MODERN,
                "Mcp-Method": method,
                **named,
            },
        )
        assert answer.status_code == 200, answer.text
        return answer


@asynccontextmanager
async def serving(url: str, upstream: int, statements: Heard) -> AsyncIterator[Service]:
    """Load an organization and serve it."""
    engine = make_engine(url, name="test")
    account = await make_account(make_sessions(engine), Peppers([KEY.encode()]))
    await engine.dispose()
    loaded = await load(url, Peppers([KEY.encode()]), f"http://127.0.0.1:{upstream}/mcp", SIZE)
    key = SecretStr(KEY)
    settings = Settings(
        database_url=SecretStr(url),
        token_pepper=key,
        encryption_key=key,
        signing_key=key,
        upstream_allowed_networks=(ip_network("127.0.0.1/32"),),
    )
    app = create_app(settings)
    async with (
        app.api.router.lifespan_context(app.api),
        client_of(app, account.bearer) as api,
        client_of(app) as caller,
    ):
        await until_sealed(url, loaded.events)
        yield Service(app, api, caller, loaded, url, statements)


async def _calls(service: Service) -> None:
    for token in (1, 2, 1):
        await service.call(token, "tools/call", f"/mcp/{SLUG}", name="echo", arguments={"text": "a"})
    await service.call(1, "tools/list", f"/mcp/{SLUG}")
    await service.call(1, "tools/list", "/mcp")


async def _watch(service: Service) -> None:
    headers = {"Authorization": f"Bearer {service.loaded.credentials[3]}", "MCP-Protocol-Version": LEGACY}
    begun = await service.caller.post(
        "/mcp",
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        },
        headers={**headers, "Accept": _ACCEPT},
    )
    session = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "Accept": "text/event-stream"}
    async with listening(service.app, "/mcp", {**headers, **session}):
        await service.statements.until("v.id = g.id WHERE coalesce(v.version, 0) <> g.version")


async def _tokens(service: Service) -> None:
    for number in range(3):
        issued = await service.send(
            "/tokens",
            {
                "identity_id": service.id("idn", number),
                "name": "another",
                "scope": {"kind": "grants"},
                "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
            },
        )
        await service.send(f"/tokens/{issued['token']['id']}/rotate", {"overlap_s": 60})
        await service.send(f"/tokens/{issued['token']['id']}/revoke", {"reason": "over"})


async def _offboarding(service: Service) -> None:
    await service.send(f"/identities/{service.id('idn', 1000)}/offboard", {"reason": "left"})


async def _objects(service: Service) -> None:
    await service.look(f"/tokens/{service.id(TOKEN, 7)}")
    person = service.id("idn", 7)
    await service.look(f"/identities/{person}")
    await service.look(f"/identities/{person}/access")
    await service.look(f"/groups/{service.id(GROUP, 1)}/members")
    server = format_id(SERVER, service.loaded.server)
    await service.look(f"/servers/{server}")
    tool = (await service.look("/tools", server_id=server))["items"][0]
    await service.look(f"/tools/{tool['id']}")
    await service.look(f"/tools/{tool['id']}/access")


async def _lists(service: Service) -> None:
    server = format_id(SERVER, service.loaded.server)
    lists: dict[str, list[dict[str, str]]] = {
        "/tokens": [
            {},
            {"sort": "name"},
            {"sort": "-expires_at"},
            {"identity_id": service.id("idn", 7)},
            {"status": "active"},
            {"status": "revoked"},
            {"status": "expired"},
            {"q": "token 77"},
        ],
        "/identities": [{}, {"sort": "user_name"}, {"kind": "agent"}, {"q": "person77"}],
        "/groups": [{}],
        "/servers": [{}, {"sort": "name"}, {"q": "mail"}],
        "/tools": [{}, {"sort": "name"}, {"server_id": server}, {"q": "report_77_"}],
        "/grants": [{}, {"sort": "expires_at"}, {"identity_id": service.id("idn", 5)}],
    }
    for path, searches in lists.items():
        for search in searches:
            page = await service.look(path, **search)
            assert page["items"], (path, search)
            if page["next_cursor"] is not None:
                await service.look(path, **search, cursor=page["next_cursor"])


async def _audit(service: Service) -> None:
    since = (datetime.now(UTC) - _MONTH).isoformat()
    server, token, person = (
        format_id(SERVER, service.loaded.server),
        service.id(TOKEN, 7),
        service.id("idn", 7),
    )
    searches: tuple[dict[str, str], ...] = (
        {},
        {"token_id": token},
        {"actor_id": person},
        {"server_id": server},
        {"server_id": server, "tool": "echo"},
        {"request_id": "client-500"},
        {"decision": "deny"},
        {"since": since},
        {"since": since, "action": "token.issue"},
        {"since": since, "outcome": "error"},
        {"since": since, "trace_id": "nothing"},
        {"since": since, "q": "person77"},
    )
    for search in searches:
        page = await service.look("/audit-events", **search)
        if page["next_cursor"] is not None:
            await service.look("/audit-events", **search, cursor=page["next_cursor"])
    page = await service.look("/audit-events", after="")
    await service.look("/audit-events", after=page["next_cursor"])
    await service.look("/audit-events", after="", decision="deny", since=since)
    await service.look("/audit-events/stats", since=since)
    event = (await service.look("/audit-events", decision="deny"))["items"][0]
    await service.look(f"/audit-events/{event['id']}")


async def _counting(service: Service) -> None:
    engine = make_engine(service.url, name="test")
    await HourCounts(make_sessions(engine)).round()
    await engine.dispose()


OPERATIONS: dict[str, Callable[[Service], Awaitable[None]]] = {
    "calls": _calls,
    "watch": _watch,
    "tokens": _tokens,
    "objects": _objects,
    "lists": _lists,
    "audit": _audit,
    "counting": _counting,
    "offboarding": _offboarding,
}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_that_is_done_often_reads_through_a_big_table(
    fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    upstream = python("-m", "bench.fake_upstream", str(port))
    found: dict[str, list[tuple[set[str], str]]] = {}
    with (
        child(upstream, port, os.sched_getaffinity(0), tmp_path / "upstream.log"),
        heard(monkeypatch) as statements,
    ):
        async with serving(fresh_database_url, port, statements) as service:
            connection = await asyncpg.connect(fresh_database_url)
            plans = await Plans.of(connection)
            # A worker reads the whole fleet when it starts.
            await _calls(service)
            for name, operation in OPERATIONS.items():
                statements.forget()
                await operation(service)
                for statement, arguments in statements:
                    tables = await plans.read_through(statement, arguments)
                    if tables:
                        found.setdefault(name, []).append((tables, statement))
            await connection.close()

    assert not found, "\n".join(
        f"{name}: {tables}: {statement}" for name, bad in found.items() for tables, statement in bad
    )
