"""Create identities, groups and grants through the API, and read the resulting rows."""

from typing import Any
from uuid import UUID, uuid4

import httpx2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.lib.ids import SERVER, format_id, parse_id
from app.models.servers import Server

Sessions = async_sessionmaker[AsyncSession]
Json = dict[str, Any]


def fresh(word: str) -> str:
    """A unique name."""
    return f"{word}-{uuid4().hex[:12]}"


async def made(api: httpx2.AsyncClient, plural: str, body: Json) -> Json:
    """Create an object by POST."""
    answer = await api.post(f"/api/v1/{plural}", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/{plural}/{answer.json()['id']}"
    result: Json = answer.json()
    return result


async def person(api: httpx2.AsyncClient, **fields: Any) -> Json:
    return await made(api, "identities", {"kind": "person", "user_name": fresh("person"), **fields})


async def agent(api: httpx2.AsyncClient, owner: Json, **fields: Any) -> Json:
    body = {"kind": "agent", "user_name": fresh("agent"), "owner_id": owner["id"], **fields}
    return await made(api, "identities", body)


async def group(api: httpx2.AsyncClient, *members: Json, **fields: Any) -> Json:
    result = await made(api, "groups", {"name": fresh("group"), **fields})
    for member in members:
        answer = await api.put(member_path(result, member))
        assert answer.status_code == 201, answer.text
    return result


async def grant(api: httpx2.AsyncClient, principal: Json, **fields: Any) -> Json:
    kind = "identity" if principal["id"].startswith("idn_") else "group"
    body = {
        "principal": {"type": kind, "id": principal["id"]},
        "servers": {"kind": "all"},
        "tools": {"kind": "all"},
        **fields,
    }
    return await made(api, "grants", body)


async def server(sessions: Sessions) -> str:
    """The id of a registered server."""
    async with sessions() as session:
        row = Server(slug=fresh("server"), name="A server", url="http://127.0.0.1:1/mcp")
        session.add(row)
        await session.commit()
        return format_id(SERVER, row.id)


def member_path(of: Json, member: Json) -> str:
    return f"/api/v1/groups/{of['id']}/members/{member['id']}"


def plain(thing: Json) -> UUID:
    """The UUID of an object of the API."""
    return parse_id(thing["id"].partition("_")[0], thing["id"])


class Versions:
    """The access versions of some objects before and after a change."""

    def __init__(self, sessions: Sessions, *things: Json) -> None:
        self._sessions = sessions
        self._ids = [plain(thing) for thing in things]
        self._names = dict(zip(self._ids, (thing["id"] for thing in things), strict=True))
        self._before: dict[UUID, int] = {}

    async def _read(self) -> dict[UUID, int]:
        async with self._sessions() as session:
            rows = await session.execute(
                text("SELECT id, version FROM access_versions WHERE id = ANY(:ids)"), {"ids": self._ids}
            )
            return {row.id: row.version for row in rows}

    async def look(self) -> None:
        """Store the current versions."""
        self._before = await self._read()

    async def moved(self) -> set[str]:
        """The objects whose version moved since the last look."""
        now = await self._read()
        result = {name for id, name in self._names.items() if now[id] != self._before[id]}
        self._before = now
        return result


async def events(sessions: Sessions, thing: Json) -> list[tuple[str, Json]]:
    """(action, changes) of what was recorded about an object, in order."""
    async with sessions() as session:
        rows = await session.execute(
            text("SELECT action, changes FROM audit_events WHERE object_id = :id ORDER BY xact, seq"),
            {"id": plain(thing)},
        )
        return [(row.action, row.changes) for row in rows]


async def history(sessions: Sessions, kind: str) -> list[tuple[Json, bool]]:
    """(content, whether it is current) of the versions of a kind, in order."""
    async with sessions() as session:
        rows = await session.execute(
            text(
                "SELECT content, valid_to IS NULL AS current FROM object_versions WHERE kind = :kind "
                "ORDER BY valid_from, version"
            ),
            {"kind": kind},
        )
        return [(row.content, row.current) for row in rows]


def pointers(answer: httpx2.Response) -> set[tuple[str, str]]:
    """(pointer, code) of the errors of a 422."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return {(error["pointer"], error["code"]) for error in answer.json()["errors"]}
