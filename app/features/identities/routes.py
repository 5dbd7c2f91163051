"""REST routes of identities. Ending one (DELETE, offboard) also ends tokens, so it stands with the tokens.

REST routes that end an identity. They stand with the tokens, since that is most of what ends.

The REST route that erases an identity. It stands with the tokens, since they are a part of it.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.identities import service
from app.features.identities.erase import erase_identity
from app.features.identities.offboard import Offboarded, find_to_offboard, offboard_identity
from app.features.identities.queries import SORTS, links_of, select_identities
from app.features.identities.schedule import offboard_when_asked
from app.features.identities.schemas import (
    IdentityCreate,
    IdentityQuery,
    IdentityUpdate,
    IdentityView,
    Offboard,
    OffboardAnswer,
    OffboardRequest,
    Reason,
    ScheduledOffboardingView,
)
from app.features.identities.service import find_identity, lock_found_identity
from app.http.authorization import Caller, Permission, requires
from app.http.etags import IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.schemas import ShortText, WantedUserName
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IDENTITY, IdentityId, format_id
from app.models.identities import Identity

router = APIRouter(
    prefix="/api/v1/identities",
    tags=["identities"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(412),
)


CanOffboard = Annotated[Caller, requires(Permission.IDENTITIES_OFFBOARD)]
DryRun = Annotated[bool, Query(description="Change nothing; answer what would change.")]


async def _offboarding_answer(
    session: AsyncSession, response: Response, outcome: Offboarded
) -> OffboardAnswer:
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
    """The same as by ID, if you know only `external_id` or `user_name`."""
    id = await find_to_offboard(session, external_id=external_id, user_name=user_name)
    request_id = request.state.request_id
    outcome = await offboard_when_asked(
        session, caller, id, body, if_match, signer=runtime.signer, dry_run=dry_run, request_id=request_id
    )
    return await _offboarding_answer(session, response, outcome)


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
    return await _offboarding_answer(session, response, outcome)


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
    return await _offboarding_answer(session, response, outcome)


CanErase = Annotated[Caller, requires(Permission.IDENTITIES_ERASE)]


@router.post(
    "/{identity_id}/erase",
    operation_id="erase_identity",
    responses=problem_responses(409),
    summary="Erase the personal data of an offboarded identity",
)
async def post_erase(
    identity_id: IdentityId,
    caller: CanErase,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> IdentityView:
    """Its names, addresses and whatever was written about it go for good; its id stays, and what was done under it.

    It cannot come back, and its provider's tokens open nothing. A repeat changes nothing.
    """
    identity = await lock_found_identity(session, identity_id)
    if_match.check(identity.revision)
    await erase_identity(session, caller, identity, request.state.request_id)
    set_etag(response, identity.revision)
    return IdentityView.from_row(identity)


CanWrite = Annotated[Caller, requires(Permission.IDENTITIES_WRITE)]


async def _answer(session: Session, response: Response, identity: Identity) -> IdentityView:
    set_etag(response, identity.revision)
    links = await links_of(session, [identity.id])
    return IdentityView.from_row(identity, links[identity.id])


@router.get(
    "",
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="list_identities",
    summary="List identities, newest first",
)
async def list_identities(
    query: Annotated[IdentityQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[IdentityView]:
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_identities", query.filters())
    rows, next_cursor = await read_page(session, select_identities(query), Identity, cursors, query, SORTS)
    links = await links_of(session, [row.id for row in rows])
    return Page(items=[IdentityView.from_row(row, links[row.id]) for row in rows], next_cursor=next_cursor)


@router.post(
    "",
    status_code=201,
    operation_id="create_identity",
    responses=problem_responses(409),
    summary="Create a person or an agent",
)
@once
async def create_identity(
    body: IdentityCreate,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> IdentityView:
    identity = await service.create_identity(session, caller, body, runtime.clock, request.state.request_id)
    response.headers["Location"] = f"/api/v1/identities/{format_id(IDENTITY, identity.id)}"
    return await _answer(session, response, identity)


@router.get(
    "/{identity_id}",
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="get_identity",
    summary="Read one identity",
)
async def get_identity(identity_id: IdentityId, session: Session, response: Response) -> IdentityView:
    return await _answer(session, response, await service.find_identity(session, identity_id))


@router.patch(
    "/{identity_id}",
    operation_id="update_identity",
    responses=problem_responses(409),
    summary="Change an identity",
)
async def update_identity(
    identity_id: IdentityId,
    body: IdentityUpdate,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> IdentityView:
    identity = await service.lock_for_update(session, identity_id, body)
    if_match.check(identity.revision)
    identity = await service.update_identity(
        session, caller, identity, body, runtime.clock, request.state.request_id
    )
    return await _answer(session, response, identity)


@router.post(
    "/{identity_id}/suspend",
    operation_id="suspend_identity",
    responses=problem_responses(409),
    summary="Suspend an identity",
)
async def suspend_identity(
    identity_id: IdentityId,
    caller: CanWrite,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> IdentityView:
    """Every call of it stops, and of the agents it answers for, until it is reinstated."""
    identity = await service.lock_found_identity(session, identity_id)
    if_match.check(identity.revision)
    identity = await service.suspend_identity(session, caller, identity, request.state.request_id)
    return await _answer(session, response, identity)


@router.post(
    "/{identity_id}/reinstate",
    operation_id="reinstate_identity",
    responses=problem_responses(409),
    summary="Reinstate an identity",
)
async def reinstate_identity(
    identity_id: IdentityId,
    caller: CanWrite,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> IdentityView:
    """A suspended or offboarded identity is active again. What was revoked stays revoked."""
    identity, owner = await service.lock_with_owner(session, identity_id)
    if_match.check(identity.revision)
    identity = await service.reinstate_identity(session, caller, identity, owner, request.state.request_id)
    return await _answer(session, response, identity)
