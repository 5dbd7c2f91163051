"""Providers and claims for sign-in tests, and readers of the resulting rows."""

import asyncio
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.identity_providers.schemas import Provider
from app.http.authorization import Role
from app.lib.ids import new_id
from app.models.identity_providers import IdentityProvider

Sessions = async_sessionmaker[AsyncSession]
Json = dict[str, Any]
NOW = 1_700_000_000
ROLES = {"sg-owners": Role.OWNER, "sg-admins": Role.ADMIN, "sg-auditors": Role.AUDITOR}


async def stored_provider(sessions: Sessions, **fields: Any) -> Provider:
    """Store a provider, which gives roles by group by default."""
    issuer = f"https://{new_id().hex}.example"
    given = {"issuer": issuer, "audiences": ("scopegate",), "role_map": ROLES} | fields
    provider = Provider(id=new_id(), **given)
    async with sessions() as session:
        settings = {
            "link_claim": provider.link_claim, "client_id": provider.client_id, "role_map": dict(provider.role_map),
        }  # fmt: skip
        session.add(IdentityProvider(id=provider.id, name="A", issuer=provider.issuer, settings=settings))
        await session.commit()
    return provider


def claims(sub: str = "ada", *groups: str, iat: int = NOW, **more: Any) -> Json:
    """The claims of a person's token."""
    return {"sub": sub, "groups": list(groups), "iat": iat, **more}


async def rows(sessions: Sessions, query: str, **values: Any) -> list[Any]:
    async with sessions() as session:
        return list(await session.execute(text(query), values))


async def run(sessions: Sessions, statement: str, **values: Any) -> None:
    async with sessions() as session:
        await session.execute(text(statement), values)
        await session.commit()


async def recorded(sessions: Sessions, *actions: str) -> list[tuple[str, Json]]:
    """(action, changes) of the recorded events, in order; only of the given actions, if any."""
    found = await rows(
        sessions,
        "SELECT action, changes FROM audit_events WHERE action = ANY(:actions) OR :all ORDER BY xact, seq",
        actions=list(actions),
        all=not actions,
    )
    return [(row.action, row.changes) for row in found]


async def person_of(sessions: Sessions, provider: Provider, link: str) -> UUID:
    """The identity with this link."""
    found = await rows(
        sessions,
        "SELECT identity_id FROM identity_links WHERE provider_id = :provider AND value = :link",
        provider=provider.id,
        link=link,
    )
    id: UUID = found[0].identity_id
    return id


async def until_waiting(sessions: Sessions, count: int = 1) -> None:
    """Return once this many statements wait for a lock."""
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(50):
        while len(await rows(sessions, query)) < count:
            pass
