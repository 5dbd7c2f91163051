"""The main use case of the product, end to end, with the real client in both eras."""

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client, MCPError

from app.domain.token_format import TOKEN_NEEDED
from tests.api import Account
from tests.serving import listener
from tests.story.service import Service, notes_server, serving, whole_service


@pytest.fixture
async def service(database_url: str, owner: Account) -> AsyncIterator[Service]:
    async with whole_service(database_url, owner.bearer) as running:
        yield running


@pytest.fixture
async def notes() -> AsyncIterator[str]:
    """The URL of a real MCP server."""
    with listener() as sock:
        async with serving(notes_server(), sock) as url:
            yield f"{url}/mcp"


async def issue(service: Service, risk: list[str]) -> tuple[str, str, str]:
    """Create a person with a grant of these risks; returns (token id, secret, grant id)."""
    person = await service.post(
        "/identities", {"kind": "person", "user_name": f"maria-{os.urandom(4).hex()}"}
    )
    grant = await service.post(
        "/grants",
        {
            "principal": {"type": "identity", "id": person["id"]},
            "servers": {"kind": "all"},
            "tools": {"kind": "risk", "risk": risk},
        },
    )
    issued = await service.post(
        "/tokens",
        {
            "identity_id": person["id"],
            "name": "laptop",
            "scope": {"kind": "grants"},
            "expires_at": _in_an_hour(),
        },
    )
    return issued["token"]["id"], issued["secret"], grant["id"]


def _in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


async def events(service: Service, token_id: str, **filters: str) -> list[dict[str, Any]]:
    answer = await service.api.get("/api/v1/audit-events", params={"token_id": token_id, **filters})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("path", ["/mcp/notes", "/mcp"])
async def test_one_call_is_allowed_one_refused_all_is_audited_and_a_revocation_ends_it(
    service: Service, notes: str, path: str, mode: Literal["auto", "legacy"]
) -> None:
    await service.register("notes", notes)
    prefix = "notes__" if path == "/mcp" else ""
    token_id, secret, grant_id = await issue(service, ["read"])

    async with service.connect(path, secret) as transport, Client(transport, mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == [f"{prefix}read_note"]
        answer = await client.call_tool(f"{prefix}read_note", {"name": "hello"})
        assert "world" in str(answer.content)
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool(f"{prefix}write_note", {"name": "hello", "text": "mine"})

        # After widening and narrowing, the token follows its grants immediately.
        for risks, expected in ((["read", "write"], 2), (["read"], 1)):
            patched = await service.api.patch(
                f"/api/v1/grants/{grant_id}", json={"tools": {"kind": "risk", "risk": risks}}
            )
            assert patched.status_code == 200, patched.text
            assert len((await client.list_tools()).tools) == expected

        revoked = await service.api.post(f"/api/v1/tokens/{token_id}/revoke", json={"reason": "left"})
        assert revoked.status_code == 200, revoked.text
        with pytest.raises(MCPError):
            await client.call_tool(f"{prefix}read_note", {"name": "hello"})

    calls = {event["tool"]: event for event in await events(service, token_id, action="tool.call")}
    assert calls["read_note"]["decision"] == "allow"
    assert calls["read_note"]["outcome"] == "success"
    assert calls["read_note"]["server"]["slug"] == "notes"
    assert calls["write_note"]["decision"] == "deny"
    assert calls["write_note"]["outcome"] == "denied"
    assert secret not in json.dumps(await events(service, token_id))


async def test_a_refused_token_gets_a_plain_error(service: Service, notes: str) -> None:
    await service.register("notes", notes)
    token_id, secret, _ = await issue(service, ["read"])
    await service.api.post(f"/api/v1/tokens/{token_id}/revoke", json={"reason": "left"})
    async with httpx2.AsyncClient(base_url=service.url, timeout=60) as client:
        answers = [
            await client.post(
                path,
                json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
                headers={"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"},
            )
            for token in (secret, "sgt_nonsense", secret[:-1] + "x")
            for path in ("/mcp/notes", "/mcp/no-such-server", "/mcp")
        ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert TOKEN_NEEDED in answers[0].headers["WWW-Authenticate"]
    assert answers[0].json()["error"]["message"] == TOKEN_NEEDED
