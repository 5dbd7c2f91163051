"""Queries of identities."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, Uuid, delete, func, select, table, text
from sqlalchemy import column as named
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.text_search import has_text
from app.features.identities.schemas import IdentityQuery
from app.http.pagination import Sorts, caseless
from app.models.identities import NAMES, Identity, IdentityLink

# What is signed in with a browser is of a higher feature; that it ends is all that is wanted here.
_BROWSER_SESSIONS = table("browser_sessions", named("identity_id", Uuid))

# Turns have numbers of their own among advisory locks.
_TURNS = 0x5C09E1D7
TURN = f"hashtextextended(id::text, {_TURNS})"
"""The number of the advisory lock for which those wait who want to lock the row ``id`` of an identity."""
# In the order of the array. The one value in these texts is a constant of ours.
_TAKE_TURNS = text(f"SELECT pg_advisory_xact_lock({TURN}) FROM unnest(CAST(:ids AS uuid[])) AS t(id)")  # noqa: S608
_SHARE_TURNS = text(f"SELECT pg_advisory_xact_lock_shared({TURN}) FROM unnest(CAST(:ids AS uuid[])) AS t(id)")  # noqa: S608

_FIRST_SIGN_IN = text("SELECT pg_advisory_xact_lock(hashtextextended(:provider || ' ' || :link, 0))")

SORTS: Sorts = {
    "user_name": caseless(col(Identity.user_name)),
}
"""What a list can be sorted by, with an index for each."""


def select_identities(wanted: IdentityQuery) -> Select[Identity]:
    """The identities that a filter leaves."""
    statement = select(Identity)
    for column, values in (
        (col(Identity.kind), wanted.kind),
        (col(Identity.status), wanted.status),
        (col(Identity.source), wanted.source),
        (col(Identity.owner_id), wanted.owner_id),
        (col(Identity.external_id), wanted.external_id),
    ):
        if values:
            statement = statement.where(column.in_(values))
    if wanted.user_name:
        names = [func.lower(name) for name in wanted.user_name]
        statement = statement.where(func.lower(col(Identity.user_name)).in_(names))
    if wanted.q:
        columns = (col(Identity.user_name), col(Identity.display_name), col(Identity.email))
        statement = statement.where(has_text(wanted.q, *columns, indexed=NAMES))
    return statement


async def links_of(session: AsyncSession, identity_ids: Iterable[UUID]) -> dict[UUID, list[IdentityLink]]:
    """The provider links of several identities, by identity."""
    ids = list(identity_ids)
    found: dict[UUID, list[IdentityLink]] = {id: [] for id in ids}
    statement = (
        select(IdentityLink).where(col(IdentityLink.identity_id).in_(ids)).order_by(col(IdentityLink.id))
    )
    for link in await session.scalars(statement):
        found[link.identity_id].append(link)
    return found


async def agents_of(session: AsyncSession, owner_id: UUID) -> list[UUID]:
    """The ids of the agents that a person is responsible for."""
    return list(await session.scalars(select(col(Identity.id)).where(col(Identity.owner_id) == owner_id)))


async def persons_behind(session: AsyncSession, id: UUID | None) -> set[UUID]:
    """An identity itself and, of an agent, the person who answers for it."""
    query = select(col(Identity.id), col(Identity.owner_id)).where(col(Identity.id) == id)
    found = (await session.execute(query)).one_or_none()
    return set() if found is None else {one for one in found if one is not None}


async def is_user_name_reserved(session: AsyncSession, user_name: str, since: datetime) -> bool:
    """Whether a user name made by hand was given up by an offboarding after ``since``."""
    statement = select(
        select(col(Identity.id))
        .where(
            func.lower(col(Identity.user_name)) == func.lower(user_name),
            col(Identity.provider_id).is_(None),
            col(Identity.status) == "offboarded",
            col(Identity.offboarded_at) > since,
        )
        .exists()
    )
    return bool(await session.scalar(statement))


async def take_turns(session: AsyncSession, ids: Iterable[UUID], *, share: bool = False) -> None:
    """Queue for the rows of identities, until this transaction ends: before any of the rows is locked, and once.

    PostgreSQL lets a ``FOR SHARE`` pass those who wait for the row, so whoever wants it alone starves behind many who
    share it. An advisory lock is given in the order of asking. ``ids`` are few: each is an entry in the table of
    locks that all sessions share.
    """
    await session.execute(_SHARE_TURNS if share else _TAKE_TURNS, {"ids": sorted(ids)})


async def lock_identity(session: AsyncSession, identity_id: UUID, *, share: bool = False) -> Identity | None:
    """Read an identity under a row lock; ``share`` when it may only not change meanwhile.

    Locks are taken in one order: group, turns of identities by id, identities by id, grants by id, tokens by id. So
    who locks several identities one by one takes all their turns before. The exclusive lock lets foreign keys refer
    to the row, and still excludes ``FOR SHARE``.
    """
    await take_turns(session, [identity_id], share=share)
    return await lock_row(session, identity_id, share=share)


async def lock_row(session: AsyncSession, identity_id: UUID, *, share: bool = False) -> Identity | None:
    """The same for whoever has the turn already."""
    mode = {"read": True} if share else {"key_share": True}
    return await session.get(Identity, identity_id, with_for_update=mode, populate_existing=True)


async def lock_first_sign_in(session: AsyncSession, provider_id: UUID, link: str) -> None:
    """Wait for whoever else makes an identity for this link, until this transaction ends."""
    await session.execute(_FIRST_SIGN_IN, {"provider": str(provider_id), "link": link})


async def end_browser_sessions(session: AsyncSession, identity_id: UUID) -> int:
    """Sign a locked identity out of every browser, so that none is signed in again by a reinstatement; how many."""
    ended = await session.execute(
        delete(_BROWSER_SESSIONS)
        .where(_BROWSER_SESSIONS.c.identity_id == identity_id)
        .returning(_BROWSER_SESSIONS.c.identity_id)
    )
    return len(ended.all())
