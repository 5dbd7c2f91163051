"""Who is looking at a page, and whether a form is one of ours: what every page and every change begins with."""

import hmac
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, Request

from app.adapters.console.console import Console
from app.adapters.console.forms import LARGEST, Form, read_form
from app.crypto.keys import derive_key
from app.db.change import Change
from app.domain.errors import Forbidden, Malformed, Unauthenticated
from app.features.audit.names import names_of
from app.features.service_accounts.authenticate import unauthenticated
from app.http.authorization import Caller, Permission, authorize
from app.http.transaction import Session

TOKEN = "form_token"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A signed-in person. ``form_token`` stands in each form that they are shown, and opens nothing by itself."""

    caller: Caller
    name: str
    cookie: str = field(repr=False)

    @property
    def form_token(self) -> str:
        """Made of the cookie, which no other site and no script can read."""
        return derive_key(self.cookie.encode(), "form token").hex()

    def may(self, permission: str) -> bool:
        """Whether a part of a page is for them. Showing it allows nothing: every change asks again."""
        return self.caller.may(Permission(permission))


@dataclass(frozen=True, slots=True)
class Submission:
    """A form that a signed-in person sent from a page of ours."""

    viewer: Viewer
    form: Form
    change: Change
    """For the services, written when the request commits."""


def signed_in(permission: Permission) -> Any:
    """The dependency of a page: who is signed in, with a permission. Its value is a ``Viewer``."""

    async def check(request: Request, session: Session) -> Viewer:
        return await _viewer(request, session, permission)

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


def submitted(permission: Permission, *, largest: int = LARGEST) -> Any:
    """The dependency of a change: its form came from a page of ours, shown to this very session, and has at most
    ``largest`` bytes. Its value is a ``Submission``.
    """

    async def check(request: Request, session: Session) -> Submission:
        console: Console = request.app.state.console
        # Every browser names the origin of a form; whoever leaves it out is none.
        if request.headers.getlist("origin") != [console.origin]:
            raise Forbidden("This form was not sent from a page of this service.")
        body = await request.body()
        try:
            viewer = await _viewer(request, session, permission)
        except Unauthenticated:
            # The page that says so shows what was typed, which no other page has.
            with suppress(Malformed):
                form = read_form(request, body, largest)
                form.take(TOKEN)
                request.state.form_input = form.pairs
            raise
        form = read_form(request, body, largest)
        if not hmac.compare_digest(form.take(TOKEN).encode(), viewer.form_token.encode()):
            raise Forbidden("This form is of another sign-in: open the page again.")
        # For the page of an error, which keeps what was typed. Only now is the form known to be one of ours.
        request.state.form_input = form.pairs
        now = request.app.state.runtime.clock()
        return Submission(viewer, form, Change(session, viewer.caller, request.state.request_id, now))

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


async def _viewer(request: Request, session: Session, permission: Permission) -> Viewer:
    console: Console = request.app.state.console
    cookie = console.cookies.session(request)
    if cookie is None:
        # Nothing was presented, so nothing was refused.
        raise unauthenticated()
    caller = await console.authenticate(request, session)
    request.state.caller = caller
    names = await names_of(session, [caller.identity_id])
    viewer = Viewer(caller, next(iter(names.values()), ""), cookie)
    # A refusal is a page too, with the menu of what they may open.
    request.state.viewer = viewer
    authorize(caller, permission)
    return viewer
