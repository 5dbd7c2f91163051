"""The form that creates or changes a grant: its state, the choices that it offers, and the review step."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.display import MAX_IDS, link
from app.adapters.console.forms import Form, format_pairs, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.grants import HOME, preview_reach
from app.adapters.console.pages.principals import MAX_SEARCH_LENGTH, find_principals, find_servers
from app.db.engine import undo
from app.domain.errors import FieldError, Invalid
from app.domain.risk import Risk
from app.features.grants import service
from app.features.grants.schemas import GrantCreate, GrantUpdate, GrantView
from app.features.tools import service as tools
from app.features.tools.schemas import ToolQuery
from app.http.authorization import Permission
from app.lib.ids import GROUP, IDENTITY, SERVER, GrantId, format_id, parse_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)
PRESETS = (7, 30, 90, 180, 365)
"""The offered lifetimes, in days."""
_DEFAULT_DAYS = "90"
_NEVER, _ON, _AT = "never", "on", "at"
_LISTS = ("server", "risk", "tool")
_TEXTS = ("who", "servers", "labels", "tools", "expires", "expires_on", "expires_at", "begins_on", "reason")
_FLAGS = ("resources", "prompts")
_PRINCIPALS, _SERVERS, _TOOLS = 6, 10, 40
_RISKS = (
    (Risk.READ.value, "Tools that only read"),
    (Risk.WRITE.value, "Tools that change something"),
    (Risk.DESTRUCTIVE.value, "Tools that destroy something"),
    (Risk.UNKNOWN.value, "Tools whose risk is unknown"),
)
NEW = f"{HOME}/new"
# The form carries up to a thousand tool names and as many servers.
_MAX_FORM_BYTES = 512 * 1024
Writer = Annotated[PageContext, may_open(Permission.GRANTS_WRITE)]
Written = Annotated[Submission, may_submit(Permission.GRANTS_WRITE, max_bytes=_MAX_FORM_BYTES)]


@dataclass(slots=True)
class GrantForm:
    """The fields of the form, which it carries along while the reader searches."""

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
    def typed(cls, form: Form) -> "GrantForm":
        """Read a submitted form. Raises ``Malformed``."""
        grant_form = cls()
        for name in _TEXTS:
            setattr(grant_form, name, form.text(name, getattr(grant_form, name)))
        for name in _LISTS:
            setattr(grant_form, name, list(dict.fromkeys(form.texts(name))))
        for name in _FLAGS:
            setattr(grant_form, name, form.flag(name))
        return grant_form

    @classmethod
    def asked(cls, query: Mapping[str, str]) -> "GrantForm":
        """Prefill the form from a link of another page."""
        grant_form = cls(who=query.get("identity_id") or query.get("group_id") or "")
        if server := query.get("server_id") or query.get("server"):
            grant_form.server = [server]
        if query.get("tool"):
            grant_form.tools, grant_form.tool = "names", [query["tool"]]
        return grant_form

    @classmethod
    def of(cls, grant: GrantView) -> "GrantForm":
        """Fill the form with an existing grant."""
        servers, tools = grant.servers, grant.tools
        prefix = GROUP if grant.principal.type == "group" else IDENTITY
        return cls(
            who=format_id(prefix, grant.principal.id),
            servers=servers.kind,
            server=[format_id(SERVER, id) for id in servers.ids] if servers.kind == "ids" else [],
            labels=format_pairs(servers.labels) if servers.kind == "labels" else "",
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
        """The fields as hidden form fields."""
        pairs = [(name, getattr(self, name)) for name in _TEXTS if getattr(self, name)]
        pairs += [(name, value) for name in _LISTS for value in getattr(self, name)]
        return pairs + [(name, "on") for name in _FLAGS if getattr(self, name)]

    def settle(self, now: datetime) -> None:
        """Replace a lifetime by a fixed expiry, so that the review and the result agree. Raises ``Invalid``."""
        until = self._until(now)
        self.expires, self.expires_on = (_NEVER, "") if until is None else (_AT, "")
        self.expires_at = "" if until is None else until.isoformat()

    def principal(self) -> dict[str, Any]:
        """The holder as a field of the API's model. Raises ``Invalid``."""
        if not self.who:
            raise Invalid.field("/principal", "required", "Choose who receives the grant.")
        kind = "group" if self.who.startswith(f"{GROUP}_") else "identity"
        return {"principal": {"type": kind, "id": self.who}}

    def fields(self, now: datetime) -> dict[str, Any]:
        """The other fields of the API's models. Raises ``Invalid``."""
        return {
            "servers": self._servers(),
            "tools": self._tools(),
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
            raise Invalid.field("/tools", "required", "Choose at least one risk level.")
        return {"kind": "risk", "risk": self.risk}

    def _until(self, now: datetime) -> datetime | None:
        if self.expires == _NEVER:
            return None
        if self.expires == _ON:
            # Until the end of that day.
            return _day(self.expires_on, "/expires_at", timedelta(days=1))
        if self.expires == _AT:
            return _time(self.expires_at)
        if self.expires not in {str(days) for days in PRESETS}:
            raise Invalid.field("/expires_at", "required", "Choose when the grant expires.")
        return now + timedelta(days=int(self.expires))


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid.field("/expires_at", "required", "Choose when the grant expires.") from None


def _day(text: str, pointer: str, more: timedelta) -> datetime:
    """The start of a typed day, plus ``more``; a full time stays as it is."""
    try:
        if len(text) > len("2098-12-31"):
            return datetime.fromisoformat(text).astimezone(UTC)
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + more
    except (ValueError, OverflowError):
        raise Invalid.field(pointer, "not_a_day", "Enter a date such as 2098-12-31.") from None


def _labels(text: str) -> dict[str, str]:
    """Parse labels, one on each line. Raises ``Invalid``."""
    found: dict[str, str] = {}
    errors = []
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not equals or not key:
            errors.append(
                FieldError("/servers", "not_a_label", f"Line {number} is not of the form env=prod.")
            )
        elif found.setdefault(key, value) != value:
            errors.append(FieldError("/servers", "twice", f"Line {number} repeats the label {key}."))
    if not found and not errors:
        errors.append(FieldError("/servers", "required", "Enter at least one label."))
    if errors:
        raise Invalid("The labels are invalid: see below.", errors=errors)
    return found


@dataclass(frozen=True, slots=True)
class Choice:
    """An option: its value in the form, its name, and details that identify it."""

    value: str
    name: str
    more: str = ""
    risk: str | None = None


async def choices_for(context: PageContext, grant_form: GrantForm) -> dict[str, Any]:
    """Read the options for the current state of the form. Raises ``Invalid``.

    Selected ones are always listed, before the results of a search.
    """
    searched = {name: context.form.text(name)[:MAX_SEARCH_LENGTH] for name in ("who_q", "server_q", "tool_q")}
    now = context.now
    names = await _names(context, grant_form)
    return {
        "chosen_who": Choice(grant_form.who, names[grant_form.who]) if grant_form.who in names else None,
        "who": [one for one in await _who(context, searched["who_q"]) if one.value != grant_form.who],
        "chosen_servers": [Choice(id, names[id]) for id in grant_form.server if id in names],
        "servers": [
            Choice(format_id(SERVER, one.id), one.slug, one.name)
            for one in await find_servers(context, searched["server_q"], limit=_SERVERS)
            if format_id(SERVER, one.id) not in grant_form.server
        ],
        "chosen_tools": [Choice(name, name) for name in grant_form.tool],
        "tools": await _tools(context, grant_form, searched["tool_q"]),
        "searched": searched,
        "dates": [(days, now + timedelta(days=days)) for days in PRESETS],
        "risks": _RISKS,
    }


async def _names(context: PageContext, grant_form: GrantForm) -> dict[str, str]:
    """The names of what is selected, by id; unknown ids are left out."""
    ids: dict[str, UUID] = {}
    for text in (grant_form.who, *grant_form.server):
        prefix = text.partition("_")[0]
        if prefix in ((IDENTITY, GROUP) if text == grant_form.who else (SERVER,)):
            with suppress(ValueError):
                ids[text] = parse_id(prefix, text)
    names = await context.names(*ids.values())
    return {text: names[id] for text, id in ids.items() if id in names}


async def _who(context: PageContext, text: str) -> list[Choice]:
    people, groups = await find_principals(context, text, limit=_PRINCIPALS)
    found = []
    for one in people:
        name = one.display_name or one.user_name
        found.append(Choice(format_id(IDENTITY, one.id), name, f"{one.kind}, {one.user_name}"))
    return found + [Choice(format_id(GROUP, one.id), one.name, "group") for one in groups]


async def _tools(context: PageContext, grant_form: GrantForm, text: str) -> list[Choice]:
    """Tools of the selected servers, each name once, since a grant names tools for all of its servers."""
    wanted: dict[str, Any] = {"q": text or None, "state": ["active"], "sort": "name", "limit": 2 * _TOOLS}
    if grant_form.servers == "ids":
        if not grant_form.server:
            return []
        wanted["server_id"] = grant_form.server
    query = validate(ToolQuery, wanted)
    found = await tools.list_tools(context.session, context.caller, query, context.runtime)
    slugs = await context.names(*(one.server_id for one in found.items))
    by_name: dict[str, Choice] = {}
    for one in found.items:
        if one.name in grant_form.tool:
            continue
        slug = slugs.get(one.server_id, "")
        known = by_name.get(one.name)
        more = slug if known is None else f"{known.more}, {slug}"
        by_name[one.name] = Choice(one.name, one.name, more, one.risk.value)
    return list(by_name.values())[:_TOOLS]


@router.get(NEW, operation_id="page_new_grant")
async def new_page(context: Writer) -> Response:
    """Show the form, prefilled by the link's parameters."""
    return await _form(context, GrantForm.asked(context.request.query_params))


@router.post(NEW, operation_id="page_create_grant")
async def create(sent: Written) -> Response:
    """Search, show the review, or create the reviewed grant."""
    form = sent.form
    grant_form, step = GrantForm.typed(form), form.text("do")
    if step not in {"review", "create"}:
        return await _form(sent, grant_form)
    async with sent.attempt():
        grant_form.settle(sent.now)
        body = validate(GrantCreate, grant_form.principal() | grant_form.fields(sent.now))
        made = await service.create_grant(sent.change, body)
    if sent.problems:
        return await _form(sent, grant_form)
    if step == "create":
        return redirect(f"{link('grant', made.id)}?done=created")
    shown = GrantView.from_row(made, sent.now)
    # The grant was only created to validate it.
    await undo(sent.session)
    return await _review(sent, grant_form, shown, None)


@router.get(f"{HOME}/{{grant_id}}/edit", operation_id="page_edit_grant")
async def edit_page(context: Writer, grant_id: GrantId) -> Response:
    """Show the form with an existing grant."""
    grant = await _read(context, grant_id)
    return await _form(context, GrantForm.of(grant), grant=grant)


@router.post(f"{HOME}/{{grant_id}}/edit", operation_id="page_update_grant")
async def update(sent: Written, grant_id: GrantId) -> Response:
    """Search, show the review of a change, or make the reviewed change."""
    form = sent.form
    grant_form, step = GrantForm.typed(form), form.text("do")
    before = await _read(sent, grant_id)
    if step not in {"review", "create"}:
        return await _form(sent, grant_form, grant=before)
    async with sent.attempt():
        grant_form.settle(sent.now)
        body = validate(GrantUpdate, grant_form.fields(sent.now))
        row = await service.update_grant(sent.change, grant_id, body, sent.shown)
        after = GrantView.from_row(row, sent.now)
    if sent.problems:
        return await _form(sent, grant_form, grant=before)
    if step == "create":
        return redirect(f"{link('grant', grant_id)}?done=updated")
    await undo(sent.session)
    return await _review(sent, grant_form, after, before)


async def _read(context: PageContext, grant_id: Any) -> GrantView:
    return GrantView.from_row(await service.get_grant(context.session, context.caller, grant_id), context.now)


async def _form(context: PageContext, grant_form: GrantForm, *, grant: GrantView | None = None) -> Response:
    return await context.page(
        "grants/form.html",
        grant_form=grant_form,
        choices=await choices_for(context, grant_form),
        grant=grant,
        # A typed change stays based on the revision that its author saw.
        revision=context.form.text("revision") or (None if grant is None else grant.revision),
        action=NEW if grant is None else f"{link('grant', grant.id)}/edit",
        back=HOME if grant is None else link("grant", grant.id),
    )


async def _review(
    context: PageContext, grant_form: GrantForm, grant: GrantView, before: GrantView | None
) -> Response:
    """Show the grant that would be created or changed, and the form that confirms it."""
    names = await context.names(grant, before, first=MAX_IDS)
    return await context.page(
        "grants/review.html",
        it=grant,
        names=names,
        who=names.get(grant.principal.id, ""),
        reached=await preview_reach(context, grant),
        before=before,
        reached_before=None if before is None else await preview_reach(context, before),
        pairs=grant_form.pairs(),
        action=NEW if before is None else f"{link('grant', before.id)}/edit",
    )
