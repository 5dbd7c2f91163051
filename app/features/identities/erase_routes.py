"""The REST route that erases an identity. It stands with the tokens, since they are a part of it."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.features.identities.erase import erase_identity
from app.features.identities.schemas import IdentityView
from app.features.identities.service import lock_found_identity
from app.http.authorization import Caller, Permission, requires
from app.http.etags import IfMatch, set_etag
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IdentityId

router = APIRouter(
    prefix="/api/v1/identities",
    tags=["identities"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(412),
)

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
