"""The request of a signed-in person for a page, and the check that a form comes from one of the console's pages."""

import hmac
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, time, timedelta
from functools import wraps
from itertools import islice
from typing import Any, Concatenate, ParamSpec
from uuid import UUID

from fastapi import Depends, Request, Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot
from app.adapters.console import forms
from app.adapters.console.console import Console
from app.adapters.console.page import page
from app.crypto.keys import derive_key
from app.db.change import Change, savepoint
from app.db.clock import transaction_time
from app.domain.errors import Conflict, Forbidden, Invalid, Malformed, PreconditionFailed, Unauthenticated
from app.features.audit.queries import names_of
from app.features.service_accounts.authenticate import unauthenticated
from app.http.authorization import Caller, Permission, authorize
from app.http.live import Look, Watch, live_event
from app.http.pagination import Page
from app.http.runtime import Runtime
from app.http.transaction import Session

TOKEN = "form_token"
_MAX_NAMED = 200
# Query parameters that select a page, a tab or a message.
_NOT_FILTERS = frozenset({"cursor", "server_cursor", "sort", "limit", "tab", "done", "removed", "live"})
_REFUSALS = (Malformed, Invalid, Conflict, PreconditionFailed)
_Ids = ParamSpec("_Ids")


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


@dataclass(slots=True)
class PageContext:
    """A signed-in person's request for a page, and what rendering the page needs.

    ``form`` is empty unless the request submitted one. One function can therefore show a form for the first time and
    again with ``problems``.
    """

    request: Request
    session: AsyncSession
    viewer: Viewer
    now: datetime
    form: forms.Form = field(default_factory=forms.Form)
    problems: forms.Problems = field(default_factory=forms.Problems)
    caller: Caller = field(init=False)
    runtime: Runtime = field(init=False)
    snapshot: AccessSnapshot = field(init=False)
    console: Console = field(init=False)
    request_id: str | None = field(init=False)

    def __post_init__(self) -> None:
        state, self.caller = self.request.app.state, self.viewer.caller
        self.runtime, self.snapshot, self.console = state.runtime, state.access, state.console
        self.request_id = self.request.state.request_id

    def day_end(self, days: int) -> datetime:
        """The end of the day in so many days, UTC: a whole day, so that all pages of a list have the same filter."""
        return datetime.combine(self.now.date() + timedelta(days=days + 1), time(), UTC)

    @property
    def is_sent(self) -> bool:
        """Whether the request submitted a form."""
        return self.request.method == "POST"

    @property
    def typed(self) -> forms.Form:
        """The submitted form, or else the query parameters, which prefill one."""
        return self.form if self.is_sent else forms.Form(self.request.query_params.multi_items())

    def may(self, permission: str) -> bool:
        """Whether the viewer has a permission."""
        return self.viewer.may(permission)

    @property
    def is_filtered(self) -> bool:
        """Whether the address has filters of a list."""
        given = self.request.query_params.items()
        return any(value.strip() for name, value in given if name not in _NOT_FILTERS)

    def param(self, name: str, default: str = "") -> str:
        """A query parameter, stripped; ``default`` if it is missing or empty."""
        return self.request.query_params.get(name, "").strip() or default

    def query(self, model: type[forms.Model], **more: Any) -> forms.Model:
        """Read the query parameters that ``model`` has, and ``more``. Raises ``Malformed``."""
        return forms.read_query(model, self.request, **more)

    async def names(self, *things: Any, first: int | None = _MAX_NAMED) -> dict[UUID, str]:
        """The names of identities, groups, policies and tokens, and the slugs of servers whose ids ``things`` are or
        contain; of each list within them, the ``first`` entries count, or all.
        """
        return await names_of(self.session, (id for thing in things for id in _ids_in(thing, first)))

    async def name(self, id: UUID | None, default: str | None = None) -> str | None:
        """The name of one object; ``default`` without an id or name."""
        return default if id is None else (await self.names(id)).get(id, default)

    def pager(self, cursor: str | None) -> dict[str, Any]:
        """The addresses of a list's next page and first page."""
        return forms.pager(self.request, cursor)

    async def page(
        self,
        template: str,
        listed: Page[Any] | None = None,
        /,
        *,
        status: int | None = None,
        done: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Response:
        """Render a template with the form, its problems, and the ``names`` of the objects whose ids ``values`` contain.

        ``listed`` becomes the ``items`` of a list and the addresses of its other pages. ``done`` has the messages about
        the changes that redirect to this page, by the parameter ``done``.
        """
        if listed is not None:
            values |= {"items": listed.items, **self.pager(listed.next_cursor)}
        if "names" not in values:
            values["names"] = await self.names(*values.values())
        return page(
            self.request,
            template,
            viewer=self.viewer,
            status=status or self.problems.status,
            form=self.form,
            problems=self.problems,
            is_filtered=self.is_filtered,
            done=None if done is None else done.get(self.param("done")),
            **values,
        )

    async def event(self, template: str, **values: Any) -> bytes:
        """A live event that replaces a part of the page by the template, without ``names``: the session has ended."""
        return live_event(bytes((await self.page(template, names={}, **values)).body).decode())

    def stream(self, permission: Permission, look: Look) -> Response:
        """Stream what ``look`` finds, for as long as the viewer has the permission."""
        watch = Watch(self.request, self.caller, permission, self.console.authenticate, look)
        return self.runtime.live.stream(watch)

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Run a change in a savepoint. A refusal is rolled back and kept in ``problems``, to show with the form."""
        try:
            async with savepoint(self.session):
                yield
        except _REFUSALS as error:
            self.problems = forms.Problems(error)


@dataclass(slots=True, kw_only=True)
class Submission(PageContext):
    """A form that a signed-in person submitted from a page of the console."""

    change: Change
    """The unit of work for services, written when the request commits."""

    @property
    def shown(self) -> forms.ShownRevision:
        """The revision that the page of the form showed."""
        return forms.ShownRevision(f'"{self.form.text("revision")}"')


_Handler = Callable[Concatenate[Any, _Ids], Coroutine[Any, Any, Response]]


def on_refusal(form_page: _Handler[_Ids]) -> Callable[[_Handler[_Ids]], Any]:
    """Decorate a change, which is rolled back if it is refused: ``form_page`` then shows the form with its problems."""

    def decorate(change: _Handler[_Ids]) -> Any:
        @wraps(change)
        async def run(sent: Any, *args: _Ids.args, **ids: _Ids.kwargs) -> Response:
            async with sent.attempt():
                response = await change(sent, *args, **ids)
            return await form_page(sent, *args, **ids) if sent.problems else response

        return run

    return decorate


def may_open(permission: Permission) -> Any:
    """Build the dependency of a page, whose value is a ``PageContext`` of a viewer with the permission."""

    async def check(request: Request, session: Session) -> PageContext:
        viewer = await _viewer(request, session, permission)
        return PageContext(request, session, viewer, await transaction_time(session))

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


def may_submit(permission: Permission, *, max_bytes: int = forms.MAX_FORM_BYTES) -> Any:
    """Build the dependency of a change, whose value is a ``Submission``.

    The form must have the console's origin and the session's token, and at most ``max_bytes`` bytes.
    """

    async def check(request: Request, session: Session) -> Submission:
        console: Console = request.app.state.console
        # Browsers send the origin with every form.
        if request.headers.getlist("origin") != [console.address.origin]:
            raise Forbidden("This form was not sent from a page of this service.")
        body = await request.body()
        try:
            viewer = await _viewer(request, session, permission)
        except Unauthenticated:
            # The page of a lost session shows what was typed.
            with suppress(Malformed):
                form = forms.read_form(request, body, max_bytes)
                form.take(TOKEN)
                request.state.form_input = form.pairs
            raise
        form = forms.read_form(request, body, max_bytes)
        if not hmac.compare_digest(form.take(TOKEN).encode(), viewer.form_token.encode()):
            raise Forbidden("This form belongs to another session. Open the page again.")
        # An error page shows what was typed, now that the form is authenticated.
        request.state.form_input = form.pairs
        change = await Change.begin(session, viewer.caller, request.state.request_id)
        return Submission(request, session, viewer, change.now, form, change=change)

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


async def _viewer(request: Request, session: Session, permission: Permission) -> Viewer:
    console: Console = request.app.state.console
    cookie = console.cookies.session(request)
    if cookie is None:  # That is no refused credential.
        raise unauthenticated()
    caller = await console.authenticate(request, session)
    request.state.caller = caller
    names = await names_of(session, [caller.identity_id])
    viewer = Viewer(caller, next(iter(names.values()), ""), cookie)
    # An error page of a forbidden request shows the menu too.
    request.state.viewer = viewer
    authorize(caller, permission)
    return viewer


def _ids_in(thing: Any, first: int | None) -> Iterator[UUID]:
    """The ids in models and in lists, of which the ``first`` entries count."""
    if isinstance(thing, UUID):
        yield thing
    elif isinstance(thing, BaseModel):
        for _, value in thing:
            yield from _ids_in(value, first)
    elif is_dataclass(thing):
        for one in fields(thing):
            yield from _ids_in(getattr(thing, one.name), first)
    elif isinstance(thing, list | tuple | set):
        for value in islice(thing, first):
            yield from _ids_in(value, first)
