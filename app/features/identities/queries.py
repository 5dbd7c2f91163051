"""Queries and locks of identities and of their links.

``erased_link`` is the digest that replaces a link's value when its person is erased. A leaver may still hold a valid
provider token; without the digest, a sign-in with it would create a new person. The digest has no key, since keys are
rotated, and without its key a leaver would be let in.

``find_holder`` matches a provisioned person with the one who signs in. A link counts for every entry of the same issuer
and claim, also if the entry ended and was registered again, and also when only an erased link's digest is left.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.db.rows import has_text
from app.domain.errors import Conflict
from app.features.identities.schemas import IdentityQuery
from app.features.identity_providers.queries import lock_link_claim, same_claim
from app.http.pagination import Sorts, caseless, select_filtered
from app.models.identities import (
    NAMES,
    Identity,
    IdentityLink,
    ScimUser,
)
from app.models.identity_providers import IdentityProvider

# A number space of its own among advisory locks.
_TURNS = 0x5C09E1D7
TURN = f"hashtextextended(id::text, {_TURNS})"
"""The number of the advisory lock to take before locking the row ``id`` of an identity."""

# In the order of the array. The only value in these texts is a constant.
_TAKE_TURNS = text(f"SELECT pg_advisory_xact_lock({TURN}) FROM unnest(CAST(:ids AS uuid[])) AS t(id)")  # noqa: S608
_SHARE_TURNS = text(f"SELECT pg_advisory_xact_lock_shared({TURN}) FROM unnest(CAST(:ids AS uuid[])) AS t(id)")  # noqa: S608
_FIRST_SIGN_IN = text("SELECT pg_advisory_xact_lock(hashtextextended(:provider || ' ' || :link, 0))")


SORTS: Sorts = {"user_name": caseless(col(Identity.user_name))}


def select_identities(query: IdentityQuery) -> Select[Identity]:
    """Select the identities that match a filter."""
    statement = select_filtered(Identity, query, "kind", "status", "source", "owner_id", "external_id")
    if query.user_name:
        names = [func.lower(name) for name in query.user_name]
        statement = statement.where(func.lower(col(Identity.user_name)).in_(names))
    if query.q:
        columns = (col(Identity.user_name), col(Identity.display_name), col(Identity.email))
        statement = statement.where(has_text(query.q, *columns, indexed=NAMES))
    return statement


async def links_of(session: AsyncSession, identity_ids: Iterable[UUID]) -> dict[UUID, list[IdentityLink]]:
    """The provider links of several identities, by identity."""
    ids = list(identity_ids)
    by_identity: dict[UUID, list[IdentityLink]] = {id: [] for id in ids}
    statement = (
        select(IdentityLink).where(col(IdentityLink.identity_id).in_(ids)).order_by(col(IdentityLink.id))
    )
    for link in await session.scalars(statement):
        by_identity[link.identity_id].append(link)
    return by_identity


async def agents_of(session: AsyncSession, owner_id: UUID, *, live: bool = False) -> list[UUID]:
    """The ids of the agents that a person owns; with ``live`` only those that are not offboarded."""
    query = select(col(Identity.id)).where(col(Identity.owner_id) == owner_id)
    return list(await session.scalars(query.where(col(Identity.status) != "offboarded") if live else query))


async def persons_behind(session: AsyncSession, id: UUID | None) -> set[UUID]:
    """The identity itself and, for an agent, its owner."""
    query = select(col(Identity.id), col(Identity.owner_id)).where(col(Identity.id) == id)
    row = (await session.execute(query)).one_or_none()
    return set() if row is None else {one for one in row if one is not None}


async def is_user_name_reserved(session: AsyncSession, user_name: str, since: datetime) -> bool:
    """Whether a user name created by hand was released by an offboarding after ``since``."""
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
    """Queue for the rows of identities until this transaction ends: once, and before any of the rows is locked.

    PostgreSQL lets a ``FOR SHARE`` overtake transactions that wait for the row, so an exclusive lock starves behind
    many shared ones. An advisory lock is granted in order. ``ids`` must be few, since each is an entry in the lock
    table that all sessions share.
    """
    await session.execute(_SHARE_TURNS if share else _TAKE_TURNS, {"ids": sorted(ids)})


async def lock_identity(session: AsyncSession, identity_id: UUID, *, share: bool = False) -> Identity | None:
    """Read an identity under a row lock; ``share`` only prevents changes.

    Locks are taken in one order: group, turns of identities by id, identities by id, grants by id, tokens by id. So a
    transaction that locks several identities one by one first takes all their turns. The exclusive lock allows foreign
    keys to the row, and still excludes ``FOR SHARE``.
    """
    await take_turns(session, [identity_id], share=share)
    return await lock_row(session, identity_id, share=share)


async def lock_row(session: AsyncSession, identity_id: UUID, *, share: bool = False) -> Identity | None:
    """The same, for a caller that already has the turn."""
    mode = {"read": True} if share else {"key_share": True}
    return await session.get(Identity, identity_id, with_for_update=mode, populate_existing=True)


async def lock_first_sign_in(session: AsyncSession, provider_id: UUID, link: str) -> None:
    """Serialize the creation of an identity for this link, until the transaction ends."""
    await session.execute(_FIRST_SIGN_IN, {"provider": str(provider_id), "link": link})


def erased_link(kind: str, value: str) -> str:
    """The value that replaces a link's value once its identity is erased."""
    return "erased:" + hashlib.sha256(f"scopegate link {kind} {value}".encode()).hexdigest()


OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class Holder:
    """The locked identity with a link; ``user`` is its SCIM data."""

    link: IdentityLink
    identity: Identity
    user: ScimUser | None

    @property
    def is_stopped(self) -> bool:
        """Whether it ended, so that its link may go to a new person."""
        return self.identity.status == "offboarded"

    def is_kept_by(self, provider_id: UUID) -> bool:
        """Whether the provider manages it now."""
        return self.user is not None and self.user.provider_id == provider_id and self.user.deleted_at is None

    async def may_be_adopted_by(self, session: AsyncSession, provider_id: UUID) -> bool:
        """Whether it is a person without a manager: of no provider, deleted by this one, or of an ended entry of its
        issuer."""
        identity = self.identity
        if self.is_stopped or identity.kind != "person" or self.is_kept_by(provider_id):
            return False
        if identity.provider_id in {None, provider_id}:
            return True
        entry = aliased(IdentityProvider)
        earlier = (
            select(col(IdentityProvider.id))
            .join(entry, col(entry.issuer) == col(IdentityProvider.issuer))
            .where(
                col(entry.id) == provider_id,
                col(IdentityProvider.id) == identity.provider_id,
                col(IdentityProvider.ended_at).is_not(None),
            )
        )
        return (await session.execute(earlier)).first() is not None


async def find_holder(session: AsyncSession, provider_id: UUID, value: str) -> Holder | None:
    """Find the holder of a link, under an exclusive lock. Until the transaction ends, no other identity is created for
    it, and the link claim stays."""
    await lock_link_claim(session, provider_id)
    await lock_first_sign_in(session, provider_id, value)
    link = await find_link(session, provider_id, value)
    if link is None:
        return None
    identity = await lock_identity(session, link.identity_id)
    if identity is None:
        return None
    # An erasure may have replaced the value by a digest before the lock was ours.
    await session.refresh(link)
    return Holder(link, identity, await session.get(ScimUser, identity.id, populate_existing=True))


async def own_link(
    session: AsyncSession, provider_id: UUID, identity_id: UUID, value: str | None
) -> IdentityLink | None:
    """The link of this provider to an identity, if it has this value."""
    query = select(IdentityLink).where(
        col(IdentityLink.identity_id) == identity_id,
        col(IdentityLink.provider_id) == provider_id,
        col(IdentityLink.kind) == OIDC,
        col(IdentityLink.value) == value,
    )
    return (await session.scalars(query)).one_or_none()


_CAN_SIGN_IN = text(f"""
SELECT EXISTS (
    SELECT FROM identity_links link JOIN identity_providers known ON known.id = link.provider_id
    JOIN identity_providers active ON {same_claim("active", "known")}
    WHERE link.identity_id = :id AND link.kind = '{OIDC}' AND active.status = 'active' AND active.ended_at IS NULL
)
""")  # noqa: S608 - the only values are constants


async def can_sign_in(session: AsyncSession, identity_id: UUID) -> bool:
    """Whether an active provider has a sign-in link to an identity."""
    return bool(await session.scalar(_CAN_SIGN_IN, {"id": identity_id}))


def link_taken() -> Conflict:
    """The error for a link that another identity has."""
    return Conflict(
        "Another identity has the value that links people of this provider to their sign-in.",
        code="external_id_taken",
    )


async def find_link(
    session: AsyncSession, provider_id: UUID, value: str, kind: str = OIDC
) -> IdentityLink | None:
    """Find the row of a link: first the provider's own, then those of entries with the same issuer and claim."""
    provider, same = aliased(IdentityProvider, name="asked"), aliased(IdentityProvider, name="same")
    query = (
        select(IdentityLink)
        .join(same, col(same.id) == col(IdentityLink.provider_id))
        .join(provider, col(provider.id) == provider_id)
        .where(
            col(IdentityLink.kind) == kind,
            col(IdentityLink.value).in_([value, erased_link(kind, value)]),
            text(same_claim("same", "asked")),
        )
        .order_by((col(same.id) == col(provider.id)).desc(), col(IdentityLink.id))
        .limit(1)
    )
    return (await session.scalars(query)).first()
