"""Queries of identity providers, and the conversion of a row to a ``Provider``."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.identity_providers.schemas import (
    DEFAULT_SCOPES,
    TOKEN_TYPES,
    Provider,
    WorkloadView,
)
from app.http.authorization import Role
from app.http.pagination import Sorts, caseless
from app.lib.ids import SERVICE_ACCOUNT, format_id, parse_id
from app.models.identities import IdentityLink, ServiceAccount
from app.models.identity_providers import IdentityProvider

_ENVIRONMENT_LOCK = 0x5C09E1DB
LIVE = col(IdentityProvider.ended_at).is_(None)
ACTIVE = and_(col(IdentityProvider.status) == "active", LIVE)
"""The condition for providers with which people can sign in."""


def same_claim(one: str, other: str) -> str:
    """SQL: whether two rows are the same provider, or of the same issuer and link claim, and so know the same people.

    A provider that was ended and registered again is another row.
    """
    return (
        f"({one}.id = {other}.id OR {one}.issuer = {other}.issuer AND "
        f"{one}.settings -> 'link_claim' IS NOT DISTINCT FROM {other}.settings -> 'link_claim')"
    )


async def find_provider(session: AsyncSession, issuer: str) -> Provider | None:
    """Find the active provider with exactly this issuer."""
    query = select(IdentityProvider).where(col(IdentityProvider.issuer) == issuer, ACTIVE)
    row = (await session.scalars(query)).one_or_none()
    return None if row is None else provider_of(row)


async def browser_providers(session: AsyncSession) -> list[Provider]:
    """The active providers with browser sign-in, by name."""
    query = select(IdentityProvider).where(
        col(IdentityProvider.issuer).is_not(None),
        ACTIVE,
        col(IdentityProvider.settings)["client_id"].astext.is_not(None),
    )
    rows = await session.scalars(query.order_by(col(IdentityProvider.name), col(IdentityProvider.id)))
    return [provider_of(row) for row in rows]


async def active_issuers(session: AsyncSession) -> list[str]:
    """The issuers of all active providers."""
    query = select(col(IdentityProvider.issuer)).where(col(IdentityProvider.issuer).is_not(None), ACTIVE)
    return [issuer for issuer in await session.scalars(query) if issuer is not None]


SORTS: Sorts = {"name": caseless(col(IdentityProvider.name))}


async def find(session: AsyncSession, provider_id: UUID, *, ended: bool = False) -> IdentityProvider | None:
    """Find a provider; an ended one only on demand."""
    query = select(IdentityProvider).where(col(IdentityProvider.id) == provider_id)
    if not ended:
        query = query.where(LIVE)
    return (await session.scalars(query)).one_or_none()


def served_by(surface: str, account_id: UUID) -> ColumnElement[bool]:
    """The condition for providers whose settings of this name give this service account."""
    account: ColumnElement[str] = col(IdentityProvider.settings)[surface]["service_account_id"].astext
    return account == format_id(SERVICE_ACCOUNT, account_id)


async def lock_link_claim(session: AsyncSession, provider_id: UUID) -> str | None:
    """Read a provider's link claim and prevent changes to it until this transaction ends."""
    query = select(col(IdentityProvider.settings)["link_claim"].astext).where(
        col(IdentityProvider.id) == provider_id
    )
    claim: str | None = await session.scalar(query.with_for_update(read=True, key_share=True))
    return claim


async def has_links(session: AsyncSession, row: IdentityProvider) -> bool:
    """Whether people are linked by this provider's link claim, or by that of an ended one with its issuer."""
    claim = col(IdentityProvider.settings)["link_claim"]
    query = (
        select(col(IdentityLink.provider_id))
        .join(IdentityProvider, col(IdentityProvider.id) == col(IdentityLink.provider_id))
        .where(
            col(IdentityLink.kind) == "oidc",
            col(IdentityProvider.issuer) == row.issuer,
            claim.astext == row.settings["link_claim"],
        )
    )
    return (await session.execute(query.limit(1))).first() is not None


async def lock_environments(
    session: AsyncSession, source: str, issuer: str | None
) -> Sequence[IdentityProvider]:
    """Lock the providers of this source and the one with this issuer that have not ended, one worker at a time."""
    await session.execute(select(func.pg_advisory_xact_lock(_ENVIRONMENT_LOCK)))
    query = select(IdentityProvider).where(
        or_(col(IdentityProvider.source) == source, col(IdentityProvider.issuer) == issuer), LIVE
    )
    return (await session.scalars(query.order_by(col(IdentityProvider.id)).with_for_update())).all()


async def account_roles(session: AsyncSession, account_ids: Sequence[UUID]) -> dict[UUID, Role]:
    """The roles of these service accounts; unknown and ended ones are missing."""
    query = select(col(ServiceAccount.id), col(ServiceAccount.role)).where(
        col(ServiceAccount.id).in_(account_ids), col(ServiceAccount.ended_at).is_(None)
    )
    return {id: Role(role) for id, role in await session.execute(query)}


def provider_of(row: IdentityProvider) -> Provider:
    """Convert a row with an issuer for use in a sign-in."""
    stored = row.settings
    return Provider(
        id=row.id,
        issuer=row.issuer or "",
        audiences=tuple(stored["audiences"]),
        algorithms=tuple(stored["algorithms"]),
        token_types=tuple(TOKEN_TYPES[word] for word in stored["token_types"]),
        role_claim=stored["role_claim"],
        role_map={value: Role(role) for value, role in stored["role_map"].items()},
        link_claim=stored["link_claim"],
        # Not validated at each sign-in: they were when they were stored.
        workloads=tuple(
            WorkloadView.model_construct(
                service_account_id=parse_id(SERVICE_ACCOUNT, entry["service_account_id"]),
                claims=entry["claims"],
            )
            for entry in stored["workloads"]
        ),
        name=row.name,
        client_id=stored.get("client_id"),
        scopes=tuple(stored.get("scopes", DEFAULT_SCOPES)),
        environment=row.source == "environment",
        people=frozenset(stored.get("people", ())),
    )
