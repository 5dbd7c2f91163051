"""Register, change, list and end servers."""

from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.domain.access import FLEET_ID
from app.lib.ids import parse_id
from tests.api import ApiAs

Sessions = async_sessionmaker[AsyncSession]
URL = "https://mcp.example.com/mcp"


async def register(api: httpx2.AsyncClient, slug: str, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/api/v1/servers", json={"slug": slug, "url": URL, **fields})
    assert answer.status_code == 201, answer.text
    server: dict[str, Any] = answer.json()
    return server


async def version_of(sessions: Sessions, id: UUID) -> int:
    async with sessions() as session:
        query = text("SELECT version FROM access_versions WHERE id = :id")
        return int((await session.execute(query, {"id": id})).scalar_one())


async def actions(sessions: Sessions, server_id: str) -> list[str]:
    async with sessions() as session:
        query = text("SELECT action FROM audit_events WHERE server_id = :id ORDER BY xact, seq")
        return list(await session.scalars(query, {"id": parse_id("srv", server_id)}))


async def test_a_server_is_registered_read_and_listed(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/api/v1/servers", json={"slug": "git", "url": URL, "labels": {"env": "prod"}})

    server = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/servers/{server['id']}"
    assert answer.headers["etag"] == '"1"'
    assert server["name"] == "git"
    # Approvers see the servers that they decide about.
    assert server["keep_arguments"] == "approvals"
    assert server["sync"] == {"state": "never", "at": None, "error": None, "protocol_versions": []}
    assert server["tool_count"] == 0
    assert server["credential"] is None
    assert (await api.get(answer.headers["location"])).json() == server
    assert (await api.get("/api/v1/servers")).json() == {"items": [server], "next_cursor": None}


async def test_a_server_is_owned_by_a_group_from_its_registration_or_later(api: httpx2.AsyncClient) -> None:
    first, second = [
        (await api.post("/api/v1/groups", json={"name": name})).json()["id"] for name in ("first", "second")
    ]
    server = await register(api, "git", owner_group_id=first)
    assert server["owner_group_id"] == first
    path = f"/api/v1/servers/{server['id']}"
    for owner in (second, None, first):
        moved = await api.patch(path, json={"owner_group_id": owner})
        assert (moved.status_code, moved.json()["owner_group_id"]) == (200, owner)


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"slug": "Git", "url": URL}, "/slug", "string_pattern_mismatch"),
        # An underscore would make ``a__b`` + ``c`` and ``a`` + ``b__c`` one aggregate name.
        ({"slug": "a__b", "url": URL}, "/slug", "string_pattern_mismatch"),
        ({"slug": "a\n", "url": URL}, "/slug", "string_pattern_mismatch"),
        ({"slug": "git"}, "/url", "required"),
        ({"slug": "git", "url": URL, "colour": "red"}, "/colour", "unknown_field"),
        ({"slug": "git", "url": URL, "name": "x" * 201}, "/name", "string_too_long"),
        ({"slug": "git", "url": URL, "labels": {"a": 1}}, "/labels/a", "string_type"),
        ({"slug": "git", "transport": "stdio", "command": "x"}, "/command", "stdio_not_allowed"),
        ({"slug": "git", "url": URL, "args": []}, "/args", "not_for_streamable_http"),
        (
            {"slug": "git", "url": URL, "owner_group_id": "grp_01jdpnwz00e008000000000000"},
            "/owner_group_id",
            "unknown_group",
        ),
        (
            {"slug": "git", "url": URL, "owner_group_id": "idn_01jdpnwz00e008000000000000"},
            "/owner_group_id",
            "value_error",
        ),
    ],
)
async def test_bad_input_names_the_field(
    api: httpx2.AsyncClient, body: dict[str, Any], pointer: str, code: str
) -> None:
    answer = await api.post("/api/v1/servers", json=body)

    assert answer.status_code == 422
    assert {(error["pointer"], error["code"]) for error in answer.json()["errors"]} == {(pointer, code)}
    assert (await api.get("/api/v1/servers")).json()["items"] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/mcp",
        "http://169.254.169.254/",
        "http://[::ffff:10.0.0.1]/mcp",
        "http://user:secret@example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://example.com/#x",
    ],
)
async def test_a_forbidden_url_is_refused(api: httpx2.AsyncClient, url: str) -> None:
    answer = await api.post("/api/v1/servers", json={"slug": "git", "url": url})

    assert answer.status_code == 422
    assert answer.json()["code"] == "forbidden_url"
    assert answer.json()["errors"][0]["pointer"] == "/url"

    server = await register(api, "git")
    moved = await api.patch(f"/api/v1/servers/{server['id']}", json={"url": url})
    assert (moved.status_code, moved.json()["code"]) == (422, "forbidden_url")


async def test_a_slug_is_taken_by_a_live_server_and_rests_after_its_end(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    server = await register(api, "git")
    path = f"/api/v1/servers/{server['id']}"

    async def code_of_again() -> tuple[int, str]:
        again = await api.post("/api/v1/servers", json={"slug": "git", "url": URL})
        return again.status_code, again.json().get("code", "")

    assert await code_of_again() == (409, "slug_taken")
    assert (await api.delete(path)).status_code == 204
    assert await code_of_again() == (409, "slug_taken")
    async with sessions() as session:
        await session.execute(text("UPDATE servers SET ended_at = now() - interval '91 days'"))
        await session.commit()
    assert (await code_of_again())[0] == 201


async def test_an_ended_server_is_gone_but_for_those_who_audit(
    api: httpx2.AsyncClient, api_as: ApiAs, sessions: Sessions
) -> None:
    server = await register(api, "git")
    path = f"/api/v1/servers/{server['id']}"
    await api.put(path + "/credential", json={"kind": "bearer", "token": "upstream-secret"})
    await api.delete(path)

    assert (await api.get(path)).status_code == 404
    assert (await api.patch(path, json={"name": "x"})).status_code == 404
    assert (await api.delete(path)).status_code == 404
    assert (await api.get("/api/v1/servers")).json()["items"] == []
    assert (await api.get(path, params={"include": "ended"})).json()["ended_at"] is not None
    assert len((await api.get("/api/v1/servers", params={"include": "ended"})).json()["items"]) == 1
    issuer = await api_as("issuer")
    refused = await issuer.get(path, params={"include": "ended"})
    assert refused.status_code == 403
    assert "audit.read" in refused.json()["detail"]
    async with sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM server_credentials")) == 0


async def test_a_merge_patch_changes_what_it_names(api: httpx2.AsyncClient) -> None:
    server = await register(api, "git", description="old", labels={"env": "prod", "team": "a"})

    patch = {"description": None, "labels": {"env": None, "tier": "1"}, "new_tools": "allow"}
    answer = await api.patch(f"/api/v1/servers/{server['id']}", json=patch)

    changed = answer.json()
    assert answer.status_code == 200
    assert changed["description"] is None
    assert changed["labels"] == {"team": "a", "tier": "1"}
    assert changed["new_tools"] == "allow"
    assert changed["revision"] == 2
    assert answer.headers["etag"] == '"2"'
    assert changed["updated_at"] > server["updated_at"]


@pytest.mark.parametrize(
    "patch", [{"name": None}, {"slug": "other"}, {"status": "ended"}, {"url": None}, {"sync": {}}]
)
async def test_a_patch_cannot_change_what_is_fixed(api: httpx2.AsyncClient, patch: dict[str, Any]) -> None:
    server = await register(api, "git")

    answer = await api.patch(f"/api/v1/servers/{server['id']}", json=patch)

    assert answer.status_code == 422


async def test_an_old_etag_changes_nothing(api: httpx2.AsyncClient) -> None:
    server = await register(api, "git")
    path = f"/api/v1/servers/{server['id']}"
    await api.patch(path, json={"name": "one"}, headers={"If-Match": '"1"'})

    assert (await api.patch(path, json={"name": "two"}, headers={"If-Match": '"1"'})).status_code == 412
    assert (await api.delete(path, headers={"If-Match": '"1"'})).status_code == 412
    assert (await api.get(path)).json()["name"] == "one"


@pytest.mark.parametrize(
    ("patch", "server_moves", "fleet_moves"),
    [
        ({"status": "disabled"}, 1, 0),
        ({"labels": {"env": "prod"}}, 1, 1),
        ({"url": "https://mcp.example.com/other"}, 1, 0),
        ({"name": "other"}, 0, 0),
    ],
)
async def test_a_change_moves_the_versions_that_decisions_rest_on(
    api: httpx2.AsyncClient, sessions: Sessions, patch: dict[str, Any], server_moves: int, fleet_moves: int
) -> None:
    server = await register(api, "git")
    id = parse_id("srv", server["id"])
    before, fleet_before = await version_of(sessions, id), await version_of(sessions, FLEET_ID)

    await api.patch(f"/api/v1/servers/{server['id']}", json=patch)

    assert await version_of(sessions, id) - before == server_moves
    assert await version_of(sessions, FLEET_ID) - fleet_before == fleet_moves


async def test_registering_and_ending_move_the_fleet(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    start = await version_of(sessions, FLEET_ID)
    server = await register(api, "git")
    assert await version_of(sessions, FLEET_ID) == start + 1
    await api.delete(f"/api/v1/servers/{server['id']}")

    assert await version_of(sessions, FLEET_ID) == start + 2
    assert await version_of(sessions, parse_id("srv", server["id"])) == 2
    assert await actions(sessions, server["id"]) == ["server.create", "server.delete"]


async def test_the_audit_keeps_no_query_of_a_url(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    server = await register(api, "git", url=URL + "?key=in-the-query")
    await api.patch(f"/api/v1/servers/{server['id']}", json={"url": URL + "?key=another-in-the-query"})

    async with sessions() as session:
        events = await session.scalars(text("SELECT changes::text FROM audit_events"))
        assert "in-the-query" not in "".join(event or "" for event in events)


async def test_lists_filter_and_page(api: httpx2.AsyncClient) -> None:
    for number in range(5):
        await register(
            api, f"s{number}", name=f"100%_{number}", status="disabled" if number == 2 else "active"
        )

    async def slugs(**query: Any) -> list[str]:
        answer = await api.get("/api/v1/servers", params=query)
        assert answer.status_code == 200, answer.text
        return [item["slug"] for item in answer.json()["items"]]

    assert await slugs(status="active") == ["s4", "s3", "s1", "s0"]
    assert await slugs(slug=["s1", "s2"]) == ["s2", "s1"]
    assert await slugs(q="%_3") == ["s3"]
    assert await slugs(sync_state="ok") == []
    assert await slugs(transport="stdio") == []
    assert await slugs(transport=["stdio", "streamable_http"]) == await slugs()
    first = (await api.get("/api/v1/servers", params={"limit": 2})).json()
    rest = await api.get("/api/v1/servers", params={"limit": 3, "cursor": first["next_cursor"]})
    assert [item["slug"] for item in first["items"] + rest.json()["items"]] == ["s4", "s3", "s2", "s1", "s0"]
    assert rest.json()["next_cursor"] is None
    foreign = await api.get("/api/v1/servers", params={"status": "active", "cursor": first["next_cursor"]})
    assert (foreign.status_code, foreign.json()["code"]) == (400, "cursor_mismatch")


async def test_reading_needs_one_permission_and_changing_another(
    api: httpx2.AsyncClient, api_as: ApiAs, anonymous: httpx2.AsyncClient
) -> None:
    server = await register(api, "git")
    path = f"/api/v1/servers/{server['id']}"
    issuer, provisioner = await api_as("issuer"), await api_as("provisioner")

    assert (await issuer.get(path)).status_code == 200
    for answer in (
        await issuer.post("/api/v1/servers", json={"slug": "x", "url": URL}),
        await issuer.patch(path, json={"name": "x"}),
        await issuer.delete(path),
        await issuer.put(path + "/credential", json={"kind": "none"}),
        await issuer.post(path + "/sync"),
        await provisioner.get(path),
    ):
        assert answer.status_code == 403
        assert "servers." in answer.json()["detail"]
    assert (await anonymous.get(path)).status_code == 401
