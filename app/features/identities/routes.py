"""``/identities``: create, read, change, suspend, reinstate, offboard and erase people and agents."""

from typing import Annotated

from fastapi import Query

from app.access.snapshot import CurrentSnapshot
from app.db.change import Change
from app.features.access import reach
from app.features.access.reach import AccessQuery, IdentityAccessView
from app.features.identities import schemas, service
from app.features.identities.queries import links_of
from app.features.identities.service import find_identity
from app.features.offboarding import erase, offboard, schedule
from app.features.offboarding import schemas as offboarding
from app.http.authorization import Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.schemas import ShortText, WantedUserName
from app.http.transaction import Session, api_router
from app.lib.ids import IdentityId
from app.models.identities import Identity

router = api_router("identities")
CanOffboard = Annotated[Change, changes(Permission.IDENTITIES_OFFBOARD)]
_READS = [requires(Permission.IDENTITIES_READ)]
_CHANGED = problem_responses(409)
DryRun = Annotated[bool, Query(description="Return what would change, and change nothing.")]


async def _offboarding_answer(
    change: Change, outcome: offboard.OffboardOutcome
) -> offboarding.OffboardAnswer:
    identity = await find_identity(change.session, outcome.identity_id)
    await change.session.refresh(identity)
    return offboarding.OffboardAnswer(
        identity=await _answer(change.session, identity),
        changed=outcome.changed,
        revoked=outcome.things,
        transferred=outcome.transferred,
        receipt_id=outcome.receipt_id,
        scheduled=None
        if outcome.scheduled is None
        else offboarding.ScheduledOffboardingView.from_row(outcome.scheduled),
        preview=outcome.preview,
    )


@router.post(
    "/offboard", responses=problem_responses(404, 409), summary="Offboard by external id or user name"
)
async def offboard_identity_by_name(
    body: offboarding.OffboardRequest,
    change: CanOffboard,
    runtime: CurrentRuntime,
    if_match: IfMatch,
    *,
    external_id: Annotated[ShortText | None, Query(description="Its `external_id`.")] = None,
    user_name: Annotated[WantedUserName | None, Query(description="Its `user_name`.")] = None,
    dry_run: DryRun = False,
) -> offboarding.OffboardAnswer:
    """The same as by id, for callers that know only `external_id` or `user_name`."""
    id = await offboard.find_to_offboard(change.session, external_id=external_id, user_name=user_name)
    outcome = await schedule.offboard_or_schedule(
        change, id, body, if_match, signer=runtime.signer, dry_run=dry_run
    )
    return await _offboarding_answer(change, outcome)


@router.post("/{identity_id}/offboard", responses=_CHANGED, summary="Offboard an identity")
async def offboard_identity(
    identity_id: IdentityId,
    body: offboarding.OffboardRequest,
    change: CanOffboard,
    runtime: CurrentRuntime,
    if_match: IfMatch,
    *,
    dry_run: DryRun = False,
) -> offboarding.OffboardAnswer:
    """Ends all access of the identity and its agents in one transaction. A repeat returns the first receipt.

    With `effective_at` nothing ends yet: `changed` is false, and `scheduled` has the pending offboarding.
    """
    outcome = await schedule.offboard_or_schedule(
        change, identity_id, body, if_match, signer=runtime.signer, dry_run=dry_run
    )
    return await _offboarding_answer(change, outcome)


@router.delete("/{identity_id}", responses=_CHANGED, summary="Offboard an identity with its agents")
async def delete_identity(
    identity_id: IdentityId,
    change: CanOffboard,
    runtime: CurrentRuntime,
    if_match: IfMatch,
    *,
    reason: Annotated[
        offboarding.Reason, Query(description="The reason, stored with the receipt.")
    ] = "deleted",
    dry_run: DryRun = False,
) -> offboarding.OffboardAnswer:
    """The same as offboarding without transferring its agents. Nothing is deleted."""
    outcome = await offboard.offboard_identity(
        change,
        identity_id,
        offboarding.Offboard(reason=reason),
        if_match,
        signer=runtime.signer,
        dry_run=dry_run,
    )
    return await _offboarding_answer(change, outcome)


CanErase = Annotated[Change, changes(Permission.IDENTITIES_ERASE)]


@router.post(
    "/{identity_id}/erase", responses=_CHANGED, summary="Erase the personal data of an offboarded identity"
)
async def erase_identity(
    identity_id: IdentityId, change: CanErase, if_match: IfMatch
) -> schemas.IdentityView:
    """Its names, addresses and all text about it are deleted for good; its id stays, with the history of its actions.

    It cannot be reinstated, and tokens of its provider are refused. A repeat changes nothing.
    """
    return await _answer(change.session, await erase.erase_identity(change, identity_id, if_match))


CanWrite = Annotated[Change, changes(Permission.IDENTITIES_WRITE)]


async def _answer(session: Session, identity: Identity) -> schemas.IdentityView:
    links = await links_of(session, [identity.id])
    return schemas.IdentityView.from_row(identity, links[identity.id])


@router.get("", dependencies=_READS, summary="List identities, newest first")
async def list_identities(
    query: Annotated[schemas.IdentityQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[schemas.IdentityView]:
    return await service.list_identities(session, query, runtime)


@router.post("", status_code=201, summary="Create a person or an agent")
async def create_identity(body: schemas.IdentityCreate, change: CanWrite) -> schemas.IdentityView:
    identity = await service.create_identity(change, body)
    return await _answer(change.session, identity)


@router.get("/{identity_id}", dependencies=_READS, summary="Read one identity")
async def get_identity(identity_id: IdentityId, session: Session) -> schemas.IdentityView:
    return await _answer(session, await service.find_identity(session, identity_id))


@router.patch("/{identity_id}", responses=_CHANGED, summary="Change an identity")
async def update_identity(
    identity_id: IdentityId, body: schemas.IdentityUpdate, change: CanWrite, if_match: IfMatch
) -> schemas.IdentityView:
    return await _answer(change.session, await service.update_identity(change, identity_id, body, if_match))


@router.post("/{identity_id}/suspend", responses=_CHANGED, summary="Suspend an identity")
async def suspend_identity(
    identity_id: IdentityId, change: CanWrite, if_match: IfMatch
) -> schemas.IdentityView:
    """Stops every call of the identity and of its agents until it is reinstated."""
    return await _answer(change.session, await service.suspend_identity(change, identity_id, if_match))


@router.post("/{identity_id}/reinstate", responses=_CHANGED, summary="Reinstate an identity")
async def reinstate_identity(
    identity_id: IdentityId, change: CanWrite, if_match: IfMatch
) -> schemas.IdentityView:
    """Makes a suspended or offboarded identity active again. What was revoked stays revoked."""
    return await _answer(change.session, await service.reinstate_identity(change, identity_id, if_match))


@router.get(
    "/{identity_id}/access",
    dependencies=[requires(Permission.GRANTS_READ)],
    summary="List what an identity reaches, and why, by slug",
)
async def list_identity_access(
    identity_id: IdentityId,
    query: Annotated[AccessQuery, Query()],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> IdentityAccessView:
    """The servers and tools that the live grants of an identity and of its groups reach, decided as calls are.

    The scope of a token can only narrow this. Policies that read the content of a call cannot be evaluated without one.
    A page with many tools holds fewer servers than `limit`.
    """
    return await reach.list_identity_access(session, snapshot, identity_id, query, runtime)
