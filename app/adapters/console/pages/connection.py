"""Connection tests: whether a token works now, step by step, and how to fix what does not."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import CurrentSnapshot
from app.adapters.console.forms import Problems, validate
from app.adapters.console.menu import MY_ACCESS
from app.adapters.console.page import PageRoute, page
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
from app.adapters.console.visible import visible
from app.domain.errors import Invalid
from app.features.tokens.check_routes import CurrentChecks
from app.features.tokens.check_schemas import ConnectionCheck, ConnectionCheckRequest
from app.features.tokens.own import find_own_token, person_of
from app.features.tokens.routes import show_token
from app.features.tokens.schemas import TokenView
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session
from app.lib.ids import TOKEN, TokenId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_OWN = MY_ACCESS + "/tokens/{token_id}/check"
_ANY = "/console/tokens/{token_id}/check"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC")
_TIME_TAG = r'<time datetime="\1T\2Z" title="\1 \2 UTC">\1 \2 UTC</time>'
Own = Annotated[Viewer, require_viewer(Permission.SELF_WRITE)]
OwnSent = Annotated[Submission, require_submission(Permission.SELF_WRITE)]


@router.get(_OWN, operation_id="page_test_own_token")
async def show_own(request: Request, token_id: TokenId, viewer: Own, session: Session) -> Response:
    """Show the form that tests a token of one's own."""
    return _show(request, viewer, await _own(session, viewer, token_id), own=True)


@router.post(_OWN, operation_id="page_check_own_token")
async def check_own(
    request: Request,
    token_id: TokenId,
    sent: OwnSent,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
    checks: CurrentChecks,
) -> Response:
    """Show the test's result. A POST, since the test sends requests to servers."""
    token = await _own(session, sent.viewer, token_id)
    try:
        asked = _asked(sent)
    except Invalid as error:
        return _show(request, sent.viewer, token, own=True, problems=Problems(error))
    found = await checks.run(request, session, runtime, snapshot, sent.viewer.caller, token_id, asked)
    return _show(request, sent.viewer, token, own=True, found=found)


@router.get(_ANY, operation_id="page_test_token")
async def show_any(
    request: Request,
    token_id: TokenId,
    viewer: Annotated[Viewer, require_viewer(Permission.TOKENS_READ)],
    session: Session,
) -> Response:
    """Show the form that tests any token."""
    return _show(request, viewer, await show_token(session, token_id), own=False)


@router.post(_ANY, operation_id="page_check_token")
async def check_any(
    request: Request,
    token_id: TokenId,
    sent: Annotated[Submission, require_submission(Permission.TOKENS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
    checks: CurrentChecks,
) -> Response:
    """Show the result of testing any token."""
    token = await show_token(session, token_id)
    try:
        asked = _asked(sent)
    except Invalid as error:
        return _show(request, sent.viewer, token, own=False, problems=Problems(error))
    found = await checks.run(request, session, runtime, snapshot, sent.viewer.caller, token_id, asked)
    return _show(request, sent.viewer, token, own=False, found=found)


async def _own(session: AsyncSession, viewer: Viewer, token_id: UUID) -> TokenView:
    return TokenView.from_reading(await find_own_token(session, person_of(viewer.caller), token_id))


def _asked(sent: Submission) -> ConnectionCheckRequest:
    secret = sent.form.text("secret")
    servers = sent.form.texts("server_ids")
    return validate(ConnectionCheckRequest, {"secret": secret or None, "server_ids": servers})


def _with_times(text: str) -> Markup:
    """A step's text with its times as ``<time>`` elements, which a script converts to local time."""
    # The text is escaped, and a time consists of digits.
    return Markup(_TIME.sub(_TIME_TAG, str(visible(text))))  # noqa: S704


def _show(
    request: Request,
    viewer: Viewer,
    token: TokenView,
    *,
    own: bool,
    found: ConnectionCheck | None = None,
    problems: Problems | None = None,
) -> Response:
    id = format_id(TOKEN, token.id)
    return page(
        request,
        "connection/page.html",
        viewer=viewer,
        status=200 if problems is None else problems.status,
        token=token,
        action=(_OWN if own else _ANY).format(token_id=id),
        back=MY_ACCESS if own else f"/console/tokens/{id}",
        check=found,
        with_times=_with_times,
        problems=problems,
    )
