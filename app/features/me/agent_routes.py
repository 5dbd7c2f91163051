"""REST route of one's own agents, for whoever answers for them."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.features.identities.routes import list_identities
from app.features.identities.schemas import IdentityQuery, IdentityView, OwnAgentQuery
from app.http.authorization import CanReadSelf
from app.http.pagination import Page
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute

router = APIRouter(
    prefix="/api/v1/me", tags=["me"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)


@router.get("/agents", operation_id="list_own_agents", summary="List your own agents, newest first")
async def list_own_agents(
    query: Annotated[OwnAgentQuery, Query()], caller: CanReadSelf, session: Session, runtime: CurrentRuntime
) -> Page[IdentityView]:
    """The agents that you answer for."""
    if caller.identity_id is None:
        return Page(items=[], next_cursor=None)
    theirs = IdentityQuery(**query.model_dump(), kind=["agent"], owner_id=[caller.identity_id])
    return await list_identities(theirs, session, runtime)
