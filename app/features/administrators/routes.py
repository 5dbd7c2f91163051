"""``/administrators``: the people who manage this deployment. One appears when a person signs in with a role."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import Field, SecretStr, StringConstraints

from app.crypto.passwords import MAX_LENGTH
from app.db.change import Change
from app.features.administrators import service
from app.features.administrators.break_glass import LIFETIME, BreakGlass
from app.features.administrators.queries import SORTS, assignments_of, select_administrators
from app.features.administrators.schemas import AdministratorQuery, AdministratorView
from app.http.authorization import Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime, from_state
from app.http.schemas import CleanSecret, CleanText, Strict, example
from app.http.transaction import Session, TransactionalRoute, api_router
from app.lib.ids import AdministratorId
from app.models.identities import Administrator

administrators = api_router("administrators")
CanWrite = Annotated[Change, changes(Permission.ADMINISTRATORS_WRITE)]
_READS = [requires(Permission.ADMINISTRATORS_READ)]
_CHANGED = problem_responses(409)


async def _answer(session: Session, administrator: Administrator) -> AdministratorView:
    assignments = await assignments_of(session, [administrator.id])
    return AdministratorView.from_row(administrator, assignments[administrator.id])


@administrators.get("", dependencies=_READS)
async def list_administrators(
    session: Session, runtime: CurrentRuntime, query: Annotated[AdministratorQuery, Query()]
) -> Page[AdministratorView]:
    """List administrators, newest first."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_administrators", query.filters())
    rows, following = await read_page(
        session, select_administrators(query), Administrator, cursors, query, SORTS
    )
    assignments = await assignments_of(session, [row.id for row in rows])
    items = [AdministratorView.from_row(row, assignments[row.id]) for row in rows]
    return Page(items=items, next_cursor=following)


@administrators.get("/{administrator_id}", dependencies=_READS)
async def get_administrator(session: Session, administrator_id: AdministratorId) -> AdministratorView:
    """Read one administrator."""
    return await _answer(session, await service.get_administrator(session, administrator_id))


@administrators.post("/{administrator_id}/disable", responses=_CHANGED)
async def disable_administrator(
    change: CanWrite, if_match: IfMatch, administrator_id: AdministratorId
) -> AdministratorView:
    """Disable an administrator, regardless of their token.

    The service accounts that they own keep working: suspend or offboard the identity to stop those too.
    """
    administrator = await service.disable_administrator(change, administrator_id, if_match)
    return await _answer(change.session, administrator)


@administrators.post("/{administrator_id}/enable", responses=_CHANGED)
async def enable_administrator(
    change: CanWrite, if_match: IfMatch, administrator_id: AdministratorId
) -> AdministratorView:
    """Enable a disabled administrator. The provider determines their roles."""
    administrator = await service.enable_administrator(change, administrator_id, if_match)
    return await _answer(change.session, administrator)


# Enough for a password and a reason, even with every character escaped in JSON.
MAX_BODY_BYTES = 32 * 1024


class SmallBodyRoute(TransactionalRoute):
    """Reject a large body unread: the client is not authenticated, and validating the body takes long."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            if len(await request.body()) > MAX_BODY_BYTES:
                raise HTTPException(413, f"The request body can have at most {MAX_BODY_BYTES} bytes")
            return await handle(request)

        return answer


break_glass = APIRouter(prefix="/api/v1/break-glass", tags=["break-glass"], route_class=SmallBodyRoute)


class BreakGlassSignIn(Strict):
    """The break-glass password, and the reason for its use."""

    model_config = example({"password": "correct horse battery staple", "reason": "The provider is down."})
    password: Annotated[SecretStr, Field(min_length=1, max_length=MAX_LENGTH), CleanSecret] = Field(
        description="The password whose hash is configured."
    )
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500), CleanText] = Field(
        description="Stored with the session as its reason."
    )


class BreakGlassToken(Strict):
    """A bearer token with the role owner. Each of its requests is recorded."""

    model_config = example({"access_token": "sge_...", "token_type": "Bearer", "expires_in": 900})
    access_token: str = Field(
        description="`sge_...`, shown once. A new password in the settings ends it.",
        json_schema_extra={"format": "password"},
    )
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = Field(description="Seconds.")


@break_glass.post("", responses=problem_responses(400, 401, 404, 422, 429, 503))
async def create_break_glass_token(
    body: BreakGlassSignIn, request: Request, administrator: Annotated[BreakGlass, from_state("break_glass")]
) -> BreakGlassToken:
    """Sign in as the break-glass administrator, if one is configured. Every attempt is recorded."""
    text = await administrator.sign_in(body.password.get_secret_value(), body.reason, request)
    return BreakGlassToken(access_token=text, expires_in=int(LIFETIME.total_seconds()))


router = APIRouter()
router.include_router(administrators)
router.include_router(break_glass)
