"""Verbs of what decides: publish a draft, publish an earlier version again, take a policy back."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.policy.judging import Rules
from app.access.policy.published import Mode, PublishedPolicy
from app.db.versions import move_versions
from app.domain.access import POLICY_SET_ID
from app.domain.errors import NotFound
from app.features.audit.record import keep_version, record
from app.features.policies.queries import KIND, current_content, find_version, lock_policy_set
from app.features.policies.service import shown, withdraw
from app.features.policies.testing import refuse_failures, run_all
from app.features.policies.validation import check_text
from app.http.authorization import Caller
from app.models.policies import Policy

Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """How tests are run before anything is published: at which time, and whether those that fail are put aside."""

    rules: Rules
    now: datetime
    ignore_failures: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether what decides is another than before, and how many tests failed that were put aside."""

    changed: bool
    failed_tests: int = 0


async def publish(
    session: AsyncSession, caller: Caller, policy: Policy, trial: Trial, request_id: str | None
) -> Outcome:
    """Let the draft of a locked policy decide, if it holds and all tests pass. Raises ``Invalid``."""
    await lock_policy_set(session)
    content = {"name": policy.name, "text": policy.text, "mode": policy.mode, "tests": policy.tests}
    before = await current_content(session, policy.id)
    if before == content:
        return Outcome(changed=False)
    failed = await _try(session, policy, content, trial)
    await _decide_by(session, policy, content, trial.now)
    await _record(session, caller, "policy.publish", policy, before, content, request_id, **failed)
    return Outcome(changed=True, **failed)


async def roll_back(
    session: AsyncSession,
    caller: Caller,
    policy: Policy,
    version: int,
    trial: Trial,
    request_id: str | None,
) -> Outcome:
    """Let an earlier version of a locked policy decide, under a new number. Raises ``NotFound`` and ``Invalid``.

    A draft without changes of its own goes along, so that the next publish does not bring back what was left.
    """
    await lock_policy_set(session)
    kept = await find_version(session, policy.id, version)
    if kept is None:
        raise NotFound(f"This policy has no version {version}.")
    before = await current_content(session, policy.id)
    content = {"tests": [], **kept.content, "name": policy.name}
    if before is not None and _decisive(before) == _decisive(content):
        return Outcome(changed=False)
    failed = await _try(session, policy, content, trial)
    if before is not None and _decisive(before) == (policy.text, policy.mode, policy.tests):
        policy.text, policy.mode, policy.tests = _decisive(content)
    await _decide_by(session, policy, content, trial.now)
    more = {"to_version": version, **failed}
    await _record(session, caller, "policy.rollback", policy, before, content, request_id, **more)
    return Outcome(changed=True, **failed)


async def unpublish(session: AsyncSession, caller: Caller, policy: Policy, request_id: str | None) -> bool:
    """Take a locked policy out of what decides, whether it was in; its draft and its versions stay."""
    if policy.status != "published":
        return False
    await lock_policy_set(session)
    policy.status = "draft"
    policy.revision += 1
    await withdraw(session, policy)
    await session.refresh(policy)
    changes = {"version": {"from": policy.version, "to": None}}
    await record(
        session, caller, "policy.unpublish", "policy", policy.id, changes=changes, request_id=request_id
    )
    return True


async def _try(session: AsyncSession, policy: Policy, content: Content, trial: Trial) -> dict[str, int]:
    """Check what is to decide, and run its tests with everybody's; how many failed, if that is put up with."""
    await check_text(session, content["text"])
    candidate = PublishedPolicy(policy.id, (policy.version or 0) + 1, content["text"], Mode(content["mode"]))
    ran = await run_all(session, trial.rules, trial.now, candidate, content["tests"])
    if not trial.ignore_failures:
        refuse_failures(ran, policy.id)
    failed = sum(not one.result.passed for one in ran)
    return {"failed_tests": failed} if failed else {}


def _decisive(content: Content) -> tuple[str, str, list[Any]]:
    return content["text"], content["mode"], content["tests"]


async def _decide_by(session: AsyncSession, policy: Policy, content: Content, now: datetime) -> None:
    policy.status = "published"
    policy.version = (policy.version or 0) + 1
    policy.published_text, policy.published_mode = content["text"], content["mode"]
    policy.published_at = now
    policy.revision += 1
    await session.flush()
    await keep_version(session, KIND, policy.id, content)
    await move_versions(session, [POLICY_SET_ID], narrows=True)
    await session.refresh(policy)


async def _record(
    session: AsyncSession,
    caller: Caller,
    action: str,
    policy: Policy,
    before: Content | None,
    after: Content,
    request_id: str | None,
    **more: Any,
) -> None:
    changes: dict[str, Any] = {
        name: {"from": None if before is None else shown(name, before[name]), "to": shown(name, after[name])}
        for name in ("text", "mode", "tests")
        if before is None or before[name] != after[name]
    }
    changes |= {"version": policy.version, **more}
    await record(session, caller, action, "policy", policy.id, changes=changes, request_id=request_id)
