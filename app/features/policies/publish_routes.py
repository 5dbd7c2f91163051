"""REST routes that change what decides: testing, publishing, taking back, rolling back."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.policy.judging import Rules
from app.access.policy.published import Mode, PublishedPolicy
from app.db.engine import undo
from app.features.policies import publishing, service
from app.features.policies.case_schemas import PolicyTestReport
from app.features.policies.publishing import Outcome, Trial
from app.features.policies.queries import lock_policy
from app.features.policies.routes import CHANGES, CanWrite, DryRun, answer
from app.features.policies.schemas import PolicyChange, PolicyRollback
from app.features.policies.testing import run_own
from app.http.authorization import Permission, requires
from app.http.etags import RequiredIfMatch
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import PolicyId
from app.models.policies import Policy

router = APIRouter(
    prefix="/api/v1/policies", tags=["policies"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)

IgnoreFailedTests = Annotated[
    bool, Query(description="Publish even if tests fail, in an emergency; it is on record how many did.")
]


def _rules(runtime: Runtime) -> Rules:
    return Rules(runtime.time_zone, runtime.permits_by_default)


async def _shown(
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
    "/{policy_id}/publish", operation_id="publish_policy", responses=CHANGES, summary="Let a draft decide"
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
    """When this has answered, every call that starts is decided by it. Its tests run first, with those of all others
    that are published; if one fails, the answer is 422 `policy_tests_failed`, and nothing changes."""
    policy = service.live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    trial = Trial(_rules(runtime), runtime.clock(), ignore_failed_tests)
    outcome = await publishing.publish(session, caller, policy, trial, request.state.request_id)
    return await _shown(session, runtime, response, policy, outcome, dry_run=dry_run)


@router.post(
    "/{policy_id}/test",
    dependencies=[requires(Permission.POLICIES_READ)],
    operation_id="test_policy",
    summary="Run the tests of a draft",
)
async def test_policy(policy_id: PolicyId, session: Session, runtime: CurrentRuntime) -> PolicyTestReport:
    """Against all that is published, and the draft as if it were. A draft on trial counts as enforced."""
    policy = service.live(await session.get(Policy, policy_id))
    draft = PublishedPolicy(policy.id, (policy.version or 0) + 1, policy.text, Mode(policy.mode))
    ran = await run_own(session, _rules(runtime), runtime.clock(), draft, policy.tests)
    results = [one.result for one in ran]
    return PolicyTestReport(passed=all(result.passed for result in results), results=results)


@router.post(
    "/{policy_id}/rollback",
    operation_id="roll_back_policy",
    responses=CHANGES,
    summary="Let an earlier version decide again",
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
    """Its text, mode and tests get a new number, and are checked as any. A draft without changes of its own goes
    along."""
    policy = service.live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    trial = Trial(_rules(runtime), runtime.clock(), ignore_failed_tests)
    outcome = await publishing.roll_back(
        session, caller, policy, body.version, trial, request.state.request_id
    )
    return await _shown(session, runtime, response, policy, outcome, dry_run=dry_run)


@router.post(
    "/{policy_id}/unpublish",
    operation_id="unpublish_policy",
    responses=CHANGES,
    summary="Let a policy decide nothing any more",
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
    policy = service.live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    changed = await publishing.unpublish(session, caller, policy, request.state.request_id)
    return await _shown(session, runtime, response, policy, Outcome(changed), dry_run=dry_run)
