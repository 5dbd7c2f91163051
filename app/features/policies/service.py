"""Changes to policies: drafts, validation, publishing, and versions."""

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.policy.checking import Report, check_types, reads_arguments
from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import Rules
from app.access.policy.references import MAX_TOOLS, StoredTool, reached_tools, unknown_names
from app.access.policy.text import Finding, InvalidPolicy, Statement, read_statement, text_warnings
from app.db.versions import move_versions
from app.domain.access import POLICY_SET_ID
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.features.audit.record import keep_version, record
from app.features.policies.queries import KIND, current_content, find_version, lock_policy_set
from app.features.policies.schemas import PolicyCreate, PolicyDiff, PolicyUpdate, PolicyWarning
from app.features.policies.testing import refuse_failures, run_all
from app.http.authorization import Caller
from app.models.access import Policy
from app.models.audit import ObjectVersion


def require_live(policy: Policy | None) -> Policy:
    """Return the policy. Raises ``NotFound`` for None and an ended one."""
    if policy is None or policy.ended_at is not None:
        raise NotFound("There is no such policy.")
    return policy


async def create_policy(
    session: AsyncSession, caller: Caller, body: PolicyCreate, request_id: str | None
) -> Policy:
    """Create a draft from a checked text. Raises ``Conflict``."""
    policy = Policy(**_columns(dict(body)))
    session.add(policy)
    await _flush_unique(session, policy)
    changes = {
        name: {"from": None, "to": audit_value(name, value)} for name, value in body if value is not None
    }
    await record(
        session, caller, "policy.create", "policy", policy.id, changes=changes, request_id=request_id
    )
    return policy


async def update_policy(
    session: AsyncSession, caller: Caller, policy: Policy, body: PolicyUpdate, request_id: str | None
) -> Policy:
    """Apply a merge patch to the draft of a locked policy, with a checked text. Raises ``Conflict``.

    The published version stays, so no version that decisions depend on moves.
    """
    fields = _columns(body.given())
    changed = {name: value for name, value in fields.items() if getattr(policy, name) != value}
    if not changed:
        return policy
    changes = {
        name: {"from": audit_value(name, getattr(policy, name)), "to": audit_value(name, value)}
        for name, value in changed.items()
    }
    for name, value in changed.items():
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
    """End a locked policy: after the commit it decides nothing."""
    decided = policy.status == "published"
    changes = {"name": policy.name, "version": policy.version if decided else None}
    policy.status, policy.ended_at = "ended", now
    policy.revision += 1
    if decided:
        await withdraw(session, policy)
    await session.flush()
    await record(session, caller, "policy.end", "policy", policy.id, changes=changes, request_id=request_id)


async def withdraw(session: AsyncSession, policy: Policy) -> None:
    """Remove a locked policy from the published set.

    Without a ``forbid`` more is allowed, without a ``permit`` less; so workers are notified in either case.
    """
    policy.published_text = policy.published_mode = policy.published_at = None
    await session.flush()
    await keep_version(session, KIND, policy.id, None)
    await move_versions(session, [POLICY_SET_ID], narrows=True)


def audit_value(name: str, value: Any) -> Any:
    """A field for the audit log. Tests may contain arguments of calls, so only their number is shown."""
    return len(value) if name == "tests" else value


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
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


async def check_text(session: AsyncSession, text: str) -> None:
    """Raise ``Invalid`` for a text that cannot be stored or published."""
    report = await _report(session, text)
    if report.errors:
        raise _invalid(text, report.errors)


async def warnings_about(
    session: AsyncSession, text: str, *, permits_by_default: bool
) -> list[PolicyWarning]:
    """All current warnings about a stored text."""
    report = await _report(session, text)
    if permits_by_default and report.permits:
        detail = (
            "A permit has no effect here: with SCOPEGATE_POLICY_DEFAULT=permit, grants already permit calls."
        )
        report.warnings.append(Finding("permit_without_effect", detail, 0))
    return _shown(text, [*report.errors, *report.warnings])


async def _report(session: AsyncSession, text: str) -> Report:
    try:
        statement = await asyncio.to_thread(read_statement, text)
    except InvalidPolicy as refused:
        return Report(errors=refused.findings)
    tools: list[StoredTool] = []
    more = False
    if reads_arguments(statement):
        tools, more = await reached_tools(session, statement)
    report = await asyncio.to_thread(_check, statement, tools)
    if more:
        detail = (
            f"This reaches more than {MAX_TOOLS} tools; it was not checked with the schemas of the others."
        )
        report.warnings.append(Finding("not_all_checked", detail, statement.parts.start))
    report.warnings += await unknown_names(session, statement)
    return report


def _check(statement: Statement, tools: Sequence[StoredTool]) -> Report:
    report = check_types(statement, [tool.known() for tool in tools])
    report.permits = statement.policy.effect == "permit"
    report.warnings += text_warnings(statement)
    return report


def _invalid(text: str, findings: Sequence[Finding]) -> Invalid:
    errors = []
    for finding in findings:
        line, column = finding.place(text)
        errors.append(FieldError("/text", finding.code, finding.detail, line, column))
    first = errors[0]
    return Invalid(
        f"The policy is invalid at line {first.line}, column {first.column}: {first.detail}",
        errors=errors,
    )


def _shown(text: str, findings: Sequence[Finding]) -> list[PolicyWarning]:
    warnings = []
    for finding in sorted(findings, key=lambda finding: finding.offset):
        line, column = finding.place(text)
        warnings.append(PolicyWarning(code=finding.code, detail=finding.detail, line=line, column=column))
    return warnings


Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """Options for the tests before a publish: the time, and whether failures are ignored."""

    rules: Rules
    now: datetime
    ignore_failures: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the published policies changed, and how many failed tests were ignored."""

    changed: bool
    failed_tests: int = 0


async def publish(
    session: AsyncSession, caller: Caller, policy: Policy, trial: Trial, request_id: str | None
) -> Outcome:
    """Publish the draft of a locked policy if it is valid and all tests pass. Raises ``Invalid``."""
    await lock_policy_set(session)
    content = {"name": policy.name, "text": policy.text, "mode": policy.mode, "tests": policy.tests}
    before = await current_content(session, policy.id)
    if before == content:
        return Outcome(changed=False)
    failed = await _run_tests(session, policy, content, trial)
    await _store_published(session, policy, content, trial.now)
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
    """Publish an earlier version of a locked policy under a new number. Raises ``NotFound`` and ``Invalid``.

    A draft without changes of its own follows, so that the next publish does not undo the rollback.
    """
    await lock_policy_set(session)
    row = await find_version(session, policy.id, version)
    if row is None:
        raise NotFound(f"This policy has no version {version}.")
    before = await current_content(session, policy.id)
    content = {"tests": [], **row.content, "name": policy.name}
    if before is not None and _decisive(before) == _decisive(content):
        return Outcome(changed=False)
    failed = await _run_tests(session, policy, content, trial)
    if before is not None and _decisive(before) == (policy.text, policy.mode, policy.tests):
        policy.text, policy.mode, policy.tests = _decisive(content)
    await _store_published(session, policy, content, trial.now)
    more = {"to_version": version, **failed}
    await _record(session, caller, "policy.rollback", policy, before, content, request_id, **more)
    return Outcome(changed=True, **failed)


async def unpublish(session: AsyncSession, caller: Caller, policy: Policy, request_id: str | None) -> bool:
    """Unpublish a locked policy; return whether it was published. Its draft and its versions stay."""
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


async def _run_tests(session: AsyncSession, policy: Policy, content: Content, trial: Trial) -> dict[str, int]:
    """Check the new content, and run its tests with those of all policies; return the number of ignored failures."""
    await check_text(session, content["text"])
    candidate = PublishedPolicy(policy.id, (policy.version or 0) + 1, content["text"], Mode(content["mode"]))
    ran = await run_all(session, trial.rules, trial.now, candidate, content["tests"])
    if not trial.ignore_failures:
        refuse_failures(ran, policy.id)
    failed = sum(not one.result.passed for one in ran)
    return {"failed_tests": failed} if failed else {}


def _decisive(content: Content) -> tuple[str, str, list[Any]]:
    return content["text"], content["mode"], content["tests"]


async def _store_published(session: AsyncSession, policy: Policy, content: Content, now: datetime) -> None:
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
        name: {
            "from": None if before is None else audit_value(name, before[name]),
            "to": audit_value(name, after[name]),
        }
        for name in ("text", "mode", "tests")
        if before is None or before[name] != after[name]
    }
    changes |= {"version": policy.version, **more}
    await record(session, caller, action, "policy", policy.id, changes=changes, request_id=request_id)


DRAFT = "draft"


async def require_version(session: AsyncSession, policy_id: UUID, version: int) -> ObjectVersion:
    """Find a published version by number. Raises ``NotFound``."""
    row = await find_version(session, policy_id, version)
    if row is None:
        raise NotFound(f"This policy has no published version {version}.")
    return row


async def compare(session: AsyncSession, policy: Policy, first: str, second: str) -> PolicyDiff:
    """Compare a version of a policy, or its draft, with another. Raises ``NotFound``."""
    before, after = await _content(session, policy, first), await _content(session, policy, second)
    lines = difflib.unified_diff(
        before["text"].splitlines(keepends=True), after["text"].splitlines(keepends=True), first, second
    )
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    changed = [name for name in ("name", "text", "mode", "tests") if before[name] != after[name]]
    return PolicyDiff.model_validate({"from": first, "to": second, "text": text, "changed": changed})


async def _content(session: AsyncSession, policy: Policy, version: str) -> dict[str, Any]:
    if version == DRAFT:
        return {"name": policy.name, "text": policy.text, "mode": policy.mode, "tests": policy.tests}
    row = await require_version(session, policy.id, int(version))
    return {"tests": [], **row.content}
