"""Queries over identity providers, and the one reading of what a row's settings hold."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.identity_providers.models import IdentityProvider
from app.features.identity_providers.provider import TOKEN_TYPES, Provider, Workload
from app.kit.authorization import Role
from app.kit.ids import SERVICE_ACCOUNT, format_id, parse_id


async def find_provider(session: AsyncSession, issuer: str) -> Provider | None:
    """The active provider with exactly this issuer. None for one that is unknown, disabled or ended."""
    query = select(IdentityProvider).where(
        col(IdentityProvider.issuer) == issuer,
        col(IdentityProvider.status) == "active",
        col(IdentityProvider.ended_at).is_(None),
    )
    row = (await session.scalars(query)).one_or_none()
    return None if row is None else provider_of(row)


async def active_issuers(session: AsyncSession) -> list[str]:
    """The issuers of all active providers."""
    query = select(col(IdentityProvider.issuer)).where(
        col(IdentityProvider.issuer).is_not(None),
        col(IdentityProvider.status) == "active",
        col(IdentityProvider.ended_at).is_(None),
    )
    return [issuer for issuer in await session.scalars(query) if issuer is not None]


async def database_time(session: AsyncSession) -> float:
    """The database's clock, in seconds since 1970."""
    return float((await session.execute(select(func.extract("epoch", func.clock_timestamp())))).scalar_one())


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
    )


def stored_settings(provider: Provider, client_id: str | None) -> dict[str, Any]:
    """What a row keeps of a provider, in the words of the API."""
    words = {accepted: word for word, accepted in TOKEN_TYPES.items()}
    return {
        "audiences": list(provider.audiences),
        "algorithms": list(provider.algorithms),
        "token_types": [words[accepted] for accepted in provider.token_types],
        "role_claim": provider.role_claim,
        "role_map": {value: role.value for value, role in provider.role_map.items()},
        "link_claim": provider.link_claim,
        "client_id": client_id,
        "workloads": [
            {
                "service_account_id": format_id(SERVICE_ACCOUNT, workload.service_account_id),
                "claims": dict(workload.claims),
            }
            for workload in provider.workloads
        ],
    }


def _workload(entry: Mapping[str, Any]) -> Workload:
    return Workload(parse_id(SERVICE_ACCOUNT, entry["service_account_id"]), dict(entry["claims"]))
