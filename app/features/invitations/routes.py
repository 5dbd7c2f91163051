"""``/invitations``: let people sign in who are not provisioned by a directory."""

from typing import Annotated

from fastapi import Query, Response

from app.db.change import Change
from app.features.invitations import service
from app.features.invitations.queries import InvitationReading
from app.features.invitations.schemas import (
    PAGE,
    InvitationCreate,
    InvitationQuery,
    InvitationView,
    IssuedInvitation,
)
from app.http.authorization import Permission, changes, requires
from app.http.etags import TAGGED, IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import INVITATION, InvitationId, format_id

router = api_router("invitations")
CanWrite = Annotated[Change, changes(Permission.IDENTITIES_WRITE)]


def _answer(response: Response, invitation: InvitationReading) -> InvitationView:
    set_etag(response, invitation.row.revision)
    return InvitationView.from_row(invitation.row, invitation.status)


@router.get(
    "",
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="list_invitations",
    summary="List invitations, newest first",
)
async def list_invitations(
    query: Annotated[InvitationQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[InvitationView]:
    return await service.list_invitations(session, query, runtime)


@router.post(
    "",
    status_code=201,
    operation_id="create_invitation",
    responses=problem_responses(409) | {201: TAGGED},
    summary="Invite a person to sign in",
)
@once
async def create_invitation(
    body: InvitationCreate, change: CanWrite, runtime: CurrentRuntime, response: Response
) -> IssuedInvitation:
    """Only this response has the link. It can be used once; an open invitation of the same person at the same provider
    is revoked."""
    made = await service.create_invitation(change, runtime.peppers, body)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"{router.prefix}/{format_id(INVITATION, made.reading.row.id)}"
    url = f"{runtime.public_url}{PAGE}/{made.secret}"
    return IssuedInvitation(invitation=_answer(response, made.reading), url=url)


@router.get(
    "/{invitation_id}",
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="get_invitation",
    summary="Read one invitation",
)
async def get_invitation(invitation_id: InvitationId, session: Session, response: Response) -> InvitationView:
    return _answer(response, await service.require_invitation(session, invitation_id))


@router.post(
    "/{invitation_id}/confirm",
    operation_id="confirm_invitation",
    responses=problem_responses(409, 412),
    summary="Confirm the account that has claimed an invitation",
)
async def confirm_invitation(
    invitation_id: InvitationId, change: CanWrite, if_match: IfMatch, response: Response
) -> InvitationView:
    """Links the account in `claim` to the identity, which it signs in as from then on. Also needs the permission
    `grants.write`. A repeat changes nothing."""
    return _answer(response, await service.confirm_invitation(change, invitation_id, if_match))


@router.delete(
    "/{invitation_id}",
    operation_id="revoke_invitation",
    responses=problem_responses(409, 412),
    summary="Revoke an invitation",
)
async def revoke_invitation(
    invitation_id: InvitationId, change: CanWrite, if_match: IfMatch, response: Response
) -> InvitationView:
    """Makes the link invalid. A repeat changes nothing; a confirmed invitation cannot be revoked."""
    return _answer(response, await service.revoke_invitation(change, invitation_id, if_match))
