"""Policies: drafts, validation, publishing, and versions."""

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.policy.checking import Report, check_types, reads_arguments
from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import Rules
from app.access.policy.references import MAX_TOOLS, StoredTool, reached_tools, unknown_names
from app.access.policy.text import Finding, InvalidPolicy, Statement, read_statement, text_warnings
from app.db import rows
from app.db.change import Change, Subject
from app.db.clock import transaction_time
from app.domain.access import POLICY_SET_ID
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.features.policies import queries
from app.features.policies.schemas import (
    PolicyChange,
    PolicyCreate,
    PolicyDiff,
    PolicyQuery,
    PolicyTestReport,
    PolicyUpdate,
    PolicyVersionQuery,
    PolicyVersionView,
    PolicyView,
    PolicyWarning,
)
from app.features.policies.testing import run_all, run_own
from app.http.authorization import Caller, Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import MAX_ERRORS
from app.http.runtime import Runtime
from app.models.access import Policy
from app.models.audit import ObjectVersion

DRAFT = "draft"
POLICY = Subject(
    "policy",
    audited=tuple(PolicyUpdate.model_fields),
    # Tests may contain arguments of calls, so only their number is audited.
    shown={"tests": len},
)
"""Drafts have no history; ``_store_published`` keeps the published versions."""
Content = dict[str, Any]


async def list_policies(
    session: AsyncSession, caller: Caller, query: PolicyQuery, runtime: Runtime
) -> Page[PolicyView]:
    """Read a page of policies. Raises ``Forbidden`` when ended ones are requested."""
    if query.includes_ended():
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_policies", query.filters())
    policies, next_cursor = await read_page(session, queries.select_policies(query), Policy, cursors, query)
    return Page(items=[PolicyView.from_row(row, None) for row in policies], next_cursor=next_cursor)


async def get_policy(session: AsyncSession, caller: Caller, id: UUID, *, ended: bool = False) -> Policy:
    """Read a policy; with ``ended``, also an ended one. Raises ``NotFound`` and ``Forbidden``."""
    policy = await session.get(Policy, id)
    if ended and policy is not None:
        authorize(caller, Permission.AUDIT_READ)
        return policy
    return rows.existing(policy, "policy")


async def show(session: AsyncSession, runtime: Runtime, policy: Policy) -> PolicyView:
    """Build the view of a policy, with warnings about its draft."""
    default = runtime.permits_by_default
    return PolicyView.from_row(policy, await warnings_about(session, policy.text, permits_by_default=default))


async def create_policy(change: Change, body: PolicyCreate) -> Policy:
    """Create a draft. Raises ``Invalid`` and ``Conflict``."""
    await check_text(change.session, body.text)
    policy = Policy(**_columns(dict(body)))
    change.session.add(policy)
    await _flush(change.session, policy)
    change.record("policy.create", POLICY, POLICY.blank(policy), policy)
    return policy


async def update_policy(change: Change, id: UUID, body: PolicyUpdate, if_match: Precondition) -> Policy:
    """Apply a merge patch to the draft of a policy. Raises ``NotFound``, ``PreconditionFailed``, ``Invalid`` and
    ``Conflict``.

    The published version stays, so no version that decisions depend on moves.
    """
    policy = await _lock_live(change.session, id, if_match)
    fields = _columns(body.given())
    if "text" in fields:
        await check_text(change.session, fields["text"])
    changed = {name: value for name, value in fields.items() if getattr(policy, name) != value}
    if not changed:
        return policy
    before = POLICY.values(policy)
    for name, value in changed.items():
        setattr(policy, name, value)
    policy.revision += 1
    await _flush(change.session, policy)
    change.record("policy.update", POLICY, before, policy)
    return policy


async def end_policy(change: Change, id: UUID, if_match: Precondition) -> Policy:
    """End a policy: after the commit it decides nothing. Raises ``NotFound`` and ``PreconditionFailed``."""
    policy = await _lock_live(change.session, id, if_match)
    was_published = policy.status == "published"
    policy.status, policy.ended_at = "ended", change.now
    policy.revision += 1
    details = {"name": policy.name, "version": policy.version if was_published else None}
    event_id = change.record("policy.end", POLICY, policy, policy, details=details)
    if was_published:
        _withdraw(change, policy, event_id)
    await _flush(change.session, policy)
    return policy


def _withdraw(change: Change, policy: Policy, event_id: UUID) -> None:
    """Remove a locked policy from the published set.

    Without a ``forbid`` more is allowed, without a ``permit`` less; so workers are notified in either case.
    """
    policy.published_text = policy.published_mode = policy.published_at = None
    change.record_with(event_id, replace(POLICY, history=queries.KIND), policy, None, narrows=[POLICY_SET_ID])


async def _lock_live(session: AsyncSession, id: UUID, if_match: Precondition) -> Policy:
    policy = rows.existing(await rows.lock(session, Policy, id), "policy")
    if_match.check(policy.revision)
    return policy


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    if "tests" in fields:
        fields["tests"] = [test.model_dump(mode="json") for test in fields["tests"]]
    return fields


async def _flush(session: AsyncSession, policy: Policy) -> None:
    taken = Conflict("Another policy has this name; choose another one.", code="name_taken")
    await rows.flush_unique(session, {"uq_policies_name": taken})
    await session.refresh(policy)


async def check_text(session: AsyncSession, text: str) -> None:
    """Raise ``Invalid`` for a text that cannot be stored or published."""
    report = await _report(session, text)
    if report.errors:
        errors = [FieldError("/text", each.code, each.detail, *each.place(text)) for each in report.errors]
        first = errors[0]
        detail = f"The policy is invalid at line {first.line}, column {first.column}: {first.detail}"
        raise Invalid(detail, errors=errors)


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
    warnings = []
    for finding in sorted([*report.errors, *report.warnings], key=lambda finding: finding.offset):
        line, column = finding.place(text)
        warnings.append(PolicyWarning(code=finding.code, detail=finding.detail, line=line, column=column))
    return warnings


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


async def publish(
    change: Change, runtime: Runtime, id: UUID, if_match: Precondition, *, ignore_failures: bool = False
) -> PolicyChange:
    """Publish the draft of a policy if it is valid and all tests pass. Raises ``NotFound``, ``PreconditionFailed`` and
    ``Invalid``."""
    session, policy = change.session, await _lock_live(change.session, id, if_match)
    await queries.lock_policy_set(session)
    content, before = _draft(policy), await queries.current_content(session, policy.id)
    if before == content:
        return await _unchanged(session, runtime, policy)
    return await _publish(
        change, runtime, policy, "policy.publish", before, content, ignore_failures=ignore_failures
    )


async def roll_back(
    change: Change,
    runtime: Runtime,
    id: UUID,
    version: int,
    if_match: Precondition,
    *,
    ignore_failures: bool = False,
) -> PolicyChange:
    """Publish an earlier version of a policy under a new number. Raises ``NotFound``, ``PreconditionFailed`` and
    ``Invalid``.

    A draft without changes of its own follows, so that the next publish does not undo the rollback.
    """
    session, policy = change.session, await _lock_live(change.session, id, if_match)
    await queries.lock_policy_set(session)
    row = await queries.find_version(session, policy.id, version)
    if row is None:
        raise NotFound(f"This policy has no version {version}.")
    before = await queries.current_content(session, policy.id)
    content = {"tests": [], **row.content, "name": policy.name}
    if before is not None and _decisive(before) == _decisive(content):
        return await _unchanged(session, runtime, policy)
    follows = before is not None and _decisive(before) == (policy.text, policy.mode, policy.tests)
    return await _publish(
        change, runtime, policy, "policy.rollback", before, content,
        ignore_failures=ignore_failures, draft=content if follows else None, to_version=version,
    )  # fmt: skip


async def unpublish(change: Change, runtime: Runtime, id: UUID, if_match: Precondition) -> PolicyChange:
    """Unpublish a policy. Its draft and its versions stay. Raises ``NotFound`` and ``PreconditionFailed``."""
    session, policy = change.session, await _lock_live(change.session, id, if_match)
    if policy.status != "published":
        return await _unchanged(session, runtime, policy)
    await queries.lock_policy_set(session)
    policy.status = "draft"
    policy.revision += 1
    details = {"version": {"from": policy.version, "to": None}}
    _withdraw(change, policy, change.record("policy.unpublish", POLICY, policy, policy, details=details))
    await _flush(session, policy)
    return PolicyChange(changed=True, failed_tests=0, policy=await show(session, runtime, policy))


async def _unchanged(session: AsyncSession, runtime: Runtime, policy: Policy) -> PolicyChange:
    return PolicyChange(changed=False, failed_tests=0, policy=await show(session, runtime, policy))


def rules_of(runtime: Runtime) -> Rules:
    """The rules by which policies are evaluated."""
    return Rules(runtime.time_zone, runtime.permits_by_default)


def _draft(policy: Policy) -> Content:
    return {"name": policy.name, "text": policy.text, "mode": policy.mode, "tests": policy.tests}


def _decisive(content: Content) -> tuple[str, str, list[Any]]:
    return content["text"], content["mode"], content["tests"]


async def _publish(
    change: Change,
    runtime: Runtime,
    policy: Policy,
    action: str,
    before: Content | None,
    content: Content,
    *,
    ignore_failures: bool,
    draft: Content | None = None,
    **more: Any,
) -> PolicyChange:
    """Check the new content, run its tests with those of all policies, and publish it; ``draft`` replaces the draft."""
    await check_text(change.session, content["text"])
    version = (policy.version or 0) + 1
    candidate = PublishedPolicy(policy.id, version, content["text"], Mode(content["mode"]))
    ran = await run_all(change.session, rules_of(runtime), change.now, candidate, content["tests"])
    failed = [(case, result) for case, result in ran if not result.passed]
    if failed and not ignore_failures:
        detail = f"{len(failed)} of the tests failed; see errors. Nothing was published."
        errors = [case.failure(result, policy.id) for case, result in failed[:MAX_ERRORS]]
        raise Invalid(detail, code="policy_tests_failed", errors=errors)
    if draft is not None:
        policy.text, policy.mode, policy.tests = _decisive(draft)
    policy.status, policy.version = "published", version
    policy.published_text, policy.published_mode = content["text"], content["mode"]
    policy.published_at = change.now
    policy.revision += 1
    details: dict[str, Any] = {
        name: {"from": None if before is None else _audited(name, before), "to": _audited(name, content)}
        for name in ("text", "mode", "tests")
        if before is None or before[name] != content[name]
    }
    details |= {"version": version, **more} | ({"failed_tests": len(failed)} if failed else {})
    event_id = change.record(action, POLICY, policy, policy, details=details)
    published = replace(POLICY, history=queries.KIND, content=lambda _: content)
    change.record_with(event_id, published, None, policy, narrows=[POLICY_SET_ID])
    await _flush(change.session, policy)
    shown = await show(change.session, runtime, policy)
    return PolicyChange(changed=True, failed_tests=len(failed), policy=shown)


def _audited(name: str, content: Content) -> Any:
    return len(content[name]) if name == "tests" else content[name]


async def report_tests(session: AsyncSession, caller: Caller, id: UUID, runtime: Runtime) -> PolicyTestReport:
    """Run the tests of a draft as if it were published. Raises ``NotFound``."""
    policy = await get_policy(session, caller, id)
    draft = PublishedPolicy(policy.id, (policy.version or 0) + 1, policy.text, Mode(policy.mode))
    now = await transaction_time(session)
    results = await run_own(session, rules_of(runtime), now, draft, policy.tests)
    return PolicyTestReport(passed=all(result.passed for result in results), results=results)


async def list_versions(
    session: AsyncSession, caller: Caller, id: UUID, query: PolicyVersionQuery, runtime: Runtime
) -> Page[PolicyVersionView]:
    """Read a page of the published versions of a policy, newest first. Raises ``NotFound`` and ``Forbidden``."""
    policy = await get_policy(session, caller, id, ended=query.include is not None)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_policy_versions", {"policy_id": policy.id})
    position = cursors.read(query.cursor)
    statement = queries.select_versions(policy.id).order_by(col(ObjectVersion.version).desc())
    if position:
        statement = statement.where(col(ObjectVersion.version) < position[0])
    versions = list(await session.scalars(statement.limit(query.limit + 1)))
    page = versions[: query.limit]
    next_cursor = cursors.write([page[-1].version]) if len(versions) > query.limit else None
    return Page(items=[PolicyVersionView.from_row(row) for row in page], next_cursor=next_cursor)


async def get_version(session: AsyncSession, policy: Policy, version: int) -> ObjectVersion:
    """Read a published version by number. Raises ``NotFound``."""
    row = await queries.find_version(session, policy.id, version)
    if row is None:
        raise NotFound(f"This policy has no published version {version}.")
    return row


async def compare(
    session: AsyncSession, caller: Caller, id: UUID, first: str | None = None, second: str = DRAFT
) -> PolicyDiff:
    """Compare two versions of a policy, each a number or ``draft``; by default the published one with the draft.
    Raises ``NotFound``."""
    policy = await get_policy(session, caller, id)
    first = first or (DRAFT if policy.version is None else str(policy.version))
    before, after = await _content(session, policy, first), await _content(session, policy, second)
    lines = difflib.unified_diff(
        before["text"].splitlines(keepends=True), after["text"].splitlines(keepends=True), first, second
    )
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    changed = [name for name in ("name", "text", "mode", "tests") if before[name] != after[name]]
    return PolicyDiff.model_validate({"from": first, "to": second, "text": text, "changed": changed})


async def _content(session: AsyncSession, policy: Policy, version: str) -> Content:
    if version == DRAFT:
        return _draft(policy)
    return {"tests": [], **(await get_version(session, policy, int(version))).content}
