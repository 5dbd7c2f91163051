"""Upstream credentials: written, sent, never read."""

import json
from dataclasses import asdict
from typing import Any

import httpx2
import pytest
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.access.credentials import open_credential
from app.crypto.keys import Sealer, UnsealingFault
from app.lib.ids import format_id, parse_id
from app.models.servers import Server, ServerCredential
from tests.api import KEY, Account

Sessions = async_sessionmaker[AsyncSession]
SECRET = "the-upstream-secret-1234567890"
SEALER = Sealer([KEY.encode()])
OAUTH = {
    "kind": "oauth_client_credentials",
    "token_url": "https://login.example.com/token",
    "client_id": "scopegate",
    "client_secret": SECRET,
}


@pytest.fixture
async def path(api: httpx2.AsyncClient) -> str:
    """The path of a registered server."""
    body = {"slug": "git", "url": "https://mcp.example.com/mcp"}
    return (await api.post("/api/v1/servers", json=body)).headers["location"]


async def opened(sessions: Sessions, path: str, identity: str | None = None) -> Any:
    async with sessions() as session:
        row = await session.get_one(Server, parse_id("srv", path.rpartition("/")[2]))
        who = None if identity is None else parse_id("idn", identity)
        return (await open_credential(session, SEALER, row, who)).headers


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"kind": "none"}, ()),
        ({"kind": "bearer", "token": SECRET}, ((b"authorization", b"Bearer " + SECRET.encode()),)),
        ({"kind": "header", "name": "X-Api-Key", "value": SECRET}, ((b"x-api-key", SECRET.encode()),)),
    ],
)
async def test_a_credential_opens_to_the_headers_to_send(
    api: httpx2.AsyncClient, sessions: Sessions, path: str, body: dict[str, Any], headers: Any
) -> None:
    answer = await api.put(path + "/credential", json=body)

    assert answer.status_code == 200
    assert answer.json()["origin"] == "https://mcp.example.com"
    assert await opened(sessions, path) == headers
    assert (await api.get(path)).json()["credential"]["kind"] == body["kind"]
    assert (await api.delete(path + "/credential")).status_code == 204
    assert await opened(sessions, path) == ()
    assert (await api.delete(path + "/credential")).status_code == 404


async def test_client_credentials_open_to_what_a_token_is_fetched_with(
    api: httpx2.AsyncClient, sessions: Sessions, path: str
) -> None:
    body = {**OAUTH, "scope": "mcp", "resource": "https://mcp.example.com/mcp"}
    answer = await api.put(path + "/credential", json=body)

    assert answer.status_code == 200, answer.text
    assert answer.json()["kind"] == "oauth_client_credentials"
    assert SECRET not in answer.text
    async with sessions() as session:
        row = await session.get_one(Server, parse_id("srv", path.rpartition("/")[2]))
        opened = await open_credential(session, SEALER, row)
        stored = (await session.scalars(text("SELECT t::text FROM server_credentials AS t"))).one()
    assert opened.headers == ()
    assert opened.client is not None
    del body["kind"]
    assert {**body, "auth_method": "client_secret_basic"}.items() <= asdict(opened.client).items()
    assert SECRET not in repr(opened)
    assert SECRET.encode().hex() not in stored


async def test_what_a_secret_would_be_sent_to_is_pointed_at(api: httpx2.AsyncClient, path: str) -> None:
    answer = await api.put(
        path + "/credential", json={**OAUTH, "token_url": "http://login.example.com/token"}
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "forbidden_url")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/token_url"]


async def test_an_identity_has_its_own_credential_before_the_servers(
    api: httpx2.AsyncClient, sessions: Sessions, path: str, owner: Account
) -> None:
    identity = format_id("idn", owner.owner_id)
    await api.put(path + "/credential", json={"kind": "bearer", "token": SECRET})
    mine = await api.put(
        f"{path}/credentials/{identity}", json={"kind": "header", "name": "X-Mine", "value": "m"}
    )

    assert mine.json()["identity_id"] == identity
    assert await opened(sessions, path, identity) == ((b"x-mine", b"m"),)
    assert await opened(sessions, path) == ((b"authorization", b"Bearer " + SECRET.encode()),)
    await api.delete(f"{path}/credentials/{identity}")
    assert await opened(sessions, path, identity) == await opened(sessions, path)
    stranger = f"{path}/credentials/idn_01jdpnwz00e008000000000000"
    assert (await api.put(stranger, json={"kind": "none"})).status_code == 404


async def test_no_credential_is_readable_anywhere(
    api: httpx2.AsyncClient, sessions: Sessions, path: str
) -> None:
    answers = [
        await api.put(path + "/credential", json={"kind": "bearer", "token": SECRET}),
        await api.put(path + "/credential", json={"kind": "header", "name": "X-Key", "value": SECRET + "\n"}),
        await api.put(path + "/credential", json={"kind": "bearer", "token": SECRET + " x"}),
        await api.put(path + "/credential", json={"kind": "bearer", "token": SECRET, "extra": SECRET}),
        await api.get(path),
        await api.get("/api/v1/servers"),
    ]

    assert [answer.status_code for answer in answers] == [200, 422, 422, 422, 200, 200]
    assert all(SECRET not in answer.text for answer in answers)
    async with sessions() as session:
        for table in ("server_credentials", "servers", "audit_events"):
            dump = await session.scalars(text(f"SELECT t::text FROM {table} AS t"))
            for row in dump:
                assert SECRET not in row
                assert SECRET.encode().hex() not in row


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "oauth_client_credentials", "token_url": "https://x.example/token"},
        {**OAUTH, "client_id": ""},
        {**OAUTH, "client_secret": ""},
        {**OAUTH, "auth_method": "none"},
        {**OAUTH, "token_url": "https://169.254.169.254/token"},
        {**OAUTH, "token_url": "https://user:word@login.example.com/token"},
        {**OAUTH, "token_url": "http://login.example.com/token"},
        {**OAUTH, "token_url": "http://8.8.8.8/token"},
        {"kind": "basic"},
        {"kind": "bearer"},
        {"kind": "bearer", "token": ""},
        {"kind": "header", "name": "X-Key\r\nX-Other", "value": "v"},
        {"kind": "header", "name": "Host", "value": "v"},
        {"kind": "header", "name": "Mcp-Session-Id", "value": "v"},
        {"kind": "header", "name": "X-Key", "value": "a\r\nX-Other: b"},
    ],
)
async def test_what_cannot_be_sent_is_refused(
    api: httpx2.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    answer = await api.put(path + "/credential", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"]


async def test_half_a_character_in_a_secret_is_refused_like_in_any_text(
    api: httpx2.AsyncClient, path: str
) -> None:
    body = json.dumps({**OAUTH, "client_secret": "\ud800"}).encode()
    headers = {"Content-Type": "application/json"}
    answer = await api.put(path + "/credential", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


async def test_a_wrong_credential_is_pointed_at(api: httpx2.AsyncClient, path: str) -> None:
    answer = await api.put(path + "/credential", json={"kind": "bearer", "token": SECRET + "\n"})

    assert [error["pointer"] for error in answer.json()["errors"]] == ["/token"]
    assert SECRET not in answer.text


async def test_a_url_on_another_origin_needs_the_credential_gone_first(
    api: httpx2.AsyncClient, sessions: Sessions, path: str
) -> None:
    await api.put(path + "/credential", json={"kind": "bearer", "token": SECRET})

    refused = await api.patch(path, json={"url": "https://elsewhere.example.com/mcp"})
    assert (refused.status_code, refused.json()["code"]) == (409, "credential_bound_to_origin")
    assert (await api.patch(path, json={"url": "https://mcp.example.com:443/v2"})).status_code == 200
    assert await opened(sessions, path) != ()
    await api.delete(path + "/credential")
    assert (await api.patch(path, json={"url": "https://elsewhere.example.com/mcp"})).status_code == 200


async def test_a_credential_opens_only_for_its_row_server_and_origin(
    api: httpx2.AsyncClient, sessions: Sessions, path: str
) -> None:
    other = await api.post("/api/v1/servers", json={"slug": "other", "url": "https://mcp.example.com/mcp"})
    await api.put(path + "/credential", json={"kind": "bearer", "token": SECRET})
    other_id = parse_id("srv", other.json()["id"])

    async with sessions() as session:
        await session.execute(update(ServerCredential).values(server_id=other_id))
        with pytest.raises(UnsealingFault):
            await open_credential(session, SEALER, await session.get_one(Server, other_id))
        await session.rollback()
    async with sessions() as session:
        await session.execute(
            update(Server).where(col(Server.slug) == "git").values(url="https://evil.example.com/")
        )
        row = await session.get_one(Server, parse_id("srv", path.rpartition("/")[2]))
        with pytest.raises(UnsealingFault):
            await open_credential(session, SEALER, row)


async def test_setting_and_removing_move_the_servers_version(
    api: httpx2.AsyncClient, sessions: Sessions, path: str
) -> None:
    async def version() -> int:
        async with sessions() as session:
            query = text("SELECT version FROM access_versions WHERE id = :id")
            id = parse_id("srv", path.rpartition("/")[2])
            return int((await session.execute(query, {"id": id})).scalar_one())

    assert await version() == 1
    await api.put(path + "/credential", json={"kind": "bearer", "token": SECRET})
    assert await version() == 2
    await api.delete(path + "/credential")
    assert await version() == 3


async def test_who_has_credentials_is_listed_and_what_they_are_is_not(
    api: httpx2.AsyncClient, path: str
) -> None:
    people = [
        (await api.post("/api/v1/identities", json={"kind": "person", "user_name": name})).json()["id"]
        for name in ("ada", "bob")
    ]
    await api.put(path + "/credential", json={"kind": "bearer", "token": SECRET})
    for person in people:
        await api.put(f"{path}/credentials/{person}", json={"kind": "bearer", "token": SECRET})
    found: list[Any] = []
    cursor: str | None = None
    while not found or cursor:
        asked: dict[str, Any] = {"limit": 1} if cursor is None else {"limit": 1, "cursor": cursor}
        answer = await api.get(path + "/credentials", params=asked)
        assert SECRET not in answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
    assert [one["identity_id"] for one in found] == [people[1], people[0], None]
    assert {one["origin"] for one in found} == {"https://mcp.example.com"}
    missing = await api.get("/api/v1/servers/srv_01jdpnwz00e008000000000000/credentials")
    assert missing.status_code == 404
