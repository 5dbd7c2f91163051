"""Manual changes to tools: create, list, override, quarantine, approve, remove."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.lib.ids import parse_id
from tests.api import ApiAs

Sessions = async_sessionmaker[AsyncSession]
Json = dict[str, Any]


@pytest.fixture
async def server_id(api: httpx2.AsyncClient) -> str:
    """A registered server that was never synced."""
    body = {"slug": "git", "url": "https://mcp.example.com/mcp"}
    id: str = (await api.post("/api/v1/servers", json=body)).json()["id"]
    return id


async def make(api: httpx2.AsyncClient, server_id: str, name: str, **fields: Any) -> Json:
    body = {"server_id": server_id, "name": name, "input_schema": {"type": "object"}, **fields}
    created = await api.post("/api/v1/tools", json=body)
    assert created.status_code == 201, created.text
    tool: Json = created.json()
    assert created.headers["location"] == f"/api/v1/tools/{tool['id']}"
    return tool


async def version(sessions: Sessions, server_id: str) -> int:
    async with sessions() as session:
        query = text("SELECT version FROM access_versions WHERE id = :id")
        return int((await session.execute(query, {"id": parse_id("srv", server_id)})).scalar_one())


async def test_a_tool_made_by_hand_is_active_and_counted(
    api: httpx2.AsyncClient, server_id: str, sessions: Sessions
) -> None:
    tool = await make(api, server_id, "git_log", annotations={"readOnlyHint": True})

    assert tool["state"] == "active"
    assert tool["risk"] == "read"
    assert tool["approved_digest"] == tool["definition_digest"]
    assert (await api.get(f"/api/v1/tools/{tool['id']}")).json() == tool
    server = (await api.get(f"/api/v1/servers/{server_id}")).json()
    assert (server["tool_count"], server["revision"]) == (1, 2)
    assert await version(sessions, server_id) == 2
    again = await api.post(
        "/api/v1/tools", json={"server_id": server_id, "name": "git_log", "input_schema": {}}
    )
    assert (again.status_code, again.json()["code"]) == (409, "tool_exists")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "n" * 257}, "/name"),
        ({"input_schema": []}, "/input_schema"),
        ({"input_schema": {"title": "x" * 300_000}}, "/input_schema"),
        ({"annotations": 1}, "/annotations"),
        ({"risk": "harmless"}, "/risk"),
        ({"state": "active"}, "/state"),
        ({"server_id": "srv_01jdpnwz00e008000000000000"}, "/server_id"),
        ({"server_id": "idn_01jdpnwz00e008000000000000"}, "/server_id"),
    ],
)
async def test_bad_input_names_the_field(
    api: httpx2.AsyncClient, server_id: str, fields: Json, pointer: str
) -> None:
    body = {"server_id": server_id, "name": "x", "input_schema": {}, **fields}

    answer = await api.post("/api/v1/tools", json=body)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "schema", ['{"a": "\\ud800"}', '{"a": NaN}', '{"a": 1e999}', '{"a":' * 100 + "1" + "}" * 100]
)
async def test_a_schema_that_is_not_plain_json_is_refused(
    api: httpx2.AsyncClient, server_id: str, schema: str
) -> None:
    body = f'{{"server_id": "{server_id}", "name": "x", "input_schema": {schema}}}'

    answer = await api.post("/api/v1/tools", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in {400, 422}


async def test_an_overridden_risk_stands_until_it_is_cleared(
    api: httpx2.AsyncClient, server_id: str, sessions: Sessions
) -> None:
    tool = await make(api, server_id, "git_log")
    path = f"/api/v1/tools/{tool['id']}"

    answer = await api.patch(path, json={"risk": "destructive"})
    assert (answer.json()["risk"], answer.json()["risk_overridden"]) == ("destructive", True)
    assert answer.headers["etag"] == '"2"'
    assert await version(sessions, server_id) == 3
    cleared = await api.patch(path, json={"risk": None})
    assert (cleared.json()["risk"], cleared.json()["risk_overridden"]) == ("read", False)
    assert (await api.patch(path, json={"risk": "read"}, headers={"If-Match": '"1"'})).status_code == 412
    assert (await api.patch(path, json={"title": "x"})).status_code == 422
    assert (await api.patch(path, json={"state": "removed"})).status_code == 422
    assert (await api.patch(path, json={"state": None})).status_code == 422


async def test_holding_and_releasing_move_the_servers_version(
    api: httpx2.AsyncClient, server_id: str, sessions: Sessions
) -> None:
    tool = await make(api, server_id, "git_log")
    path = f"/api/v1/tools/{tool['id']}"

    assert (await api.patch(path, json={"state": "quarantined"})).json()["state"] == "quarantined"
    assert await version(sessions, server_id) == 3
    assert (await api.patch(path, json={"state": "active"})).json()["state"] == "active"
    assert await version(sessions, server_id) == 4
    await api.patch(path, json={"state": "active"})
    assert await version(sessions, server_id) == 4


async def test_a_removed_tool_is_gone_but_for_those_who_audit(
    api: httpx2.AsyncClient, api_as: ApiAs, server_id: str, sessions: Sessions
) -> None:
    tool = await make(api, server_id, "git_log", risk="write")
    path = f"/api/v1/tools/{tool['id']}"
    assert (await api.delete(path)).status_code == 204

    assert (await api.get(path)).status_code == 404
    assert (await api.delete(path)).status_code == 404
    assert (await api.get("/api/v1/tools")).json()["items"] == []
    removed = (await api.get(path, params={"include": "ended"})).json()
    assert (removed["state"], removed["approved_digest"]) == ("removed", None)
    assert len((await api.get("/api/v1/tools", params={"state": "removed"})).json()["items"]) == 1
    issuer = await api_as("issuer")
    assert (await issuer.get(path, params={"include": "ended"})).status_code == 403
    assert await version(sessions, server_id) == 3
    back = await make(api, server_id, "git_log")
    assert (back["id"], back["state"], back["risk"]) == (tool["id"], "active", "read")
    async with sessions() as session:
        query = text("SELECT action FROM audit_events WHERE object_type = 'tool' ORDER BY xact, seq")
        assert list(await session.scalars(query)) == ["tool.create", "tool.delete", "tool.create"]
        ended = text("SELECT version, valid_to IS NOT NULL FROM object_versions WHERE object_id = :id")
        rows = await session.execute(ended, {"id": parse_id("tool", tool["id"])})
        assert sorted(map(tuple, rows)) == [(1, True), (2, False)]


async def test_the_tools_of_an_ended_server_are_out_of_sight(api: httpx2.AsyncClient, server_id: str) -> None:
    tool = await make(api, server_id, "git_log")
    await api.delete(f"/api/v1/servers/{server_id}")

    assert (await api.get("/api/v1/tools")).json()["items"] == []
    assert (await api.get(f"/api/v1/tools/{tool['id']}")).status_code == 404
    assert (await api.patch(f"/api/v1/tools/{tool['id']}", json={"risk": "read"})).status_code == 404
    assert len((await api.get("/api/v1/tools", params={"include": "ended"})).json()["items"]) == 1


async def test_lists_filter_and_page(api: httpx2.AsyncClient, server_id: str) -> None:
    for name in ("get_a", "get_b", "create_c", "delete_d"):
        await make(api, server_id, name, description=f"about {name[-1]}%")

    async def names(**query: Any) -> list[str]:
        answer = await api.get("/api/v1/tools", params=query)
        assert answer.status_code == 200, answer.text
        return [item["name"] for item in answer.json()["items"]]

    assert await names(risk="read") == ["get_b", "get_a"]
    assert await names(risk=["write", "destructive"]) == ["delete_d", "create_c"]
    assert await names(q="B%") == ["get_b"]
    assert await names(q="_") == ["delete_d", "create_c", "get_b", "get_a"]
    assert await names(server_id="srv_01jdpnwz00e008000000000000") == []
    assert await names(state="quarantined") == []
    first = (await api.get("/api/v1/tools", params={"limit": 3})).json()
    assert await names(limit=3, cursor=first["next_cursor"]) == ["get_a"]
    assert (await api.get("/api/v1/tools", params={"colour": "red"})).status_code == 422


async def test_changing_tools_needs_its_permission(
    api: httpx2.AsyncClient, api_as: ApiAs, server_id: str
) -> None:
    tool = await make(api, server_id, "git_log")
    path = f"/api/v1/tools/{tool['id']}"
    issuer = await api_as("issuer")

    assert (await issuer.get(path)).status_code == 200
    for answer in (
        await issuer.post("/api/v1/tools", json={"server_id": server_id, "name": "x", "input_schema": {}}),
        await issuer.patch(path, json={"risk": "read"}),
        await issuer.delete(path),
        await issuer.post(path + "/approve", json={"definition_digest": tool["definition_digest"]}),
    ):
        assert answer.status_code == 403
        assert "tools.write" in answer.json()["detail"]
