"""Connection tests: whether a token works now, step by step, and how to fix what does not."""

import re
from typing import Annotated

from fastapi import APIRouter, Response
from markupsafe import Markup

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.forms import Problems, validate
from app.adapters.console.menu import MY_ACCESS
from app.adapters.console.page import PageRoute
from app.adapters.console.visible import visible
from app.domain.errors import Invalid
from app.features.tokens.connection_check import CurrentChecks
from app.features.tokens.schemas import ConnectionCheck, ConnectionCheckRequest, TokenView
from app.features.tokens.service import show_own_token, show_token
from app.http.authorization import Permission
from app.lib.ids import TOKEN, TokenId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_OWN = MY_ACCESS + "/tokens/{token_id}/check"
_ANY = "/console/tokens/{token_id}/check"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC")
_TIME_TAG = r'<time datetime="\1T\2Z" title="\1 \2 UTC">\1 \2 UTC</time>'
Own = Annotated[PageContext, may_open(Permission.SELF_WRITE)]
OwnSent = Annotated[Submission, may_submit(Permission.SELF_WRITE)]


@router.get(_OWN, operation_id="page_test_own_token")
async def show_own(context: Own, token_id: TokenId) -> Response:
    """Show the form that tests a token of one's own."""
    return _show(context, await show_own_token(context.session, context.caller, token_id), own=True)


@router.post(_OWN, operation_id="page_check_own_token")
async def check_own(sent: OwnSent, token_id: TokenId, checks: CurrentChecks) -> Response:
    """Show the test's result. A POST, since the test sends requests to servers."""
    return await _check(sent, await show_own_token(sent.session, sent.caller, token_id), checks, own=True)


@router.get(_ANY, operation_id="page_test_token")
async def show_any(
    context: Annotated[PageContext, may_open(Permission.TOKENS_READ)], token_id: TokenId
) -> Response:
    """Show the form that tests any token."""
    return _show(context, await show_token(context.session, token_id), own=False)


@router.post(_ANY, operation_id="page_check_token")
async def check_any(
    sent: Annotated[Submission, may_submit(Permission.TOKENS_READ)], token_id: TokenId, checks: CurrentChecks
) -> Response:
    """Show the result of testing any token."""
    return await _check(sent, await show_token(sent.session, token_id), checks, own=False)


async def _check(sent: Submission, token: TokenView, checks: CurrentChecks, *, own: bool) -> Response:
    wanted = {"secret": sent.form.text("secret") or None, "server_ids": sent.form.texts("server_ids")}
    try:
        body = validate(ConnectionCheckRequest, wanted)
    except Invalid as error:
        sent.problems = Problems(error)
        return _show(sent, token, own=own)
    found = await checks.run(sent.change, token.id, body, sent.runtime, sent.snapshot, sent.request)
    return _show(sent, token, own=own, found=found)


def _with_times(text: str) -> Markup:
    """A step's text with its times as ``<time>`` elements, which a script converts to local time."""
    # The text is escaped, and a time consists of digits.
    return Markup(_TIME.sub(_TIME_TAG, str(visible(text))))  # noqa: S704


def _show(
    context: PageContext, token: TokenView, *, own: bool, found: ConnectionCheck | None = None
) -> Response:
    id = format_id(TOKEN, token.id)
    return context.page(
        "connection/page.html",
        token=token,
        action=(_OWN if own else _ANY).format(token_id=id),
        back=MY_ACCESS if own else f"/console/tokens/{id}",
        check=found,
        with_times=_with_times,
    )
