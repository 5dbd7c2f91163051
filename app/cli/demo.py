"""``scopegate demo``: the life of a token, demonstrated against a running ``scopegate dev`` with real programs.

It uses the REST API for the control plane and the ``mcp`` client for the gateway. It creates a person, a grant and
a token, and removes them again, so that it can be repeated.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import typer
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from app.cli import dev as dev_file
from app.cli.errors import CannotStart
from app.cli.seed import Api, ApiFault, Fleet, Json
from app.settings import Settings

_SERVER = "git"
_GRANTED = ["git_log", "git_status"]
_NARROWED = ["git_status"]


class UnexpectedResult(Exception):
    """The service did not behave as the demo expects."""


def demo(settings: Settings) -> None:
    """Run the demo, with a line for each step.

    Raises:
        CannotStart: no service runs, or a step failed; then the exit code is 1.
    """
    known = dev_file.read(settings.data_dir)
    if known is None:
        raise CannotStart(
            f"there is no {dev_file.path_in(settings.data_dir)}: start `make run` in another terminal first"
        )
    try:
        with Api(known.url, known.client_id, known.client_secret) as api:
            _Story(api, known, Fleet(settings.data_dir).repository).run()
    except ApiFault as fault:
        raise CannotStart(f"the story stops here: {fault}", code=1) from None
    except UnexpectedResult as fault:
        raise CannotStart(f"unexpected result: {fault}", code=1) from None


class _Story:
    def __init__(self, api: Api, known: dev_file.DevFile, repository: Path) -> None:
        self._api = api
        self._mcp_url = f"{known.url}/mcp/{_SERVER}"
        self._arguments = {"repo_path": str(repository)}
        self._step = 0

    def run(self) -> None:
        server = next((each for each in self._api.every("/servers") if each["slug"] == _SERVER), None)
        if server is None:
            raise UnexpectedResult(f"the server {_SERVER} is not registered; start `make run` again")
        name = f"demo-{secrets.token_hex(3)}"
        person = self._api.post("/identities", {"kind": "person", "user_name": name, "display_name": name})
        try:
            self._run_with(person, server)
        finally:
            self._api.post(f"/identities/{person['id']}/offboard", {"reason": "the demo is over"})
        self._say(f"{name} is offboarded. The audit log stays.")

    def _run_with(self, person: Json, server: Json) -> None:
        name = person["user_name"]
        principal = {"type": "identity", "id": person["id"]}
        servers, tools = {"kind": "ids", "ids": [server["id"]]}, {"kind": "names", "names": _GRANTED}
        wanted: Json = {"principal": principal, "servers": servers, "tools": tools, "reason": "demo"}
        grant = self._api.post("/grants", wanted)
        expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()  # noqa: TID251 - a client
        scoped: Json = {"identity_id": person["id"], "name": "demo", "scope": {"kind": "grants"}}
        issued = self._api.post("/tokens", scoped | {"expires_at": expires_at})
        token, secret = issued["token"], issued["secret"]
        self._say(f"{name} is granted {', '.join(_GRANTED)} on {_SERVER}, and gets a token for one hour.")
        asyncio.run(self._use(secret, server))
        self._api.patch(f"/grants/{grant['id']}", {"tools": {"kind": "names", "names": _NARROWED}})
        self._say(f"{name}'s grant is narrowed to {', '.join(_NARROWED)}. The token stays the same.")
        asyncio.run(self._use_narrowed(secret))
        self._api.post(f"/tokens/{token['id']}/revoke", {"reason": "demo"})
        self._say(f"The token is revoked: {token['id']}")
        asyncio.run(self._use_revoked(secret))
        self._audit(token["id"], grant)

    async def _use(self, secret: str, server: Json) -> None:
        async with self._connect(secret) as client:
            listed = await self._list(client)
            self._expect(listed == _GRANTED, f"the list holds {listed}")
            count = self._api.get(f"/servers/{server['id']}")["tool_count"]
            self._say(f"It lists {', '.join(listed)}: {len(listed)} of the server's {count} tools.")
            result = await client.call_tool("git_status", self._arguments)
            self._expect(not result.is_error, f"git_status answered {_text(result)}")
            self._say(f"git_status is allowed: {_text(result)}")
            refusal = await self._expect_refusal(client, "git_commit", {"message": "not allowed"})
            self._say(f"git_commit is refused before it reaches the server: {refusal}")

    async def _use_narrowed(self, secret: str) -> None:
        async with self._connect(secret) as client:
            listed = await self._list(client)
            self._expect(listed == _NARROWED, f"after the narrowing the list holds {listed}")
            refusal = await self._expect_refusal(client, "git_log", {})
            self._say(f"It now lists only {', '.join(listed)}, and git_log is refused: {refusal}")

    async def _use_revoked(self, secret: str) -> None:
        headers = {"Authorization": f"Bearer {secret}"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        async with httpx2.AsyncClient(headers=headers, trust_env=False) as http:
            accept = {"Accept": "application/json, text/event-stream"}
            answer = await http.post(self._mcp_url, json=body, headers=accept)
        self._expect(answer.status_code == 401, f"the revoked token got {answer.status_code}")
        try:
            async with self._connect(secret) as client:
                await client.call_tool("git_status", self._arguments)
        except* MCPError as refusals:
            message = " ".join(str(refusal) for refusal in _leaves(refusals))
        else:
            raise UnexpectedResult("the revoked token could call git_status")
        self._say(f"The next call gets 401: {message}")

    def _audit(self, token_id: str, grant: Json) -> None:
        events = self._api.every("/audit-events", token_id=token_id)
        events += self._api.every("/audit-events", object_id=grant["id"], since=grant["created_at"])
        events.sort(key=lambda event: str(event["time"]))
        self._say("The audit log of this story:")
        for event in events:
            what = " ".join(str(event[part]) for part in ("decision", "reason_code") if event.get(part))
            tool = event.get("tool") or ""
            typer.echo(
                f"     {event['time'][:23]}  {event['action']:<16} {tool:<11} {what} {event['outcome'] or ''}"
            )
        called = [event for event in events if event["action"] == "tool.call"]
        calls = {(event.get("tool"), event.get("decision")) for event in called}
        for expected in (("git_status", "allow"), ("git_commit", "deny"), ("git_log", "deny")):
            self._expect(expected in calls, f"the audit log lacks {expected[1]} of {expected[0]}")

    @contextlib.asynccontextmanager
    async def _connect(self, secret: str) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            transport = streamable_http_client(self._mcp_url, http_client=http)
            async with Client(transport, mode="auto") as client:
                yield client

    async def _list(self, client: Client) -> list[str]:
        return sorted(tool.name for tool in (await client.list_tools()).tools)

    async def _expect_refusal(self, client: Client, tool: str, arguments: dict[str, str]) -> str:
        try:
            result = await client.call_tool(tool, self._arguments | arguments)
        except MCPError as refusal:
            return str(refusal)
        raise UnexpectedResult(f"{tool} was not refused: {_text(result)}")

    def _say(self, sentence: str) -> None:
        self._step += 1
        typer.echo(f"{self._step:>2}. {sentence}")

    def _expect(self, true: bool, otherwise: str) -> None:
        if not true:
            raise UnexpectedResult(otherwise)


def _text(result: CallToolResult) -> str:
    texts = [part.text for part in result.content if isinstance(part, TextContent)]
    return " ".join(" ".join(texts).split())


def _leaves(group: BaseExceptionGroup[MCPError]) -> list[MCPError]:
    leaves: list[MCPError] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves
