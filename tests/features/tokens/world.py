"""A small organization for the tests of tokens and offboarding."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import SQLModel

from app.db.versions import move_versions
from app.features.identities.queries import can_sign_in
from app.lib.ids import IDENTITY, SERVER, format_id
from app.models.identities import Identity, IdentityLink
from app.models.identity_providers import IdentityProvider
from app.models.servers import Server


def in_days(days: float) -> str:
    """A time that many days from now, as the API takes it."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


@dataclass(frozen=True, slots=True)
class World:
    """Creates identities and servers in the database, and tokens through the API."""

    api: httpx2.AsyncClient
    sessions: async_sessionmaker[AsyncSession]

    async def add(self, *rows: SQLModel, versioned: bool = True) -> None:
        """Insert rows as they are, each with its version."""
        async with self.sessions() as session:
            session.add_all(rows)
            await session.flush()
            if versioned:
                await move_versions(session, [row.id for row in rows], narrows=False)  # type: ignore[attr-defined]
            await session.commit()

    async def person(self, **fields: Any) -> Identity:
        """An active person."""
        row = Identity(kind="person", user_name=fields.pop("user_name", f"p-{uuid4().hex}"), **fields)
        await self.add(row)
        return row

    async def link(self, person_id: UUID, role_map: dict[str, str] | None = None) -> None:
        """Let a person sign in at a provider that gives these roles, if they cannot yet."""
        settings = {
            "audiences": ["scopegate"], "algorithms": ["RS256"], "token_types": ["at+jwt"], "role_claim": "groups",
            "role_map": role_map or {}, "link_claim": "sub", "workloads": [], "client_id": None,
        }  # fmt: skip
        async with self.sessions() as session:
            if await can_sign_in(session, person_id):
                return
            provider = IdentityProvider(name="A", issuer=f"https://{uuid4().hex}.example", settings=settings)
            session.add(provider)
            await session.flush()
            session.add(
                IdentityLink(identity_id=person_id, provider_id=provider.id, kind="oidc", value=person_id.hex)
            )
            await session.commit()

    async def agent(self, owner: Identity, **fields: Any) -> Identity:
        """An active agent of this person."""
        row = Identity(kind="agent", user_name=f"a-{uuid4().hex}", owner_id=owner.id, **fields)
        await self.add(row)
        return row

    async def server(self, **fields: Any) -> str:
        """An active server; its id at the API."""
        row = Server(slug=f"s-{uuid4().hex}", name="A server", url="https://mcp.example.com/", **fields)
        await self.add(row)
        return format_id(SERVER, row.id)

    def order(self, identity: Identity, **fields: Any) -> dict[str, Any]:
        """The body that issues a token for this identity."""
        return {
            "identity_id": format_id(IDENTITY, identity.id),
            "name": "laptop",
            "scope": {"kind": "grants"},
            "expires_at": in_days(7),
        } | fields

    async def issue(self, identity: Identity, **fields: Any) -> dict[str, Any]:
        """A new token, as the API shows it."""
        answer = await self.api.post("/api/v1/tokens", json=self.order(identity, **fields))
        assert answer.status_code == 201, answer.text
        token: dict[str, Any] = answer.json()["token"]
        return token

    async def read(self, token: Mapping[str, Any]) -> dict[str, Any]:
        """The token as it is now."""
        answer = await self.api.get(f"/api/v1/tokens/{token['id']}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        """Run one statement in the API's database and return its rows."""
        async with self.sessions() as session:
            result = await session.execute(text(statement), values)
            rows = list(result) if result.returns_rows else []  # type: ignore[attr-defined]
            await session.commit()
            return rows

    async def version(self, id: UUID) -> int:
        """The version of an object that decisions depend on."""
        (row,) = await self.sql("SELECT version FROM access_versions WHERE id = :id", id=id)
        return int(row[0])

    async def actions(self, id: UUID) -> list[str]:
        """The recorded actions on this object, oldest first."""
        rows = await self.sql("SELECT action FROM audit_events WHERE object_id = :id ORDER BY seq", id=id)
        return [row[0] for row in rows]


def pointers(answer: httpx2.Response) -> set[str]:
    """The pointers of the errors in a 422."""
    assert answer.status_code == 422, answer.text
    return {error["pointer"] for error in answer.json()["errors"]}
