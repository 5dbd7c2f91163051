"""The audit trail: newest first and as it happens, with a histogram to pick a time from; and all of it as a file.

What an address of the audit page asks for: filters, a span of time that stays while one pages, and the ways on.

What events are about, in words and links.

One event of the audit trail, with what it is about, what changed, and the arguments where they are kept.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.explain import meaning_of
from app.adapters.console.console import CurrentConsole
from app.adapters.console.forms import read_query
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.charts import Chart, chart_of
from app.adapters.console.pages.grants import ROOMS
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.domain.errors import Malformed
from app.features.audit import routes as audit
from app.features.audit.export import export, headers_of
from app.features.audit.names import names_of
from app.features.audit.reading import check_since, present, read_on
from app.features.audit.schemas import (
    WIDEST_RANGE,
    Actor,
    AuditArgumentsView,
    AuditEventView,
    AuditExportQuery,
    AuditFilters,
    AuditQuery,
    AuditStatsQuery,
)
from app.features.audit.stats import count_hours, count_matching
from app.http.authorization import Caller, Permission, authorize
from app.http.live import News, live_event
from app.http.pagination import Page
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import EventId

PATH = "/console/audit"
SHOWN = 25
USUAL = "24h"
PERIODS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
PERIOD_WORDS = [
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("all", "Any time"),
]
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("since", "until")

# Those that have no field of their own in the form; it keeps them all the same.
_KEPT = tuple(
    name for name in AuditFilters.model_fields if name not in {"q", "decision", "outcome", "action", "tool"}
)
_CHIP_NAMES = {
    "q": "Named",
    "id": "Event",
    "action": "Action",
    "decision": "Decision",
    "outcome": "Outcome",
    "reason_code": "Reason",
    "actor_id": "By",
    "actor_type": "By a",
    "actor_name": "By",
    "on_behalf_of": "On behalf of",
    "token_id": "Token",
    "server_id": "Server",
    "server_slug": "Server",
    "object_id": "About",
    "policy_id": "Policy",
    "observed_policy_id": "Policy on trial",
    "client_ip": "Address",
    "client_name": "Program",
    "client_version": "Version",
    "client_user_agent": "User agent",
    "arguments_digest": "Arguments",
    "changes": "Changed",
    "duration_ms_min": "Milliseconds, at least",
    "duration_ms_max": "Milliseconds, at most",
    "request_id": "Request",
    "trace_id": "Trace",
    "tool": "Tool",
}


_NAMED = (
    "actor_id", "on_behalf_of", "token_id", "server_id", "object_id", "policy_id", "observed_policy_id",
)  # fmt: skip
"""Filters by ids of what may have a name."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on, in words, and the address without it."""

    name: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for. ``period`` is empty for a span that was picked; ``is_shortened``: not as far back as asked."""

    query: AuditQuery
    params: list[tuple[str, str]]
    period: str
    now: datetime
    is_shortened: bool

    @property
    def is_live(self) -> bool:
        """Whether what is shown is the newest, and grows."""
        return self.query.cursor is None and self.query.until is None

    @property
    def kept(self) -> list[tuple[str, str]]:
        """The filters that the form has no field for."""
        return [(name, value) for name, value in self.params if name in _KEPT]

    def chosen(self, name: str) -> str:
        """What a field of the form holds."""
        return next((value for each, value in self.params if each == name), "")

    def address(self, path: str = PATH, *, without: tuple[str, ...] = (), **more: str) -> str:
        """The same filters elsewhere, without some and with others."""
        gone = {*without, *more, "cursor", "at"}
        params = [(name, value) for name, value in self.params if name not in gone]
        params += [(name, value) for name, value in more.items() if value]
        return f"{path}?{urlencode(params)}" if params else path

    def span(self, since: datetime, until: datetime) -> str:
        """The same filters in a span of time."""
        return self.address(without=("period",), since=_time(since), until=_time(until))

    def page_after(self, cursor: str | None) -> str | None:
        """The page that follows, in the very span of this one."""
        if cursor is None:
            return None
        params = [(name, value) for name, value in self.params if name not in {"cursor", "at"}]
        return f"{PATH}?{urlencode([*params, ('at', _time(self.now)), ('cursor', cursor)])}"


def read_asked(request: Request, now: datetime) -> Asked:
    """What the address asks for. Raises ``Malformed``."""
    params = [(name, value) for name, value in request.query_params.multi_items() if value.strip()]
    asked, gone = dict(params), dict[str, Any]()
    if "period" in asked:
        # Chosen in the form of a page whose time was picked, and in the place of that.
        params = [one for one in params if one[0] not in _TIMES]
        gone = dict.fromkeys(_TIMES)
    now = _pinned(asked.get("at"), now)
    bare = read_query(AuditQuery, request, limit=SHOWN, **gone)
    if bare.until is not None:
        _late_enough(bare.until)
    if bare.since is not None or bare.until is not None:
        return Asked(bare, params, "", now, is_shortened=False)
    period = asked.get("period", USUAL)
    if period != "all" and period not in PERIODS:
        raise Malformed("The address asks for something that this page cannot read.")
    # What no index serves is looked for in a month at most, as at the API.
    is_shortened = period == "all" and (bare.reads_results or bare.is_walked)
    back = PERIODS["30d"] if is_shortened else PERIODS.get(period)
    since: dict[str, Any] = {} if back is None else {"since": _time(now - back)}
    query = read_query(AuditQuery, request, limit=SHOWN, **(gone | since))
    return Asked(query, params, period, now, is_shortened)


async def chips_of(session: AsyncSession, asked: Asked) -> list[Chip]:
    """The filters that are on, with names in the place of ids where there are any."""
    named = {name: getattr(asked.query, name) for name in _NAMED}
    names = await names_of(session, [id for ids in named.values() for id in ids])
    read: dict[str, str] = {}
    for name, ids in named.items():
        texts = [value for each, value in asked.params if each == name]
        read |= {text: names[id] for text, id in zip(texts, ids, strict=True) if id in names}
    return [
        Chip(_CHIP_NAMES[name], read.get(value, value), _without(asked, name, value))
        for name, value in asked.params
        if name in _CHIP_NAMES
    ]


def _without(asked: Asked, name: str, value: str) -> str:
    params = [one for one in asked.params if one != (name, value) and one[0] not in {"cursor", "at"}]
    return f"{PATH}?{urlencode(params)}" if params else PATH


def _pinned(at: str | None, now: datetime) -> datetime:
    if at is None:
        return now
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        raise Malformed("The address asks for something that this page cannot read.") from None
    if found.tzinfo is None:
        return now
    return _late_enough(found)


def _late_enough(time: datetime) -> datetime:
    """A time that others can be counted back from. Raises ``Malformed``."""
    if time < _EARLIEST:
        raise Malformed("The address asks for something that this page cannot read.")
    return time


def _time(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


ACTIONS = (
    "tool.call", "tools.list", "resource.read", "prompt.get", "mcp.initialize", "token.refused",
    "credential.refused", "token.issue", "token.update", "token.rotate", "token.revoke", "token.pick_up",
    "token.check", "grant.create", "grant.update", "grant.end", "policy.create", "policy.update",
    "policy.publish", "policy.rollback", "policy.unpublish", "policy.end", "identity.create",
    "identity.update", "identity.suspend", "identity.reinstate", "identity.offboard", "identity.erase",
    "group.create", "group.update", "group.end", "group.add_member", "group.remove_member",
    "group.change_members", "server.create", "server.update", "server.delete", "server.sync",
    "server_credential.set", "server_credential.delete", "tool.update", "tool.approve", "approval.request",
    "approval.approve", "approval.deny", "service_account.create", "service_account.sign_in", "administrator.sign_in",
    "session.open", "session.end", "arguments.read", "scim.request", "signal.received", "break_glass.sign_in",
    "break_glass.use",
)  # fmt: skip
"""What is offered to filter by; any other may be typed."""
_LONGEST = 2_000


def path_of(kind: str, id: str | None) -> str | None:
    """The page of an object; None where it has none."""
    room = ROOMS.get(kind)
    return None if room is None or id is None else f"/console/{room}/{id}"


def who_path(actor: Actor) -> str | None:
    """The page of whoever did it, if it has one."""
    return path_of(actor.type, actor.id) if actor.type == "identity" else None


def changes_of(event: AuditEventView) -> list[tuple[str, str | None, str]]:
    """What changed, field by field: its name, what it was (None where that is not told), what it is."""
    return [_change(name, value) for name, value in sorted((event.changes or {}).items())]


def _change(name: str, value: Any) -> tuple[str, str | None, str]:
    if value == {"personal": True}:
        return name, None, "changed; what is personal is not kept in the trail"
    if isinstance(value, dict) and value.keys() == {"from", "to"}:
        return name, _text(value["from"]), _text(value["to"])
    return name, None, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


router = APIRouter(include_in_schema=False, route_class=PageRoute)


# Hours are counted by these.
_COUNTED_BY = frozenset({"since", "until", "action", "decision"})
CanAudit = Annotated[Viewer, signed_in(Permission.AUDIT_READ)]


@router.get(PATH, operation_id="page_list_audit_events")
async def show_trail(
    request: Request, viewer: CanAudit, session: Session, runtime: CurrentRuntime
) -> Response:
    """The newest events that match, and how many there were when."""
    asked = read_asked(request, runtime.clock())
    found: Page[AuditEventView] = await audit.list_audit_events(session, runtime, asked.query)
    chart = await _histogram(session, runtime, asked)
    paused = request.query_params.get("live") == "off"
    return page(
        request, "audit/list.html", viewer=viewer, asked=asked, query=asked.query, events=found.items, chart=chart,
        chips=await chips_of(session, asked), periods=PERIOD_WORDS, actions=ACTIONS, paused=paused, fresh=(),
        follows=asked.is_live and not paused, live=asked.address(f"{PATH}/live"),
        path_of=path_of, who_path=who_path,
        csv=_export_address(asked, "csv"), ndjson=_export_address(asked, "ndjson"), ocsf=_export_address(asked, "ocsf"),
        more=asked.page_after(found.next_cursor), first=asked.address() if asked.query.cursor else None,
    )  # fmt: skip


@router.get(f"{PATH}/live", operation_id="page_follow_audit_events")
async def follow_trail(
    request: Request, viewer: CanAudit, session: Session, runtime: CurrentRuntime, console: CurrentConsole
) -> Response:
    """The newest events again, whenever there is one more that matches."""
    asked = read_asked(request, runtime.clock())
    check_since(asked.query)
    after = await present(session)
    before: set[UUID] | None = None

    async def look(session: AsyncSession, caller: Caller) -> News:  # noqa: ARG001 - audit.read sees all
        nonlocal after, before
        stretch = await read_on(session, asked.query, after, 1)
        if before is not None and not stretch.items:
            moved, after = stretch.reached != after, stretch.reached
            return News(more=moved)
        after = max(stretch.reached, await present(session))
        found = await audit.list_audit_events(session, runtime, asked.query)
        ids = {event.id for event in found.items}
        fresh = set() if before is None else ids - before
        before = ids
        rows = page(
            request, "audit/events.html", viewer=viewer, events=found.items, fresh=fresh, path_of=path_of,
            who_path=who_path,
        )  # fmt: skip
        return News([live_event(bytes(rows.body).decode())])

    return runtime.live.stream(request, viewer.caller, Permission.AUDIT_READ, console.authenticate, look)


@router.get(f"{PATH}/export", operation_id="page_export_audit_events")
async def export_trail(
    request: Request, viewer: CanAudit, session: Session, runtime: CurrentRuntime, console: CurrentConsole
) -> Response:
    """Everything that matches, as a file."""
    query = read_query(AuditExportQuery, request)
    check_since(query)
    look = export(query, await present(session))
    headers = headers_of(query, runtime.clock())
    return runtime.live.download(
        request, viewer.caller, Permission.AUDIT_READ, console.authenticate, look, headers
    )


async def _histogram(session: AsyncSession, runtime: Runtime, asked: Asked) -> Chart | None:
    """What actions and decisions were counted in the span; None where the span is wider than what is counted."""
    until = asked.query.until or asked.now
    since = asked.query.since or until - PERIODS["30d"]
    if not timedelta() < until - since <= WIDEST_RANGE:
        return None
    if any(value for name, value in asked.query.filters().items() if name not in _COUNTED_BY):
        wanted = asked.query.model_copy(update={"since": since, "until": until})
        stats = await count_matching(session, wanted, runtime.clock())
    else:
        counted = AuditStatsQuery(
            since=since, until=until, action=asked.query.action, decision=asked.query.decision
        )
        stats = await count_hours(session, counted, runtime.clock())
    return chart_of(stats, asked.span)


def _export_address(asked: Asked, written: str) -> str:
    """Of what is shown, whatever it was called: an export has no period of its own."""
    times: dict[str, Any] = {}
    if asked.query.since is not None:
        times["since"] = asked.query.since.isoformat()
    return asked.address(f"{PATH}/export", without=("period", "live"), format=written, **times)


@router.get(PATH + "/{event_id}", operation_id="page_show_audit_event")
async def show_event(
    request: Request,
    event_id: EventId,
    viewer: Annotated[Viewer, signed_in(Permission.AUDIT_READ)],
    session: Session,
) -> Response:
    """One event."""
    return await _show(request, viewer, session, event_id)


@router.post(PATH + "/{event_id}/arguments", operation_id="page_show_audit_event_arguments")
async def show_arguments(
    request: Request,
    event_id: EventId,
    submission: Annotated[Submission, submitted(Permission.ARGUMENTS_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """The same with the arguments of the call. That somebody looked at them is on record, so it is no link."""
    viewer = submission.viewer
    authorize(viewer.caller, Permission.AUDIT_READ)
    found = await audit.get_audit_event_arguments(request, session, runtime, event_id, viewer.caller)
    return await _show(request, viewer, session, event_id, found)


async def _show(
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    event_id: EventId,
    arguments: AuditArgumentsView | None = None,
) -> Response:
    event = await audit.get_audit_event(session, event_id)
    policies = [*(event.policy_ids or ()), *(event.observed_policy_ids or ())]
    names = await names_of(session, [event.on_behalf_of, event.token_id, *policies])
    reason = event.reason_code
    return page(
        request, "audit/event.html", viewer=viewer, event=event, changes=changes_of(event), path_of=path_of,
        who_path=who_path, meaning=meaning_of(reason) if reason else None, arguments=arguments,
        arguments_text=json.dumps(arguments.arguments, indent=2, ensure_ascii=False) if arguments else "",
        names=names,
    )  # fmt: skip
