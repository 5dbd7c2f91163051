"""The form of a grant: who, which servers and tools, until when; a summary in a sentence; and then it is made.

What the form of a grant says, and that as the API takes it. It travels along in the form while people search.

What the form of a grant offers: those who can hold it, servers and tools, what is chosen always among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import AsShown, Form, Problems, attempted, validated
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.grants import HOME, ids_of, link, preview_of, words_of_right
from app.adapters.console.pages.principals import LONGEST, find_principals, find_servers
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.db.engine import undo
from app.domain.errors import FieldError, Invalid
from app.domain.risk import Risk
from app.features.audit.names import names_of
from app.features.audit.schemas import show_id
from app.features.grants import service
from app.features.grants.schemas import GrantCreate, GrantUpdate, GrantView
from app.features.tools import routes as tools
from app.features.tools.schemas import ToolQuery
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import GROUP, IDENTITY, SERVER, GrantId, format_id, parse_id

PRESETS = (7, 30, 90, 180, 365)
"""The spans that are offered, in days."""
_DEFAULT_DAYS = "90"
_NEVER, _ON, _AT = "never", "on", "at"
_LISTS = ("server", "risk", "tool")
_TEXTS = ("who", "servers", "labels", "tools", "expires", "expires_on", "expires_at", "begins_on", "reason")
_FLAGS = ("resources", "prompts")


@dataclass(slots=True)
class Wish:
    """The fields of the form, as they were typed and ticked."""

    who: str = ""
    servers: str = "ids"
    server: list[str] = field(default_factory=list)
    labels: str = ""
    tools: str = "risk"
    risk: list[str] = field(default_factory=lambda: ["read"])
    tool: list[str] = field(default_factory=list)
    resources: bool = False
    prompts: bool = False
    expires: str = _DEFAULT_DAYS
    expires_on: str = ""
    expires_at: str = ""
    begins_on: str = ""
    reason: str = ""

    @classmethod
    def typed(cls, form: Form) -> "Wish":
        """What was sent. Raises ``Malformed``."""
        wish = cls()
        for name in _TEXTS:
            setattr(wish, name, form.text(name, getattr(wish, name)))
        for name in _LISTS:
            setattr(wish, name, list(dict.fromkeys(form.texts(name))))
        for name in _FLAGS:
            setattr(wish, name, form.flag(name))
        return wish

    @classmethod
    def asked(cls, query: Mapping[str, str]) -> "Wish":
        """What a link from another page begins with."""
        wish = cls(who=query.get("identity_id") or query.get("group_id") or "")
        if server := query.get("server_id") or query.get("server"):
            wish.server = [server]
        if query.get("tool"):
            wish.tools, wish.tool = "names", [query["tool"]]
        return wish

    @classmethod
    def of(cls, grant: GrantView) -> "Wish":
        """A grant as it is, to be changed."""
        servers, tools = grant.servers, grant.tools
        prefix = GROUP if grant.principal.type == "group" else IDENTITY
        return cls(
            who=format_id(prefix, grant.principal.id),
            servers=servers.kind,
            server=[format_id(SERVER, id) for id in servers.ids] if servers.kind == "ids" else [],
            labels=_lines(servers.labels) if servers.kind == "labels" else "",
            tools=tools.kind,
            risk=[one.value for one in tools.risk] if tools.kind == "risk" else [],
            tool=list(tools.names) if tools.kind == "names" else [],
            resources=grant.resources,
            prompts=grant.prompts,
            expires=_NEVER if grant.expires_at is None else _AT,
            expires_at="" if grant.expires_at is None else grant.expires_at.isoformat(),
            begins_on="" if grant.not_before is None else grant.not_before.isoformat(),
            reason=grant.reason or "",
        )

    def pairs(self) -> list[tuple[str, str]]:
        """The fields as a form carries them along."""
        told = [(name, getattr(self, name)) for name in _TEXTS if getattr(self, name)]
        told += [(name, value) for name in _LISTS for value in getattr(self, name)]
        return told + [(name, "on") for name in _FLAGS if getattr(self, name)]

    def settle(self, now: datetime) -> None:
        """Make a span into the time that is shown, so that what is made is what was read. Raises ``Invalid``."""
        until = self._until(now)
        self.expires, self.expires_on = (_NEVER, "") if until is None else (_AT, "")
        self.expires_at = "" if until is None else until.isoformat()

    @property
    def right(self) -> dict[str, Any]:
        """The selectors, as the API's models take them. Raises ``Invalid``."""
        return {"servers": self._servers(), "tools": self._tools()}

    def create(self, now: datetime) -> GrantCreate:
        """The API's own model of it. Raises ``Invalid``."""
        if not self.who:
            raise Invalid.field("/principal", "required", "Choose who is to hold it.")
        kind = "group" if self.who.startswith(f"{GROUP}_") else "identity"
        return validated(GrantCreate, {"principal": {"type": kind, "id": self.who}} | self._fields(now))

    def update(self, now: datetime) -> GrantUpdate:
        """The API's own model of the change. Raises ``Invalid``."""
        return validated(GrantUpdate, self._fields(now))

    def _fields(self, now: datetime) -> dict[str, Any]:
        return self.right | {
            "resources": self.resources,
            "prompts": self.prompts,
            "not_before": _day(self.begins_on, "/not_before", timedelta(0)) if self.begins_on else None,
            "expires_at": self._until(now),
            "reason": self.reason or None,
        }

    def _servers(self) -> dict[str, Any]:
        if self.servers == "all":
            return {"kind": "all"}
        if self.servers == "labels":
            return {"kind": "labels", "labels": _labels(self.labels)}
        if not self.server:
            raise Invalid.field("/servers", "required", "Choose at least one server.")
        return {"kind": "ids", "ids": self.server}

    def _tools(self) -> dict[str, Any]:
        if self.tools == "all":
            return {"kind": "all"}
        if self.tools == "names":
            if not self.tool and not self.resources and not self.prompts:
                raise Invalid.field("/tools", "required", "Choose at least one tool.")
            return {"kind": "names", "names": self.tool}
        if not self.risk:
            raise Invalid.field("/tools", "required", "Choose what the tools may do.")
        return {"kind": "risk", "risk": self.risk}

    def _until(self, now: datetime) -> datetime | None:
        if self.expires == _NEVER:
            return None
        if self.expires == _ON:
            # To the end of that day.
            return _day(self.expires_on, "/expires_at", timedelta(days=1))
        if self.expires == _AT:
            return _time(self.expires_at)
        if self.expires not in {str(days) for days in PRESETS}:
            raise Invalid.field("/expires_at", "required", "Choose until when it holds.")
        return now + timedelta(days=int(self.expires))


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid.field("/expires_at", "required", "Choose until when it holds.") from None


def _day(text: str, pointer: str, more: timedelta) -> datetime:
    """The beginning of a day that was typed, and something on top; a time stays as it is."""
    try:
        if len(text) > len("2026-12-31"):
            return datetime.fromisoformat(text).astimezone(UTC)
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + more
    except (ValueError, OverflowError):
        raise Invalid.field(pointer, "not_a_day", "Write a day like 2026-12-31.") from None


def _labels(text: str) -> dict[str, str]:
    """Labels, one a line. Raises ``Invalid``."""
    found: dict[str, str] = {}
    errors = []
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not equals or not key:
            errors.append(FieldError("/servers", "not_a_label", f"Line {number} is not like env=prod."))
        elif found.setdefault(key, value) != value:
            errors.append(FieldError("/servers", "twice", f"Line {number} names {key} a second time."))
    if not found and not errors:
        errors.append(FieldError("/servers", "required", "Write at least one label."))
    if errors:
        raise Invalid("The labels cannot be read: see below.", errors=errors)
    return found


def _lines(labels: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={value}" for key, value in sorted(labels.items()))


_PRINCIPALS, _SERVERS, _TOOLS = 6, 10, 40


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to choose: its value in the form, its name, and what else helps to know it."""

    value: str
    name: str
    more: str = ""
    risk: str | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """All that the form offers. What is ``chosen`` stands before what was found, whatever was searched for."""

    chosen_who: Choice | None
    who: list[Choice]
    chosen_servers: list[Choice]
    servers: list[Choice]
    chosen_tools: list[Choice]
    tools: list[Choice]
    searched: dict[str, str]
    dates: list[tuple[str, str, datetime]]
    risks: list[tuple[str, str]] = field(
        default_factory=lambda: [
            (Risk.READ.value, "Tools that only read"),
            (Risk.WRITE.value, "Tools that change something"),
            (Risk.DESTRUCTIVE.value, "Tools that destroy something"),
            (Risk.UNKNOWN.value, "Tools of which nobody knows the risk"),
        ]
    )


async def choices_for(
    wish: Wish, form: Form, viewer: Viewer, session: AsyncSession, runtime: Runtime
) -> Choices:
    """What there is to choose from for somebody who has typed and chosen this. Raises ``Invalid``."""
    searched = {name: form.text(name)[:LONGEST] for name in ("who_q", "server_q", "tool_q")}
    now = runtime.clock()
    names = await _names(wish, session)
    return Choices(
        chosen_who=Choice(wish.who, names[wish.who]) if wish.who in names else None,
        who=[one for one in await _who(searched["who_q"], viewer, session, runtime) if one.value != wish.who],
        chosen_servers=[Choice(id, names[id]) for id in wish.server if id in names],
        servers=[
            Choice(show_id("server", one.id) or "", one.slug, one.name)
            for one in await find_servers(searched["server_q"], viewer, session, runtime, most=_SERVERS)
            if show_id("server", one.id) not in wish.server
        ],
        chosen_tools=[Choice(name, name) for name in wish.tool],
        tools=await _tools(wish, searched["tool_q"], viewer, session, runtime),
        searched=searched,
        dates=[(str(days), _span(days), now + timedelta(days=days)) for days in PRESETS],
    )


async def _names(wish: Wish, session: AsyncSession) -> dict[str, str]:
    """The names of what is chosen, by id; of what there is not, none."""
    ids: dict[str, UUID] = {}
    for text, prefixes in ((wish.who, (IDENTITY, GROUP)), *((id, (SERVER,)) for id in wish.server)):
        for prefix in prefixes:
            try:
                ids[text] = parse_id(prefix, text)
            except ValueError:
                continue
    names = await names_of(session, ids.values())
    return {text: names[id] for text, id in ids.items() if id in names}


async def _who(text: str, viewer: Viewer, session: AsyncSession, runtime: Runtime) -> list[Choice]:
    people, groups = await find_principals(text, viewer, session, runtime, most=_PRINCIPALS)
    found = [
        Choice(show_id("identity", one.id) or "", one.display_name or one.user_name, f"{one.kind}, {one.user_name}")
        for one in people
    ]  # fmt: skip
    return found + [Choice(show_id("group", one.id) or "", one.name, "group") for one in groups]


async def _tools(
    wish: Wish, text: str, viewer: Viewer, session: AsyncSession, runtime: Runtime
) -> list[Choice]:
    """Tools of the chosen servers, each name once: a grant names them for all of its servers."""
    wanted: dict[str, Any] = {"q": text or None, "state": ["active"], "sort": "name", "limit": 2 * _TOOLS}
    if wish.servers == "ids":
        if not wish.server:
            return []
        wanted["server_id"] = wish.server
    found = await tools.list_tools(validated(ToolQuery, wanted), viewer.caller, session, runtime)
    slugs = await names_of(session, [one.server_id for one in found.items])
    by_name: dict[str, Choice] = {}
    for one in found.items:
        if one.name in wish.tool:
            continue
        slug = slugs.get(one.server_id, "")
        known = by_name.get(one.name)
        more = slug if known is None else f"{known.more}, {slug}"
        by_name[one.name] = Choice(one.name, one.name, more, one.risk.value)
    return list(by_name.values())[:_TOOLS]


def _span(days: int) -> str:
    return "1 year" if days == 365 else f"{days} days"


NEW = f"{HOME}/new"

# A thousand names of tools, and as many servers, are carried along.
_LARGEST = 512 * 1024
router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(NEW, operation_id="page_new_grant")
async def new_page(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.GRANTS_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """The empty form, or with what a link from another page says."""
    return await _form(request, Wish.asked(request.query_params), Form(), viewer, session, runtime)


@router.post(NEW, operation_id="page_create_grant")
async def create(
    request: Request,
    submission: Annotated[Submission, submitted(Permission.GRANTS_WRITE, largest=_LARGEST)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Search on with what is chosen; show the summary; or make the grant that was summed up."""
    viewer, form = submission.viewer, submission.form
    wish, step = Wish.typed(form), form.text("do")
    if step not in {"review", "create"}:
        return await _form(request, wish, form, viewer, session, runtime)
    async with attempted(session) as attempt:
        wish.settle(runtime.clock())
        body = wish.create(runtime.clock())
        made = await service.create_grant(submission.change, body)
    if attempt.problems:
        return await _form(request, wish, form, viewer, session, runtime, attempt.problems)
    if step == "create":
        return redirect(f"{link('grant', made.id)}?done=created")
    shown = GrantView.from_row(made, runtime.clock())
    # It was made to see whether it can be.
    await undo(session)
    return await _review(request, wish, shown, None, viewer, session, snapshot)


@router.get(f"{HOME}/{{grant_id}}/edit", operation_id="page_edit_grant")
async def edit_page(
    grant_id: GrantId,
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.GRANTS_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """The form with the grant as it is."""
    grant = await _read(grant_id, viewer, session, runtime)
    return await _form(request, Wish.of(grant), Form(), viewer, session, runtime, grant=grant)


@router.post(f"{HOME}/{{grant_id}}/edit", operation_id="page_update_grant")
async def update(
    grant_id: GrantId,
    request: Request,
    submission: Annotated[Submission, submitted(Permission.GRANTS_WRITE, largest=_LARGEST)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Search on with what is chosen; show what would change; or change the grant as it was summed up."""
    viewer, form = submission.viewer, submission.form
    wish, step = Wish.typed(form), form.text("do")
    before = await _read(grant_id, viewer, session, runtime)
    if step not in {"review", "create"}:
        return await _form(request, wish, form, viewer, session, runtime, grant=before)
    async with attempted(session) as attempt:
        wish.settle(runtime.clock())
        body = wish.update(runtime.clock())
        row = await service.update_grant(submission.change, grant_id, body, AsShown.by(form))
        after = GrantView.from_row(row, runtime.clock())
    if attempt.problems:
        return await _form(request, wish, form, viewer, session, runtime, attempt.problems, grant=before)
    if step == "create":
        return redirect(f"{link('grant', grant_id)}?done=updated")
    await undo(session)
    return await _review(request, wish, after, before, viewer, session, snapshot)


async def _read(grant_id: Any, viewer: Viewer, session: AsyncSession, runtime: Runtime) -> GrantView:
    return GrantView.from_row(await service.get_grant(session, viewer.caller, grant_id), runtime.clock())


async def _form(
    request: Request,
    wish: Wish,
    form: Form,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    problems: Problems | None = None,
    *,
    grant: GrantView | None = None,
) -> Response:
    return page(
        request,
        "grants/form.html",
        viewer=viewer,
        status=200 if problems is None else problems.status,
        wish=wish,
        choices=await choices_for(wish, form, viewer, session, runtime),
        problems=problems,
        found=problems,
        grant=grant,
        # What somebody typed over stays of the revision that they saw.
        revision=form.text("revision") or (None if grant is None else grant.revision),
        action=NEW if grant is None else f"{link('grant', grant.id)}/edit",
        back=HOME if grant is None else link("grant", grant.id),
    )


async def _review(
    request: Request,
    wish: Wish,
    grant: GrantView,
    before: GrantView | None,
    viewer: Viewer,
    session: AsyncSession,
    snapshot: AccessSnapshot,
) -> Response:
    """What would be made, or become of a grant, in a sentence; and the form that does it."""
    shown = [one for one in (grant, before) if one is not None]
    names = await names_of(session, [id for one in shown for id in ids_of(one.principal, one.servers)])
    return page(
        request,
        "grants/review.html",
        viewer=viewer,
        it=grant,
        who=names.get(grant.principal.id, ""),
        reached=await preview_of(grant, viewer, session, snapshot),
        right=words_of_right(grant, names),
        before=before,
        reached_before=None if before is None else await preview_of(before, viewer, session, snapshot),
        right_before=None if before is None else words_of_right(before, names),
        pairs=wish.pairs(),
        action=NEW if before is None else f"{link('grant', before.id)}/edit",
        link=link,
    )
