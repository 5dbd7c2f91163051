"""Who is looking at a page, and whether a form is one of ours: what every page and every change begins with."""

import hmac
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from app.adapters.console.console import Console
from app.domain.errors import Forbidden, Malformed
from app.features.audit.names import names_of
from app.features.service_accounts.authenticate import refused
from app.kit.authorization import Caller, Permission, authorize
from app.kit.crypto import derive_key
from app.kit.database import Session

_LARGEST = 16 * 1024
_FORM = "application/x-www-form-urlencoded"
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


@dataclass(frozen=True, slots=True)
class Submission:
    """A form that a signed-in person sent from a page of ours."""

    viewer: Viewer
    fields: dict[str, str]


def signed_in(permission: Permission) -> Any:
    """The dependency of a page: who is signed in, with a permission. Its value is a ``Viewer``."""

    async def check(request: Request, session: Session) -> Viewer:
        return await _viewer(request, session, permission)

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


def submitted(permission: Permission) -> Any:
    """The dependency of a change: its form came from a page of ours, shown to this very session.

    Its value is a ``Submission``.
    """

    async def check(request: Request, session: Session) -> Submission:
        console: Console = request.app.state.console
        # Every browser names the origin of a form; whoever leaves it out is none.
        if request.headers.getlist("origin") != [console.origin]:
            raise Forbidden("This form was not sent from a page of this service.")
        viewer = await _viewer(request, session, permission)
        fields = read_form(request, await request.body())
        if not hmac.compare_digest(fields.pop(TOKEN, "").encode(), viewer.form_token.encode()):
            raise Forbidden("This form is of another sign-in: open the page again.")
        return Submission(viewer, fields)

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


def read_form(request: Request, body: bytes) -> dict[str, str]:
    """The fields of a form, each given once. Raises ``Malformed``."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Malformed(f"Send the form as {_FORM}.")
    if len(body) > _LARGEST:
        raise Malformed(f"The form is larger than {_LARGEST} bytes.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict"
        )
    except ValueError:
        raise Malformed("The form cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs) or any("\x00" in text for pair in pairs for text in pair):
        raise Malformed("The form cannot be read.")
    return fields


async def _viewer(request: Request, session: Session, permission: Permission) -> Viewer:
    console: Console = request.app.state.console
    cookie = console.cookies.session(request)
    if cookie is None:
        # Nothing was presented, so nothing was refused.
        raise refused()
    caller = await console.authenticate(request, session)
    request.state.caller = caller
    authorize(caller, permission)
    names = await names_of(session, [caller.identity_id])
    return Viewer(caller, next(iter(names.values()), ""), cookie)
