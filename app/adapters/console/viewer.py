"""The signed-in viewer of a page, and the check that a form comes from one of the console's pages."""

import hmac
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, Request

from app.adapters.console.console import Console
from app.adapters.console.forms import MAX_FORM_BYTES, Form, read_form
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
    """A signed-in person. Each of their forms contains ``form_token``, which grants no access by itself."""

    caller: Caller
    name: str
    cookie: str = field(repr=False)

    @property
    def form_token(self) -> str:
        """A CSRF token derived from the session cookie, which no other site and no script can read."""
        return derive_key(self.cookie.encode(), "form token").hex()

    def may(self, permission: str) -> bool:
        """Whether to show a part of a page. Every change checks the permission again."""
        return self.caller.may(Permission(permission))


@dataclass(frozen=True, slots=True)
class Submission:
    """A form that a signed-in person submitted from a page of the console."""

    viewer: Viewer
    form: Form
    change: Change
    """The unit of work for services, written when the request commits."""


def require_viewer(permission: Permission) -> Any:
    """Build the dependency of a page, whose value is a ``Viewer`` with the permission."""

    async def check(request: Request, session: Session) -> Viewer:
        return await _viewer(request, session, permission)

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


def require_submission(permission: Permission, *, max_bytes: int = MAX_FORM_BYTES) -> Any:
    """Build the dependency of a change, whose value is a ``Submission``.

    The form must have the console's origin and the session's token, and at most ``max_bytes`` bytes.
    """

    async def check(request: Request, session: Session) -> Submission:
        console: Console = request.app.state.console
        # Browsers send the origin with every form.
        if request.headers.getlist("origin") != [console.origin]:
            raise Forbidden("This form was not sent from a page of this service.")
        body = await request.body()
        try:
            viewer = await _viewer(request, session, permission)
        except Unauthenticated:
            # The page of a lost session shows what was typed.
            with suppress(Malformed):
                form = read_form(request, body, max_bytes)
                form.take(TOKEN)
                request.state.form_input = form.pairs
            raise
        form = read_form(request, body, max_bytes)
        if not hmac.compare_digest(form.take(TOKEN).encode(), viewer.form_token.encode()):
            raise Forbidden("This form belongs to another session. Open the page again.")
        # An error page shows what was typed, now that the form is authenticated.
        request.state.form_input = form.pairs
        now = request.app.state.runtime.clock()
        return Submission(viewer, form, Change(session, viewer.caller, request.state.request_id, now))

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


async def _viewer(request: Request, session: Session, permission: Permission) -> Viewer:
    console: Console = request.app.state.console
    cookie = console.cookies.session(request)
    if cookie is None:
        # A missing cookie is no refused credential.
        raise unauthenticated()
    caller = await console.authenticate(request, session)
    request.state.caller = caller
    names = await names_of(session, [caller.identity_id])
    viewer = Viewer(caller, next(iter(names.values()), ""), cookie)
    # An error page of a forbidden request shows the menu too.
    request.state.viewer = viewer
    authorize(caller, permission)
    return viewer
