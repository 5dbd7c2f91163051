"""Small directories for tests: rows of users and groups of a provider, written without the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.scim.work import Work
from app.db.change import Change
from app.features.identity_providers.schemas import ScimSettings
from app.http.authorization import Caller, Role
from app.lib.ids import new_id
from app.models.identities import Group, GroupMember, Identity, ScimUser
from app.models.identity_providers import IdentityProvider

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Someone:
    """A user to be written."""

    user_name: str
    external_id: str | None = None
    profile: Mapping[str, Any] = field(default_factory=dict)
    status: str = "active"
    created_at: datetime = START
    deleted_at: datetime | None = None


async def add_provider(session: AsyncSession, name: str = "directory") -> UUID:
    """A provider whose SCIM settings name nobody who is there."""
    row = IdentityProvider(name=name, settings={})
    session.add(row)
    await session.flush()
    return row.id


async def add_users(session: AsyncSession, provider_id: UUID, users: Sequence[Someone]) -> list[UUID]:
    """Write users; their ids."""
    identities = [
        Identity(
            kind="person", source="scim", provider_id=provider_id, user_name=user.user_name,
            external_id=user.external_id, status=user.status, created_at=user.created_at,
            updated_at=user.created_at,
        )
        for user in users
    ]  # fmt: skip
    session.add_all(identities)
    await session.flush()
    session.add_all(
        ScimUser(
            identity_id=identity.id, provider_id=provider_id, user_name=user.user_name,
            external_id=user.external_id, profile=dict(user.profile), deleted_at=user.deleted_at,
        )
        for identity, user in zip(identities, users, strict=True)
    )  # fmt: skip
    await session.flush()
    return [identity.id for identity in identities]


async def add_group(
    session: AsyncSession,
    provider_id: UUID | None,
    name: str,
    members: Sequence[UUID] = (),
    *,
    external_id: str | None = None,
    created_at: datetime = START,
) -> UUID:
    """Write a group; its id. Without a provider it is one made by hand."""
    source = "manual" if provider_id is None else "scim"
    group = Group(
        name=name, external_id=external_id, source=source, provider_id=provider_id,
        created_at=created_at, updated_at=created_at,
    )  # fmt: skip
    session.add(group)
    await session.flush()
    session.add_all(GroupMember(group_id=group.id, identity_id=id) for id in members)
    await session.flush()
    return group.id


def work_of(session: AsyncSession, provider_id: UUID, caller: Caller, signer: Any = None) -> Work:
    """What a request of the provider's service account works with."""
    settings = ScimSettings(service_account_id=caller.id)
    return Work(Change(session, caller, "request", datetime.now(UTC)), provider_id, settings, signer)


def provisioner() -> Caller:
    """A service account that may provision."""
    return Caller("service_account", new_id(), frozenset({Role.PROVISIONER}))
