"""Queries over identity providers, and the one reading of what a row's settings hold."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Uuid, column, delete, func, or_, select, table, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.identity_providers.provider import DEFAULT_SCOPES, TOKEN_TYPES, Provider, Workload
from app.features.identity_providers.schemas import IdentityProviderQuery
from app.http.authorization import Role
from app.http.pagination import Sorts, caseless
from app.lib.ids import SERVICE_ACCOUNT, parse_id
from app.models.identity_providers import IdentityProvider

# Service accounts are a higher feature, which this one may not import; who they are is all that is wanted here.
_ACCOUNTS = table("service_accounts", column("id", Uuid), column("role"), column("ended_at"))
# So are people, whose links are what a provider's link claim is for.
_LINKS = table("identity_links", column("provider_id", Uuid), column("kind"))
_BROWSER_SESSIONS = table("browser_sessions", column("provider_id", Uuid))
_INVITATIONS = table(
    "invitations",
    *(column(name) for name in ("status", "subject", "revision", "updated_at")),
    column("provider_id", Uuid),
)
_ENVIRONMENT_LOCK = 0x5C09E1DB


async def find_provider(session: AsyncSession, issuer: str) -> Provider | None:
    """The active provider with exactly this issuer. None for one that is unknown, disabled or ended."""
    query = select(IdentityProvider).where(
        col(IdentityProvider.issuer) == issuer,
        col(IdentityProvider.status) == "active",
        col(IdentityProvider.ended_at).is_(None),
    )
    row = (await session.scalars(query)).one_or_none()
    return None if row is None else provider_of(row)


async def browser_providers(session: AsyncSession) -> list[Provider]:
    """The active providers that people can sign in at with a browser, by name."""
    query = select(IdentityProvider).where(
        col(IdentityProvider.issuer).is_not(None),
        col(IdentityProvider.status) == "active",
        col(IdentityProvider.ended_at).is_(None),
        col(IdentityProvider.settings)["client_id"].astext.is_not(None),
    )
    rows = await session.scalars(query.order_by(col(IdentityProvider.name), col(IdentityProvider.id)))
    return [provider_of(row) for row in rows]


async def active_issuers(session: AsyncSession) -> list[str]:
    """The issuers of all active providers."""
    query = select(col(IdentityProvider.issuer)).where(
        col(IdentityProvider.issuer).is_not(None),
        col(IdentityProvider.status) == "active",
        col(IdentityProvider.ended_at).is_(None),
    )
    return [issuer for issuer in await session.scalars(query) if issuer is not None]


async def database_now(session: AsyncSession) -> datetime:
    """The database's clock, now and not at the transaction's beginning."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


SORTS: Sorts = {
    "name": caseless(col(IdentityProvider.name)),
}
"""What a list can be sorted by, with an index for each."""


def select_providers(wanted: IdentityProviderQuery) -> Select[IdentityProvider]:
    """The providers that a filter leaves."""
    statement = select(IdentityProvider)
    for field, values in (
        (col(IdentityProvider.status), wanted.status),
        (col(IdentityProvider.source), wanted.source),
        (col(IdentityProvider.issuer), wanted.issuer),
    ):
        if values:
            statement = statement.where(field.in_(values))
    if wanted.q:
        texts = (col(IdentityProvider.name), col(IdentityProvider.issuer))
        statement = statement.where(or_(*(field.icontains(wanted.q, autoescape=True) for field in texts)))
    if wanted.include != "ended":
        statement = statement.where(col(IdentityProvider.ended_at).is_(None))
    return statement


async def find(session: AsyncSession, provider_id: UUID, *, ended: bool = False) -> IdentityProvider | None:
    """A provider by id; one that has ended only when asked for."""
    query = select(IdentityProvider).where(col(IdentityProvider.id) == provider_id)
    if not ended:
        query = query.where(col(IdentityProvider.ended_at).is_(None))
    return (await session.scalars(query)).one_or_none()


async def lock(session: AsyncSession, provider_id: UUID) -> IdentityProvider | None:
    """A provider that has not ended, its row locked and its values fresh."""
    query = select(IdentityProvider).where(
        col(IdentityProvider.id) == provider_id, col(IdentityProvider.ended_at).is_(None)
    )
    return (
        await session.scalars(query.with_for_update().execution_options(populate_existing=True))
    ).one_or_none()


async def hold_link_claim(session: AsyncSession, provider_id: UUID) -> str | None:
    """The link claim that a provider has now; it stays until this transaction ends."""
    query = select(col(IdentityProvider.settings)["link_claim"].astext).where(
        col(IdentityProvider.id) == provider_id
    )
    claim: str | None = await session.scalar(query.with_for_update(read=True, key_share=True))
    return claim


async def has_links(session: AsyncSession, row: IdentityProvider) -> bool:
    """Whether people are known by this provider's link claim: its own, and those of an ended one with its issuer."""
    claim = col(IdentityProvider.settings)["link_claim"]
    query = (
        select(_LINKS.c.provider_id)
        .join(IdentityProvider, col(IdentityProvider.id) == _LINKS.c.provider_id)
        .where(
            _LINKS.c.kind == "oidc",
            col(IdentityProvider.issuer) == row.issuer,
            claim.astext == row.settings["link_claim"],
        )
    )
    return (await session.execute(query.limit(1))).first() is not None


async def lock_environment(session: AsyncSession) -> None:
    """Let one worker at a time say what the environment's provider is."""
    await session.execute(select(func.pg_advisory_xact_lock(_ENVIRONMENT_LOCK)))


async def lock_environments(
    session: AsyncSession, source: str, issuer: str | None
) -> Sequence[IdentityProvider]:
    """The providers of this source and the one with this issuer, their rows locked, those that have not ended."""
    query = select(IdentityProvider).where(
        or_(col(IdentityProvider.source) == source, col(IdentityProvider.issuer) == issuer),
        col(IdentityProvider.ended_at).is_(None),
    )
    return (await session.scalars(query.order_by(col(IdentityProvider.id)).with_for_update())).all()


async def end_browser_sessions(session: AsyncSession, provider_id: UUID) -> None:
    """Sign everybody out who signed in by a locked provider, so that none is signed in again when it is back."""
    await session.execute(delete(_BROWSER_SESSIONS).where(_BROWSER_SESSIONS.c.provider_id == provider_id))


async def revoke_invitations(session: AsyncSession, provider_id: UUID) -> None:
    """Revoke the open invitations that hold a value of a locked provider's link claim."""
    held = or_(_INVITATIONS.c.status == "claimed", _INVITATIONS.c.subject.is_not(None))
    await session.execute(
        update(_INVITATIONS)
        .where(
            _INVITATIONS.c.provider_id == provider_id,
            _INVITATIONS.c.status.in_(("pending", "claimed")),
            held,
        )
        .values(status="revoked", revision=_INVITATIONS.c.revision + 1, updated_at=func.now())
    )


async def account_roles(session: AsyncSession, account_ids: Sequence[UUID]) -> dict[UUID, Role]:
    """The roles of these service accounts; one that is unknown or has ended is missing."""
    query = select(_ACCOUNTS.c.id, _ACCOUNTS.c.role).where(
        _ACCOUNTS.c.id.in_(account_ids), _ACCOUNTS.c.ended_at.is_(None)
    )
    return {id: Role(role) for id, role in await session.execute(query)}


async def lock_account(session: AsyncSession, account_id: UUID) -> None:
    """Have whoever else wants to name this service account wait until this transaction ends."""
    query = select(_ACCOUNTS.c.id).where(_ACCOUNTS.c.id == account_id)
    await session.execute(query.with_for_update(key_share=True))


def provider_of(row: IdentityProvider) -> Provider:
    """What signing in needs to know of a row that has an issuer."""
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
        workloads=tuple(_workload(entry) for entry in stored["workloads"]),
        name=row.name,
        client_id=stored.get("client_id"),
        scopes=tuple(stored.get("scopes", DEFAULT_SCOPES)),
        environment=row.source == "environment",
        people=frozenset(stored.get("people", ())),
    )


def _workload(entry: Mapping[str, Any]) -> Workload:
    return Workload(parse_id(SERVICE_ACCOUNT, entry["service_account_id"]), dict(entry["claims"]))
