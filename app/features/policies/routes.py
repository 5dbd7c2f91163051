"""``/policies``: drafts, versions, publishing and tests."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path, Query, Request, Response
from pydantic import StringConstraints
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.policy import vocabulary
from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import Rules
from app.db.engine import undo
from app.domain.arguments import argument_types
from app.features.policies import service
from app.features.policies.queries import list_versions, lock_policy, select_policies
from app.features.policies.schemas import (
    PolicyChange,
    PolicyCreate,
    PolicyDiff,
    PolicyQuery,
    PolicyRollback,
    PolicyTestReport,
    PolicyUpdate,
    PolicyVersionQuery,
    PolicyVersionView,
    PolicyView,
    VocabularyView,
)
from app.features.policies.service import (
    DRAFT,
    Outcome,
    Trial,
    check_text,
    compare,
    require_version,
    warnings_about,
)
from app.features.policies.testing import run_own
from app.features.servers.service import get_server
from app.features.tools.service import get_tool
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.etags import RequiredIfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, api_router
from app.lib.ids import POLICY, PolicyId, ToolId, format_id
from app.models.access import Policy

router = api_router("policies")
CanRead = Annotated[Caller, requires(Permission.POLICIES_READ)]
CanWrite = Annotated[Caller, requires(Permission.POLICIES_WRITE)]
DryRun = Annotated[bool, Query(description="Return what would change, and change nothing.")]
IncludeEnded = Annotated[
    Literal["ended"] | None, Query(description="`ended`: also when it has ended; needs `audit.read`.")
]
VersionNumber = Annotated[
    str,
    StringConstraints(pattern=r"^(draft|[1-9][0-9]{0,8})$"),
    Query(description="A version's number, or `draft`.", examples=["draft"]),
]
CHANGES = problem_responses(412, 428)


async def answer(session: AsyncSession, runtime: Runtime, response: Response, policy: Policy) -> PolicyView:
    """Build the view of a policy, with warnings about its draft."""
    set_etag(response, policy.revision)
    default = runtime.permits_by_default
    return PolicyView.from_row(policy, await warnings_about(session, policy.text, permits_by_default=default))


async def read_policy(
    session: AsyncSession, caller: Caller, policy_id: UUID, include: Literal["ended"] | None
) -> Policy:
    """Read a policy; with `audit.read` also an ended one. Raises ``NotFound`` and ``Forbidden``."""
    policy = await session.get(Policy, policy_id)
    if include is None or policy is None:
        return service.require_live(policy)
    authorize(caller, Permission.AUDIT_READ)
    return policy


@router.get("", operation_id="list_policies", summary="List policies, newest first")
async def list_policies(
    query: Annotated[PolicyQuery, Query()], caller: CanRead, session: Session, runtime: CurrentRuntime
) -> Page[PolicyView]:
    if query.includes_ended():
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_policies", query.filters())
    rows, next_cursor = await read_page(session, select_policies(query), Policy, cursors, query)
    return Page(items=[PolicyView.from_row(row, None) for row in rows], next_cursor=next_cursor)


@router.post(
    "",
    status_code=201,
    operation_id="create_policy",
    responses=problem_responses(409),
    summary="Create a policy draft",
)
@once
async def create_policy(
    body: PolicyCreate,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
    dry_run: DryRun = False,
) -> PolicyView:
    """A draft decides nothing until it is published. With `dry_run` the response is the policy that would be
    created."""
    await check_text(session, body.text)
    policy = await service.create_policy(session, caller, body, request.state.request_id)
    response.headers["Location"] = f"/api/v1/policies/{format_id(POLICY, policy.id)}"
    shown = await answer(session, runtime, response, policy)
    if dry_run:
        await undo(session)
    return shown


@router.get(
    "/schema",
    operation_id="get_policy_schema",
    responses=problem_responses(404),
    summary="Read the Cedar schema of policies",
)
async def get_policy_schema(
    caller: CanRead,
    session: Session,
    tool_id: Annotated[
        ToolId | None, Query(description="The tool for the type of `context.arguments`.")
    ] = None,
) -> VocabularyView:
    """The vocabulary as a Cedar schema, for editors and for external checks of policies."""
    if tool_id is None:
        return VocabularyView(version=vocabulary.VERSION, cedar=vocabulary.schema_text(), tool=None)
    tool = await get_tool(session, tool_id)
    server = await get_server(session, caller, tool.server_id)
    cedar = vocabulary.schema_text(argument_types(tool.input_schema))
    return VocabularyView(version=vocabulary.VERSION, cedar=cedar, tool=f"{server.slug}/{tool.name}")


@router.get("/{policy_id}", operation_id="get_policy", summary="Read one policy")
async def get_policy(
    policy_id: PolicyId,
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
    response: Response,
    include: IncludeEnded = None,
) -> PolicyView:
    return await answer(session, runtime, response, await read_policy(session, caller, policy_id, include))


@router.patch(
    "/{policy_id}",
    operation_id="update_policy",
    responses=CHANGES | problem_responses(409),
    summary="Change the draft of a policy",
)
async def update_policy(
    policy_id: PolicyId,
    body: PolicyUpdate,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: RequiredIfMatch,
    response: Response,
    *,
    dry_run: DryRun = False,
) -> PolicyView:
    """The published version keeps deciding until the draft is published."""
    policy = service.require_live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    if "text" in body.model_fields_set:
        await check_text(session, body.text)
    policy = await service.update_policy(session, caller, policy, body, request.state.request_id)
    shown = await answer(session, runtime, response, policy)
    if dry_run:
        await undo(session)
    return shown


@router.delete("/{policy_id}", operation_id="delete_policy", responses=CHANGES, summary="End a policy")
async def delete_policy(
    policy_id: PolicyId,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: RequiredIfMatch,
    response: Response,
    dry_run: DryRun = False,
) -> PolicyView:
    """After the response, it decides nothing any more. Its history stays."""
    policy = service.require_live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    await service.end_policy(session, caller, policy, runtime.clock(), request.state.request_id)
    await session.refresh(policy)
    shown = await answer(session, runtime, response, policy)
    if dry_run:
        await undo(session)
    return shown


@router.get(
    "/{policy_id}/versions",
    operation_id="list_policy_versions",
    summary="List the published versions of a policy, newest first",
)
async def list_policy_versions(
    policy_id: PolicyId,
    query: Annotated[PolicyVersionQuery, Query()],
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
) -> Page[PolicyVersionView]:
    policy = await read_policy(session, caller, policy_id, query.include)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_policy_versions", {"policy_id": policy.id})
    position = cursors.read(query.cursor)
    rows = list(await list_versions(session, policy.id, query.limit + 1, position[0] if position else None))
    page = rows[: query.limit]
    next_cursor = cursors.write([page[-1].version]) if len(rows) > query.limit else None
    return Page(items=[PolicyVersionView.from_row(row) for row in page], next_cursor=next_cursor)


@router.get(
    "/{policy_id}/versions/{version}",
    operation_id="get_policy_version",
    summary="Read one version of a policy",
)
async def get_policy_version(
    policy_id: PolicyId,
    version: Annotated[str, Path(pattern=r"^[1-9][0-9]{0,8}$", description="Its number.")],
    caller: CanRead,
    session: Session,
    include: IncludeEnded = None,
) -> PolicyVersionView:
    policy = await read_policy(session, caller, policy_id, include)
    return PolicyVersionView.from_row(await require_version(session, policy.id, int(version)))


@router.get(
    "/{policy_id}/diff",
    dependencies=[requires(Permission.POLICIES_READ)],
    operation_id="diff_policy",
    summary="Compare two versions of a policy",
)
async def diff_policy(
    policy_id: PolicyId,
    session: Session,
    from_: Annotated[VersionNumber | None, Query(alias="from")] = None,
    to: VersionNumber = DRAFT,
) -> PolicyDiff:
    """By default the last published version, and the draft."""
    policy = service.require_live(await session.get(Policy, policy_id))
    first = from_ or (DRAFT if policy.version is None else str(policy.version))
    return await compare(session, policy, first, to)


IgnoreFailedTests = Annotated[
    bool, Query(description="Publish even if tests fail, in an emergency; their number is audited.")
]


def _rules(runtime: Runtime) -> Rules:
    return Rules(runtime.time_zone, runtime.permits_by_default)


async def _respond(
    session: AsyncSession,
    runtime: Runtime,
    response: Response,
    policy: Policy,
    outcome: Outcome,
    *,
    dry_run: bool,
) -> PolicyChange:
    shown = PolicyChange(
        changed=outcome.changed,
        failed_tests=outcome.failed_tests,
        policy=await answer(session, runtime, response, policy),
    )
    if dry_run:
        await undo(session)
    return shown


@router.post(
    "/{policy_id}/publish", operation_id="publish_policy", responses=CHANGES, summary="Publish a policy"
)
async def publish_policy(
    policy_id: PolicyId,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: RequiredIfMatch,
    response: Response,
    *,
    ignore_failed_tests: IgnoreFailedTests = False,
    dry_run: DryRun = False,
) -> PolicyChange:
    """After the response, it decides every new call. Its tests run first, with those of all other published policies;
    if one fails, the response is 422 `policy_tests_failed`, and nothing changes."""
    policy = service.require_live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    trial = Trial(_rules(runtime), runtime.clock(), ignore_failed_tests)
    outcome = await service.publish(session, caller, policy, trial, request.state.request_id)
    return await _respond(session, runtime, response, policy, outcome, dry_run=dry_run)


@router.post(
    "/{policy_id}/test",
    dependencies=[requires(Permission.POLICIES_READ)],
    operation_id="test_policy",
    summary="Run the tests of a draft",
)
async def test_policy(policy_id: PolicyId, session: Session, runtime: CurrentRuntime) -> PolicyTestReport:
    """Runs with all published policies, and the draft as if it were published. A draft on trial counts as enforced."""
    policy = service.require_live(await session.get(Policy, policy_id))
    draft = PublishedPolicy(policy.id, (policy.version or 0) + 1, policy.text, Mode(policy.mode))
    ran = await run_own(session, _rules(runtime), runtime.clock(), draft, policy.tests)
    results = [one.result for one in ran]
    return PolicyTestReport(passed=all(result.passed for result in results), results=results)


@router.post(
    "/{policy_id}/rollback",
    operation_id="roll_back_policy",
    responses=CHANGES,
    summary="Roll back a policy",
)
async def roll_back_policy(
    policy_id: PolicyId,
    body: PolicyRollback,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: RequiredIfMatch,
    response: Response,
    *,
    ignore_failed_tests: IgnoreFailedTests = False,
    dry_run: DryRun = False,
) -> PolicyChange:
    """Publishes its text, mode and tests under a new number, with the usual checks. A draft without changes of its own
    follows."""
    policy = service.require_live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    trial = Trial(_rules(runtime), runtime.clock(), ignore_failed_tests)
    outcome = await service.roll_back(session, caller, policy, body.version, trial, request.state.request_id)
    return await _respond(session, runtime, response, policy, outcome, dry_run=dry_run)


@router.post(
    "/{policy_id}/unpublish",
    operation_id="unpublish_policy",
    responses=CHANGES,
    summary="Unpublish a policy",
)
async def unpublish_policy(
    policy_id: PolicyId,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: RequiredIfMatch,
    response: Response,
    dry_run: DryRun = False,
) -> PolicyChange:
    """Its draft and its versions stay, so that it can be published again."""
    policy = service.require_live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    changed = await service.unpublish(session, caller, policy, request.state.request_id)
    return await _respond(session, runtime, response, policy, Outcome(changed), dry_run=dry_run)
