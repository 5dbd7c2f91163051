"""``/invitations``: let people sign in who are not provisioned by a directory."""

from typing import Annotated

from fastapi import Query

from app.db.change import Change
from app.features.invitations import schemas, service
from app.features.invitations.queries import InvitationReading
from app.http.authorization import Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import InvitationId

router = api_router("invitations")
CanWrite = Annotated[Change, changes(Permission.IDENTITIES_WRITE)]
_READS = [requires(Permission.IDENTITIES_READ)]
_CHANGED = problem_responses(409)


def _answer(invitation: InvitationReading) -> schemas.InvitationView:
    return schemas.InvitationView.from_row(invitation.row, invitation.status)


@router.get("", dependencies=_READS, summary="List invitations, newest first")
async def list_invitations(
    query: Annotated[schemas.InvitationQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[schemas.InvitationView]:
    return await service.list_invitations(session, query, runtime)


@router.post("", status_code=201, summary="Invite a person to sign in")
async def create_invitation(
    body: schemas.InvitationCreate, change: CanWrite, runtime: CurrentRuntime
) -> schemas.IssuedInvitation:
    """Only this response has the link. It can be used once; an open invitation of the same person at the same provider
    is revoked."""
    made = await service.create_invitation(change, runtime.peppers, body)
    url = f"{runtime.public_url}{schemas.PAGE}/{made.secret}"
    return schemas.IssuedInvitation(invitation=_answer(made.reading), url=url)


@router.get("/{invitation_id}", dependencies=_READS, summary="Read one invitation")
async def get_invitation(invitation_id: InvitationId, session: Session) -> schemas.InvitationView:
    return _answer(await service.require_invitation(session, invitation_id))


@router.post(
    "/{invitation_id}/confirm",
    responses=_CHANGED,
    summary="Confirm the account that has claimed an invitation",
)
async def confirm_invitation(
    invitation_id: InvitationId, change: CanWrite, if_match: IfMatch
) -> schemas.InvitationView:
    """Links the account in `claim` to the identity, which it signs in as from then on. Also needs the permission
    `grants.write`. A repeat changes nothing."""
    return _answer(await service.confirm_invitation(change, invitation_id, if_match))


@router.delete("/{invitation_id}", responses=_CHANGED, summary="Revoke an invitation")
async def revoke_invitation(
    invitation_id: InvitationId, change: CanWrite, if_match: IfMatch
) -> schemas.InvitationView:
    """Makes the link invalid. A repeat changes nothing; a confirmed invitation cannot be revoked."""
    return _answer(await service.revoke_invitation(change, invitation_id, if_match))
