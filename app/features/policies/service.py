"""Verbs of a policy's draft: create, change; and its end."""

from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.versions import move_versions
from app.domain.access import POLICY_SET_ID
from app.domain.errors import Conflict, NotFound
from app.features.audit.record import keep_version, record
from app.features.policies.queries import KIND
from app.features.policies.schemas import PolicyCreate, PolicyUpdate
from app.http.authorization import Caller
from app.models.policies import Policy


def live(policy: Policy | None) -> Policy:
    """The policy itself. Raises ``NotFound`` when there is none or it has ended."""
    if policy is None or policy.ended_at is not None:
        raise NotFound("There is no such policy.")
    return policy


async def create_policy(
    session: AsyncSession, caller: Caller, body: PolicyCreate, request_id: str | None
) -> Policy:
    """Make a draft of a text that was checked. Raises ``Conflict``."""
    policy = Policy(**_stored(dict(body)))
    session.add(policy)
    await _flush_unique(session, policy)
    changes = {name: {"from": None, "to": shown(name, value)} for name, value in body if value is not None}
    await record(
        session, caller, "policy.create", "policy", policy.id, changes=changes, request_id=request_id
    )
    return policy


async def update_policy(
    session: AsyncSession, caller: Caller, policy: Policy, body: PolicyUpdate, request_id: str | None
) -> Policy:
    """Apply a merge patch to the draft of a locked policy, whose new text was checked. Raises ``Conflict``.

    What is published stays, so no version of anything that decides moves.
    """
    given = _stored(body.given())
    moved = {name: value for name, value in given.items() if getattr(policy, name) != value}
    if not moved:
        return policy
    changes = {
        name: {"from": shown(name, getattr(policy, name)), "to": shown(name, value)}
        for name, value in moved.items()
    }
    for name, value in moved.items():
        setattr(policy, name, value)
    policy.revision += 1
    await _flush_unique(session, policy)
    await record(
        session, caller, "policy.update", "policy", policy.id, changes=changes, request_id=request_id
    )
    return policy


async def end_policy(
    session: AsyncSession, caller: Caller, policy: Policy, now: datetime, request_id: str | None
) -> None:
    """End a locked policy: from the commit on it decides nothing."""
    decided = policy.status == "published"
    changes = {"name": policy.name, "version": policy.version if decided else None}
    policy.status, policy.ended_at = "ended", now
    policy.revision += 1
    if decided:
        await withdraw(session, policy)
    await session.flush()
    await record(session, caller, "policy.end", "policy", policy.id, changes=changes, request_id=request_id)


async def withdraw(session: AsyncSession, policy: Policy) -> None:
    """Take what is published of a locked policy out of what decides.

    Without a ``forbid`` more is allowed, without a ``permit`` less; so workers are told in either case.
    """
    policy.published_text = policy.published_mode = policy.published_at = None
    await session.flush()
    await keep_version(session, KIND, policy.id, None)
    await move_versions(session, [POLICY_SET_ID], narrows=True)


def shown(name: str, value: Any) -> Any:
    """A field as the audit has it. Of tests, which may hold whatever a call does, only how many there are."""
    return len(value) if name == "tests" else value


def _stored(fields: dict[str, Any]) -> dict[str, Any]:
    if "tests" in fields:
        fields["tests"] = [test.model_dump(mode="json") for test in fields["tests"]]
    return fields


async def _flush_unique(session: AsyncSession, policy: Policy) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_policies_name" in str(error.orig):
            raise Conflict("Another policy has this name; choose another one.", code="name_taken") from None
        raise
    await session.refresh(policy)
