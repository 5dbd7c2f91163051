"""Canaille, a real identity provider, provisions and deprovisions people and groups."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer

from tests.api import Account
from tests.interop.canaille import AUDIENCE, Canaille, canaille
from tests.serving import listener
from tests.story.provisioning import Directory, make_directory
from tests.story.service import Service, serving, whole_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PASSWORD = "correct horse battery"


@dataclass
class Slow:
    """A real MCP server whose one tool works until it is cut."""

    url: str = ""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> Any:
        server = MCPServer("slow")

        @server.tool()
        def ping() -> str:
            """Answer at once."""
            return "pong"

        @server.tool()
        async def work() -> str:
            """Work for hours."""
            self.began.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.cut.set()
                raise
            return "done"

        return server.streamable_http_app()


@dataclass(frozen=True, slots=True)
class Company:
    """The service, the provider that pushes to it, and a server behind it."""

    service: Service
    provider: Canaille
    directory: Directory
    slow: Slow

    async def get(self, path: str, **query: str) -> Any:
        answer = await self.service.api.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def person(self, user_name: str) -> dict[str, Any]:
        """The one identity of this name."""
        listed = (await self.get("/identities", q=user_name))["items"]
        (found,) = [one for one in listed if one["user_name"] == user_name]
        assert found["provider_id"] == self.directory.provider_id
        return dict(found)

    async def group(self, name: str) -> tuple[dict[str, Any], set[str]]:
        """A group and the ids of its members."""
        (found,) = [one for one in (await self.get("/groups", q=name))["items"] if one["name"] == name]
        members = (await self.get(f"/groups/{found['id']}/members"))["items"]
        return found, {member["identity_id"] for member in members}

    async def token(self, identity_id: str) -> dict[str, Any]:
        body = {
            "identity_id": identity_id,
            "name": "laptop",
            "scope": {"kind": "grants"},
            "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        }
        return await self.service.post("/tokens", body)

    @asynccontextmanager
    async def client(self, secret: str) -> AsyncIterator[Client]:
        """A real client of the server through the gateway, which waits as long as a call takes."""
        async with httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {secret}"}, timeout=60
        ) as http_client:
            transport = streamable_http_client(f"{self.service.url}/mcp/slow", http_client=http_client)
            async with Client(transport) as client:
                yield client

    async def me(self, user_name: str) -> httpx2.Response:
        """Return the API's answer to a person who signs in at the provider."""
        token = await self.provider.access_token(user_name, PASSWORD)
        headers = {"Authorization": f"Bearer {token}"}
        return await self.service.api.get("/api/v1/me", headers=headers)

    async def requests(self) -> list[dict[str, Any]]:
        """What the trail says of the provider's requests, oldest first."""
        query = {"action": "scim.request", "actor_id": self.directory.account_id, "limit": "200"}
        return list(reversed((await self.get("/audit-events", **query))["items"]))


@asynccontextmanager
async def upstream() -> AsyncIterator[Slow]:
    slow = Slow()
    with listener() as sock:
        async with serving(slow.app(), sock) as url:
            slow.url = f"{url}/mcp"
            yield slow


@pytest.fixture
async def company(database_url: str, owner: Account) -> AsyncIterator[Company]:
    # Each has to know of the other first: the provider's address is part of its configuration in the service.
    with listener() as sock:
        issuer = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with whole_service(database_url, owner.bearer) as service, upstream() as slow:
            directory = await make_directory(
                service.api,
                issuer,
                {"link_attribute": "userName"},
                audiences=[AUDIENCE],
                token_types=["JWT"],
            )
            async with canaille(sock, f"{service.url}/scim/v2", directory.secret) as provider:
                yield Company(service, provider, directory, slow)


async def test_who_is_provisioned_works_and_is_cut_off_with_the_account(company: Company) -> None:
    service, provider = company.service, company.provider
    await service.register("slow", company.slow.url)
    await provider.save_user(
        "ada",
        formatted_name="Ada Byron",
        given_name="Ada",
        family_name="Byron",
        emails=["ada@example.com"],
        password=PASSWORD,
    )
    await provider.save_user(
        "grace",
        formatted_name="Grace Murray",
        family_name="Murray",
        emails=["grace@example.com"],
        password=PASSWORD,
    )
    await provider.save_group("engineers", ["ada"])
    ada = await company.person("ada")
    assert (ada["source"], ada["status"], ada["display_name"]) == ("scim", "active", "Ada Byron")
    assert ada["email"] == "ada@example.com"

    # Who signs in at the provider is who was provisioned.
    me = await company.me("ada")
    assert (me.status_code, me.json()["type"]) == (200, "identity")
    assert me.json()["identity_id"] == ada["id"]

    await provider.save_user("ada", display_name="Ada Lovelace", family_name="Lovelace")
    await provider.save_group("engineers", ["ada", "grace"], new_name="builders")
    assert (await company.person("ada"))["display_name"] == "Ada Lovelace"
    group, members = await company.group("builders")
    grace = await company.person("grace")
    assert (group["source"], members) == ("scim", {ada["id"], grace["id"]})

    # Rights follow the group, and the group follows the provider.
    await service.post(
        "/grants",
        {
            "principal": {"type": "group", "id": group["id"]},
            "servers": {"kind": "all"},
            "tools": {"kind": "all"},
        },
    )
    issued = await company.token(ada["id"])
    hers = await company.token(grace["id"])
    async with company.client(hers["secret"]) as client:
        assert "pong" in str((await client.call_tool("ping", {})).content)
        await provider.save_group("builders", ["ada"])
        with pytest.raises(MCPError, match="no server here"):
            await client.call_tool("ping", {})

    async with company.client(issued["secret"]) as client:
        assert "pong" in str((await client.call_tool("ping", {})).content)
        working = asyncio.create_task(client.call_tool("work", {}))
        async with asyncio.timeout(50):
            await company.slow.began.wait()
        await provider.save_user("ada", locked=True)
        # How soon is measured in tests/faults, where nothing else runs.
        async with asyncio.timeout(50):
            with pytest.raises(MCPError):
                await working
            await company.slow.cut.wait()
    assert await refused(service, issued["secret"])
    token = await company.get(f"/tokens/{issued['token']['id']}")
    assert token["status"] == "revoked"
    assert (await company.person("ada"))["status"] == "offboarded"
    await check_trail(company, ada["id"], issued["token"]["id"])

    # Let in again, she has nothing of what she had.
    await provider.save_user("ada", locked=False)
    assert (await company.person("ada"))["status"] == "active"
    assert await refused(service, issued["secret"])

    await provider.delete_group("builders")
    assert [one for one in (await company.get("/groups"))["items"] if one["source"] == "scim"] == []
    await provider.delete_user("ada")
    assert (await company.get(f"/identities/{ada['id']}"))["status"] == "offboarded"


async def refused(service: Service, secret: str) -> bool:
    """Whether a new call gets 401."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    headers = {"Authorization": f"Bearer {secret}", "Accept": "application/json, text/event-stream"}
    answer = await service.api.post("/mcp/slow", json=message, headers=headers)
    return answer.status_code == 401


async def check_trail(company: Company, identity_id: str, token_id: str) -> None:
    """Each request is in the trail, the last with what it ended, and nothing that the provider knows of her."""
    requests = await company.requests()
    changing = [one["changes"] for one in requests if one["changes"]["method"] in {"POST", "PUT", "DELETE"}]
    assert [(one["method"], one["resource"]) for one in changing] == [
        ("POST", "Users.create"),
        ("POST", "Users.create"),
        ("POST", "Groups.create"),
        ("PUT", "Users.replace"),
        ("PUT", "Groups.replace"),
        ("PUT", "Groups.replace"),
        ("PUT", "Users.replace"),
    ]
    assert {one["outcome"] for one in requests} == {"success"}
    effects = requests[-1]["changes"]["effects"]
    assert identity_id in effects
    (receipt,) = [effect for effect in effects if effect.startswith("evt_")]
    event = await company.get(f"/audit-events/{receipt}")
    assert event["action"] == "identity.offboard"
    assert token_id in str(event["changes"])
    for known in ("ada@example.com", "Byron", "Lovelace", "pbkdf2"):
        assert known not in str(requests)
