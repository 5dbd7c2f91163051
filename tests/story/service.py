"""The whole service for end-to-end tests: real uvicorn, database, MCP servers and clients."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import httpx2
import uvicorn
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import SecretStr

from app.main import create_app
from app.settings import Settings
from tests.api import KEY
from tests.serving import listener, served


@asynccontextmanager
async def serving(app: Any, sock: socket.socket) -> AsyncIterator[str]:
    """Serve an ASGI application; yields its base URL."""
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2, ws="none")
    async with served(config, sock, force=False):
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


def notes_server() -> Any:
    """A real MCP server of the SDK (it speaks both eras): one tool reads, one writes, one destroys."""
    server = MCPServer("notes")
    notes = {"hello": "world"}

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def read_note(name: str) -> str:
        """Read a note."""
        return notes.get(name, "")

    @server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False))
    def write_note(name: str, text: str) -> str:
        """Write a note."""
        notes[name] = text
        return "written"

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    def delete_note(name: str) -> str:
        """Delete a note."""
        notes.pop(name, None)
        return "deleted"

    return server.streamable_http_app()


@dataclass(frozen=True, slots=True)
class Service:
    """The running service and a client of its API with an owner's bearer."""

    url: str
    api: httpx2.AsyncClient

    async def post(self, path: str, body: dict[str, Any], status: int = 201) -> dict[str, Any]:
        """POST under ``/api/v1`` and check the status."""
        answer = await self.api.post(f"/api/v1{path}", json=body)
        assert answer.status_code == status, answer.text
        answer_body: dict[str, Any] = answer.json()
        return answer_body

    async def register(self, slug: str, url: str) -> str:
        """Register and sync a server; returns its id."""
        server = await self.post("/servers", {"slug": slug, "name": slug, "url": url})
        synced = await self.sync(server["id"])
        assert synced["sync"]["state"] == "ok", synced
        return str(server["id"])

    async def sync(self, server_id: str) -> dict[str, Any]:
        """Sync a server's tools; returns the server afterwards."""
        path = f"/api/v1/servers/{server_id}"
        answer = await self.api.post(f"{path}/sync", json={})
        assert answer.status_code in {200, 202}, answer.text
        while answer.json()["sync"]["state"] == "running":
            await asyncio.sleep(0.05)
            answer = await self.api.get(path)
        server: dict[str, Any] = answer.json()
        return server

    async def publish(self, text: str) -> None:
        """Publish a policy."""
        policy = await self.post("/policies", {"name": f"policy-{os.urandom(4).hex()}", "text": text})
        path = f"/api/v1/policies/{policy['id']}"
        etag = (await self.api.get(path)).headers["etag"]
        answer = await self.api.post(f"{path}/publish", headers={"If-Match": etag})
        assert answer.status_code == 200, answer.text

    async def issue(self, **rights: Any) -> dict[str, Any]:
        """Issue a token to a new person with a grant (default: everything); returns the answer."""
        name = f"sophie-{os.urandom(4).hex()}"
        person = await self.post("/identities", {"kind": "person", "user_name": name})
        grant = {"servers": {"kind": "all"}, "tools": {"kind": "all"}, **rights}
        await self.post("/grants", {"principal": {"type": "identity", "id": person["id"]}, **grant})
        return await self.post(
            "/tokens",
            {
                "identity_id": person["id"],
                "name": "laptop",
                "scope": {"kind": "grants"},
                "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
            },
        )

    @asynccontextmanager
    async def connect(self, path: str, token: str) -> AsyncIterator[Any]:
        """Return the transport of the real client, with a token."""
        async with httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=60
        ) as http_client:
            yield streamable_http_client(self.url + path, http_client=http_client)


@asynccontextmanager
async def whole_service(
    database_url: str, bearer: str, *, wrap: Any = None, **settings: Any
) -> AsyncIterator[Service]:
    """Start the service on a database; ``bearer`` is an owner's, ``settings`` come to those that it needs.

    ``wrap``, of the application, gives what is served in its place.
    """
    key = SecretStr(KEY)
    with listener() as sock:
        all_settings = Settings(
            database_url=SecretStr(database_url),
            token_pepper=key,
            encryption_key=key,
            signing_key=key,
            port=sock.getsockname()[1],
            upstream_allowed_networks=(ip_network("127.0.0.0/8"),),
            **settings,
        )
        app: Any = create_app(all_settings)
        async with serving(app if wrap is None else wrap(app), sock) as url:
            headers = {"Authorization": f"Bearer {bearer}"}
            async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as api:
                yield Service(url, api)
