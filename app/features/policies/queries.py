"""Queries of policies, of their published versions, and of the tools that a policy reaches."""

from typing import Any
from uuid import UUID

from sqlalchemy import Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.policy.compiled import Mode, PublishedPolicy
from app.domain.access import POLICY_SET_ID
from app.features.policies.schemas import PolicyQuery
from app.http.pagination import select_filtered
from app.models.access import AccessVersion, Policy
from app.models.audit import ObjectVersion

KIND = "policy"
"""The kind of policy versions in the history."""


def select_policies(query: PolicyQuery) -> Select[Policy]:
    """Select the policies that match a filter."""
    statement = select_filtered(Policy, query, "status", texts=("name", "description", "text"))
    if not query.includes_ended():
        statement = statement.where(col(Policy.ended_at).is_(None))
    if query.name:
        names = [func.lower(name) for name in query.name]
        statement = statement.where(func.lower(col(Policy.name)).in_(names))
    if query.mode:
        mode = case((col(Policy.status) == "published", col(Policy.published_mode)), else_=col(Policy.mode))
        statement = statement.where(mode.in_(query.mode))
    return statement


async def lock_policy_set(session: AsyncSession) -> None:
    """Serialize changes to published policies; taken after the lock on the policy itself.

    Otherwise two transactions could each pass the tests for a set that neither of them produces.
    """
    await session.execute(
        select(col(AccessVersion.id)).where(col(AccessVersion.id) == POLICY_SET_ID).with_for_update()
    )


async def published_policies(session: AsyncSession) -> list[PublishedPolicy]:
    """The published policies, enforced and observed, in the order of their creation."""
    statement = select(
        col(Policy.id), col(Policy.version), col(Policy.published_text), col(Policy.published_mode)
    ).where(col(Policy.status) == "published")
    rows = await session.execute(statement.order_by(col(Policy.id)))
    return [
        PublishedPolicy(id, version or 0, text or "", Mode(mode or "enforce"))
        for id, version, text, mode in rows
    ]


async def published_tests(session: AsyncSession, but: UUID) -> list[tuple[UUID, str, list[Any]]]:
    """The ids, names and tests of all published policies except one."""
    statement = (
        select(col(Policy.id), col(Policy.name), col(ObjectVersion.content)["tests"])
        .join(ObjectVersion, col(ObjectVersion.object_id) == col(Policy.id))
        .where(col(ObjectVersion.valid_to).is_(None), col(ObjectVersion.kind) == KIND)
        .where(col(Policy.status) == "published", col(Policy.id) != but)
        .order_by(col(Policy.id))
    )
    return [(id, name, tests) for id, name, tests in await session.execute(statement) if tests]


async def current_content(session: AsyncSession, policy_id: UUID) -> dict[str, Any] | None:
    """The published content of a policy."""
    current = await session.scalar(select_versions(policy_id).where(col(ObjectVersion.valid_to).is_(None)))
    return None if current is None else current.content


async def find_version(session: AsyncSession, policy_id: UUID, version: int) -> ObjectVersion | None:
    """Find the published version of a policy with a number."""
    statement = select_versions(policy_id).where(col(ObjectVersion.version) == version)
    row: ObjectVersion | None = await session.scalar(statement)
    return row


def select_versions(policy_id: UUID) -> Select[ObjectVersion]:
    """Select the published versions of a policy."""
    of_policy = col(ObjectVersion.object_id) == policy_id
    return select(ObjectVersion).where(of_policy, col(ObjectVersion.kind) == KIND)
