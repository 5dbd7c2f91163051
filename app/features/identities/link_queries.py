"""Whose link a directory's person has: how whoever is provisioned and whoever signs in come to be one identity.

A link of a provider is that of every entry of the same issuer whose people are known by the same claim: an entry that
ended and was registered anew still knows who is who. What an erasure left of a link counts as well.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.domain.errors import Conflict
from app.features.identities.links import erased_link
from app.features.identities.queries import lock_first_sign_in, lock_identity
from app.features.identity_providers.queries import hold_link_claim
from app.models.identities import Identity, IdentityLink, ScimUser
from app.models.identity_providers import IdentityProvider

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
