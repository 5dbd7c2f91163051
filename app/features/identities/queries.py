"""Queries of identities.

What is left of a link when its person is erased: enough to know them again and keep them out.

A leaver may hold a provider's token that is still good. Without a link it would be a stranger's, and who has a role
in it would come back as a new person. So the value stays as a digest. The digest has no key: keys are
rotated, and with a key that is gone the leaver would be let in.

What the history keeps of an identity: all that a decision reads of it, and nothing that names anybody.

Whose link a directory's person has: how whoever is provisioned and whoever signs in come to be one identity.

A link of a provider is that of every entry of the same issuer whose people are known by the same claim: an entry that
ended and was registered anew still knows who is who. What an erasure left of a link counts as well.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, Uuid, delete, func, or_, select, table, text
from sqlalchemy import column as named
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.db.text_search import has_text
from app.domain.errors import Conflict
from app.features.audit.record import keep_version
from app.features.identities.schemas import IdentityQuery
from app.features.identity_providers.queries import hold_link_claim
from app.http.pagination import Sorts, caseless
from app.models.identities import NAMES, Identity, IdentityLink, ScimUser
from app.models.identity_providers import IdentityProvider

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


def erased_link(kind: str, value: str) -> str:
    """What stands in place of a value once its identity is erased."""
    return "erased:" + hashlib.sha256(f"scopegate link {kind} {value}".encode()).hexdigest()


KIND = "identity"
"""Of the versions in ``object_versions``."""
DECISIVE = frozenset({"kind", "status", "owner_id", "attributes"})


async def keep_identity(session: AsyncSession, identity: Identity) -> None:
    """Write down how a locked identity is from now on."""
    content = {name: getattr(identity, name) for name in sorted(DECISIVE)}
    await keep_version(session, KIND, identity.id, content)


OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class Holder:
    """The identity that has a link, locked; ``user`` is what SCIM says of it."""

    link: IdentityLink
    identity: Identity
    user: ScimUser | None

    @property
    def is_stopped(self) -> bool:
        """Whether it ended, so that its link may go to somebody new."""
        return self.identity.status == "offboarded"

    def is_kept_by(self, provider_id: UUID) -> bool:
        """Whether the provider knows it as a user now."""
        return self.user is not None and self.user.provider_id == provider_id and self.user.deleted_at is None

    async def may_be_adopted_by(self, session: AsyncSession, provider_id: UUID) -> bool:
        """Whether it is a person of nobody's: of no provider, of this one that deleted it, or of an ended entry of its
        issuer."""
        identity = self.identity
        if self.is_stopped or identity.kind != "person" or self.is_kept_by(provider_id):
            return False
        if identity.provider_id in {None, provider_id}:
            return True
        return await _is_earlier_entry(session, identity.provider_id, provider_id)


async def find_holder(session: AsyncSession, provider_id: UUID, value: str) -> Holder | None:
    """Who has a link, under an exclusive lock. Until the transaction ends nobody else makes an identity for it, and
    the claim that it is of stays."""
    await hold_link_claim(session, provider_id)
    await lock_first_sign_in(session, provider_id, value)
    link = await find_link(session, provider_id, value)
    if link is None:
        return None
    identity = await lock_identity(session, link.identity_id)
    if identity is None:
        return None
    # An erasure turns the value into a digest, under the lock that is ours now.
    await session.refresh(link)
    return Holder(link, identity, await session.get(ScimUser, identity.id, populate_existing=True))


async def point_link(
    session: AsyncSession, provider_id: UUID, held: IdentityLink | None, identity_id: UUID, value: str
) -> None:
    """Give a provider's link to an identity; ``held`` is the row that has it now, which the provider's own is moved
    from. Raises ``Conflict`` when somebody else gets it at the same time."""
    if held is not None and held.provider_id == provider_id:
        held.identity_id, held.value = identity_id, value
    else:
        session.add(IdentityLink(identity_id=identity_id, provider_id=provider_id, kind=OIDC, value=value))
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_identity_links_value" in str(error.orig):
            raise link_taken() from None
        raise


async def own_link(
    session: AsyncSession, provider_id: UUID, identity_id: UUID, value: str | None
) -> IdentityLink | None:
    """The link by which this provider knows an identity, if its value is this one."""
    query = select(IdentityLink).where(
        col(IdentityLink.identity_id) == identity_id,
        col(IdentityLink.provider_id) == provider_id,
        col(IdentityLink.kind) == OIDC,
        col(IdentityLink.value) == value,
    )
    return (await session.scalars(query)).one_or_none()


async def can_sign_in(session: AsyncSession, identity_id: UUID) -> bool:
    """Whether an active provider knows an identity by a link that it signs in by."""
    known, active = aliased(IdentityProvider), aliased(IdentityProvider)
    query = (
        select(col(IdentityLink.id))
        .join(known, col(known.id) == col(IdentityLink.provider_id))
        .join(
            active,
            or_(
                col(active.id) == col(known.id),
                (col(active.issuer) == col(known.issuer))
                & col(active.settings)["link_claim"].is_not_distinct_from(col(known.settings)["link_claim"]),
            ),
        )
        .where(
            col(IdentityLink.identity_id) == identity_id,
            col(IdentityLink.kind) == OIDC,
            col(active.status) == "active",
            col(active.ended_at).is_(None),
        )
    )
    return (await session.execute(query.limit(1))).first() is not None


def link_taken() -> Conflict:
    """Somebody else signs in by what would be the link of this person."""
    return Conflict(
        "Another identity is known by the value that links people of this provider to their sign-in.",
        code="external_id_taken",
    )


async def find_link(
    session: AsyncSession, provider_id: UUID, value: str, kind: str = OIDC
) -> IdentityLink | None:
    """The row of a link: the provider's own first, then of entries of the same issuer with the same claim."""
    asked, same = aliased(IdentityProvider), aliased(IdentityProvider)
    claim = "link_claim"
    query = (
        select(IdentityLink)
        .join(same, col(same.id) == col(IdentityLink.provider_id))
        .join(asked, col(asked.id) == provider_id)
        .where(
            col(IdentityLink.kind) == kind,
            col(IdentityLink.value).in_([value, erased_link(kind, value)]),
            or_(
                col(same.id) == col(asked.id),
                (col(same.issuer) == col(asked.issuer))
                & col(same.settings)[claim].is_not_distinct_from(col(asked.settings)[claim]),
            ),
        )
        .order_by((col(same.id) == col(asked.id)).desc(), col(IdentityLink.id))
        .limit(1)
    )
    return (await session.scalars(query)).first()


async def _is_earlier_entry(session: AsyncSession, earlier_id: UUID | None, provider_id: UUID) -> bool:
    """Whether a provider ended whose issuer is this one's."""
    asked = aliased(IdentityProvider)
    query = (
        select(col(IdentityProvider.id))
        .join(asked, col(asked.issuer) == col(IdentityProvider.issuer))
        .where(
            col(asked.id) == provider_id,
            col(IdentityProvider.id) == earlier_id,
            col(IdentityProvider.ended_at).is_not(None),
        )
    )
    return (await session.execute(query)).first() is not None
