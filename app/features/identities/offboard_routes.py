"""REST routes that end an identity. They stand with the tokens, since that is most of what ends."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.identities.offboard import Offboarded, find_to_offboard, offboard_identity
from app.features.identities.offboard_schemas import Offboard, OffboardAnswer, OffboardRequest, Reason
from app.features.identities.queries import links_of
from app.features.identities.schedule import offboard_when_asked
from app.features.identities.schedule_schemas import ScheduledOffboardingView
from app.features.identities.schemas import IdentityView
from app.features.identities.service import find_identity
from app.http.authorization import Caller, Permission, requires
from app.http.etags import IfMatch, set_etag
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.schemas import ShortText, WantedUserName
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IdentityId

router = APIRouter(
    prefix="/api/v1/identities",
    tags=["identities"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(412),
)

CanOffboard = Annotated[Caller, requires(Permission.IDENTITIES_OFFBOARD)]
DryRun = Annotated[bool, Query(description="Change nothing; answer what would change.")]


async def _answer(session: AsyncSession, response: Response, outcome: Offboarded) -> OffboardAnswer:
    identity = await find_identity(session, outcome.identity_id)
    await session.refresh(identity)
    set_etag(response, identity.revision)
    links = await links_of(session, [identity.id])
    return OffboardAnswer(
        identity=IdentityView.from_row(identity, links[identity.id]),
        changed=outcome.changed,
        revoked=outcome.things,
        transferred=outcome.transferred,
        receipt_id=outcome.receipt_id,
        scheduled=None if outcome.scheduled is None else ScheduledOffboardingView.from_row(outcome.scheduled),
        preview=outcome.preview,
    )


@router.post(
    "/offboard",
    operation_id="offboard_identity_by_name",
    responses=problem_responses(404, 409),
    summary="Offboard by external id or user name",
)
async def offboard_identity_by_name(
    body: OffboardRequest,
    caller: CanOffboard,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
    *,
    external_id: Annotated[ShortText | None, Query(description="Its `external_id`.")] = None,
    user_name: Annotated[WantedUserName | None, Query(description="Its `user_name`.")] = None,
    dry_run: DryRun = False,
) -> OffboardAnswer:
    """The same as by id, for whoever knows only `external_id` or `user_name`."""
    id = await find_to_offboard(session, external_id=external_id, user_name=user_name)
    request_id = request.state.request_id
    outcome = await offboard_when_asked(
        session, caller, id, body, if_match, signer=runtime.signer, dry_run=dry_run, request_id=request_id
    )
    return await _answer(session, response, outcome)


@router.post(
    "/{identity_id}/offboard",
    operation_id="offboard_identity",
    responses=problem_responses(409),
    summary="Offboard an identity",
)
async def post_offboard(
    identity_id: IdentityId,
    body: OffboardRequest,
    caller: CanOffboard,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
    *,
    dry_run: DryRun = False,
) -> OffboardAnswer:
    """Everything that it and its agents can do ends in one transaction. A repeat answers the first receipt.

    With `effective_at` nothing ends yet: `changed` is false, and `scheduled` says what will happen, and when.
    """
    request_id = request.state.request_id
    outcome = await offboard_when_asked(
        session,
        caller,
        identity_id,
        body,
        if_match,
        signer=runtime.signer,
        dry_run=dry_run,
        request_id=request_id,
    )
    return await _answer(session, response, outcome)


@router.delete(
    "/{identity_id}",
    operation_id="delete_identity",
    responses=problem_responses(409),
    summary="Offboard an identity, agents and all",
)
async def delete_identity(
    identity_id: IdentityId,
    caller: CanOffboard,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
    *,
    reason: Annotated[Reason, Query(description="Why; it is kept with the receipt.")] = "deleted",
    dry_run: DryRun = False,
) -> OffboardAnswer:
    """The same as offboarding without handing its agents over. Nothing is deleted."""
    request_id = request.state.request_id
    outcome = await offboard_identity(
        session,
        caller,
        identity_id,
        Offboard(reason=reason),
        if_match,
        signer=runtime.signer,
        dry_run=dry_run,
        request_id=request_id,
    )
    return await _answer(session, response, outcome)
