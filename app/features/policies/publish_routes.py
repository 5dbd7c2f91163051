"""REST routes that change what decides: publishing, taking back, rolling back."""

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.policies import publishing, service
from app.features.policies.models import Policy
from app.features.policies.repository import lock_policy
from app.features.policies.routes import CHANGES, CanWrite, DryRun, answer
from app.features.policies.schemas import PolicyChange, PolicyRollback
from app.kit.database import Session, TransactionalRoute, undo
from app.kit.etags import RequiredIfMatch
from app.kit.ids import PolicyId
from app.kit.problems import COMMON_PROBLEMS
from app.kit.runtime import CurrentRuntime

router = APIRouter(
    prefix="/api/v1/policies", tags=["policies"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)


async def _outcome(
    session: AsyncSession, response: Response, policy: Policy, *, changed: bool, dry_run: bool
) -> PolicyChange:
    shown = PolicyChange(changed=changed, policy=await answer(session, response, policy))
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
    dry_run: DryRun = False,
) -> PolicyChange:
    """When this has answered, every call that starts is decided by it."""
    policy = service.live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    changed = await publishing.publish(session, caller, policy, runtime.clock(), request.state.request_id)
    return await _outcome(session, response, policy, changed=changed, dry_run=dry_run)


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
    dry_run: DryRun = False,
) -> PolicyChange:
    """Its text and mode get a new number. A draft that had no changes of its own goes along."""
    policy = service.live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    changed = await publishing.roll_back(
        session, caller, policy, body.version, runtime.clock(), request.state.request_id
    )
    return await _outcome(session, response, policy, changed=changed, dry_run=dry_run)


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
    request: Request,
    if_match: RequiredIfMatch,
    response: Response,
    dry_run: DryRun = False,
) -> PolicyChange:
    """Its draft and its versions stay, so that it can be published again."""
    policy = service.live(await lock_policy(session, policy_id))
    if_match.check(policy.revision)
    changed = await publishing.unpublish(session, caller, policy, request.state.request_id)
    return await _outcome(session, response, policy, changed=changed, dry_run=dry_run)
