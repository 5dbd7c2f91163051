"""The audit log: the live list with its chart of hourly counts and filters, one event, and the export."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.explain import meaning_of
from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.display import ROOMS, format_time
from app.adapters.console.page import PageRoute
from app.domain.errors import Malformed
from app.features.audit import reading, schemas
from app.features.audit.reading import check_since, export, headers_of, present, read_on
from app.features.audit.stats import count_hours, count_matching
from app.http.authorization import Caller, Permission, authorize
from app.http.live import News
from app.http.pagination import Page
from app.lib.ids import EventId

router = APIRouter(include_in_schema=False, route_class=PageRoute)
WIDTH, HEIGHT = 720, 96
_BAR_GAP = 2
# Hours in a bar; the smallest that stays within the maximum number of bars is used.
_BAR_HOURS = (1, 3, 6, 12, 24)
_HOUR = timedelta(hours=1)
PATH = "/console/audit"
SHOWN = 25
USUAL = "24h"
PERIODS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
PERIOD_CHOICES = [
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("all", "Any time"),
]
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("since", "until")
# Filters without a field in the form, which keeps them as hidden fields.
_KEPT = tuple(
    name
    for name in schemas.AuditFilters.model_fields
    if name not in {"q", "decision", "outcome", "action", "tool"}
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
_NAMED = ("actor_id", "on_behalf_of", "token_id", "server_id", "object_id", "policy_id", "observed_policy_id")
"""Filters by ids, which are shown by name."""
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
"""Suggestions for the action filter, which accepts any text."""
_MAX_TEXT_LENGTH = 2_000
# Filters that the hourly counts support.
_COUNTED_BY = frozenset({"since", "until", "action", "decision"})
CanAudit = Annotated[PageContext, may_open(Permission.AUDIT_READ)]
ArgumentsRead = Annotated[Submission, may_submit(Permission.ARGUMENTS_READ)]


@dataclass(frozen=True, slots=True)
class Bar:
    """A time range with its count and geometry. ``refused`` is part of ``count``."""

    since: datetime
    until: datetime
    count: int
    refused: int
    href: str
    x: float
    width: float
    height: float
    refused_height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars of a chart; ``most`` is the highest count."""

    bars: list[Bar]
    most: int
    hours: int
    is_complete: bool
    """False if only the newest events are counted."""

    @property
    def count(self) -> int:
        """The total count."""
        return sum(bar.count for bar in self.bars)

    @property
    def refused(self) -> int:
        """The total count of refusals."""
        return sum(bar.refused for bar in self.bars)


def build_chart(
    stats: schemas.AuditStatsView,
    address: Callable[[datetime, datetime], str],
    *,
    max_bars: int = 60,
    refused_only: bool = False,
) -> Chart:
    """Build a chart of all counts or only of refusals; ``address`` returns the link for a time range."""
    step = next((one for one in _BAR_HOURS if len(stats.hours) <= max_bars * one), _BAR_HOURS[-1])
    parts = [stats.hours[start : start + step] for start in range(0, len(stats.hours), step)]
    counted = [(part, *_bar_counts(part, refused_only)) for part in parts]
    most = max((count for _, count, _ in counted), default=0)
    wide = WIDTH / max(1, len(parts))
    bars = [
        Bar(
            since=part[0].hour,
            until=part[-1].hour + _HOUR,
            count=count,
            refused=refused,
            href=address(part[0].hour, part[-1].hour + _HOUR),
            x=round(n * wide + _BAR_GAP / 2, 2),
            width=round(wide - _BAR_GAP, 2),
            height=_bar_height(count, most),
            refused_height=_bar_height(refused, most),
        )
        for n, (part, count, refused) in enumerate(counted)
    ]
    return Chart(bars, most, step, stats.is_complete)


def _bar_counts(part: list[schemas.AuditHourCounts], refused_only: bool) -> tuple[int, int]:
    refused = sum(hour.deny for hour in part)
    return (refused if refused_only else sum(hour.count for hour in part)), refused


def _bar_height(count: int, most: int) -> float:
    """The height of a bar; at least two pixels for a count above zero."""
    return 0 if not count else max(2, round(count / most * HEIGHT, 2))


@dataclass(frozen=True, slots=True)
class Chip:
    """An active filter in words, and the address without it."""

    name: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """The parsed address. ``period`` is empty for a custom range; ``is_shortened``: the range was reduced."""

    query: schemas.AuditQuery
    params: list[tuple[str, str]]
    period: str
    now: datetime
    is_shortened: bool

    @property
    def is_live(self) -> bool:
        """Whether the list shows the newest events and is updated live."""
        return self.query.cursor is None and self.query.until is None

    @property
    def kept(self) -> list[tuple[str, str]]:
        """The filters without a field in the form."""
        return [(name, value) for name, value in self.params if name in _KEPT]

    def chosen(self, name: str) -> str:
        """The value of a form field."""
        return next((value for each, value in self.params if each == name), "")

    def address(self, path: str = PATH, *, without: tuple[str, ...] = (), **more: str) -> str:
        """The same filters at ``path``, without some and with others."""
        gone = {*without, *more, "cursor", "at"}
        params = [(name, value) for name, value in self.params if name not in gone]
        params += [(name, value) for name, value in more.items() if value]
        return f"{path}?{urlencode(params)}" if params else path

    def span(self, since: datetime, until: datetime) -> str:
        """The same filters in another time range."""
        return self.address(without=("period",), since=format_time(since), until=format_time(until))

    def page_after(self, cursor: str | None) -> str | None:
        """The next page, in the same time range."""
        if cursor is None:
            return None
        params = [(name, value) for name, value in self.params if name not in {"cursor", "at"}]
        return f"{PATH}?{urlencode([*params, ('at', format_time(self.now)), ('cursor', cursor)])}"


def parse_request(context: PageContext) -> AuditRequest:
    """Parse the address. Raises ``Malformed``."""
    params = [(name, value) for name, value in context.request.query_params.multi_items() if value.strip()]
    asked, gone = dict(params), dict[str, Any]()
    if "period" in asked:
        # A newly selected period replaces the custom range.
        params = [one for one in params if one[0] not in _TIMES]
        gone = dict.fromkeys(_TIMES)
    now = _pinned(asked.get("at"), context.now)
    bare = context.query(schemas.AuditQuery, limit=SHOWN, **gone)
    if bare.until is not None:
        _check_earliest(bare.until)
    if bare.since is not None or bare.until is not None:
        return AuditRequest(bare, params, "", now, is_shortened=False)
    period = asked.get("period", USUAL)
    if period != "all" and period not in PERIODS:
        raise Malformed("The address has an invalid filter. Open the page again.")
    # Filters without an index search at most a month, as in the API.
    is_shortened = period == "all" and (bare.reads_results or bare.is_walked)
    back = PERIODS["30d"] if is_shortened else PERIODS.get(period)
    since: dict[str, Any] = {} if back is None else {"since": format_time(now - back)}
    query = context.query(schemas.AuditQuery, limit=SHOWN, **(gone | since))
    return AuditRequest(query, params, period, now, is_shortened)


async def build_chips(context: PageContext, asked: AuditRequest) -> list[Chip]:
    """The active filters, with names instead of ids where known."""
    named = {name: getattr(asked.query, name) for name in _NAMED}
    names = await context.names([id for ids in named.values() for id in ids])
    read: dict[str, str] = {}
    for name, ids in named.items():
        texts = [value for each, value in asked.params if each == name]
        read |= {text: names[id] for text, id in zip(texts, ids, strict=True) if id in names}
    return [
        Chip(_CHIP_NAMES[name], read.get(value, value), _remove_filter(asked, name, value))
        for name, value in asked.params
        if name in _CHIP_NAMES
    ]


def _remove_filter(asked: AuditRequest, name: str, value: str) -> str:
    params = [one for one in asked.params if one != (name, value) and one[0] not in {"cursor", "at"}]
    return f"{PATH}?{urlencode(params)}" if params else PATH


def _pinned(at: str | None, now: datetime) -> datetime:
    if at is None:
        return now
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        raise Malformed("The address has an invalid filter. Open the page again.") from None
    if found.tzinfo is None:
        return now
    return _check_earliest(found)


def _check_earliest(time: datetime) -> datetime:
    """Reject times before 1970, from which no range can be computed. Raises ``Malformed``."""
    if time < _EARLIEST:
        raise Malformed("The address has an invalid filter. Open the page again.")
    return time


def path_of(kind: str, id: str | None) -> str | None:
    """The page of an object; None if it has none."""
    room = ROOMS.get(kind)
    return None if room is None or id is None else f"/console/{room}/{id}"


def who_path(actor: schemas.Actor) -> str | None:
    """The page of the actor, if there is one."""
    return path_of(actor.type, actor.id) if actor.type == "identity" else None


def changes_of(event: schemas.AuditEventView) -> list[tuple[str, str | None, str]]:
    """The changed fields: name, old value (None if not recorded), new value."""
    return [_change(name, value) for name, value in sorted((event.changes or {}).items())]


def _change(name: str, value: Any) -> tuple[str, str | None, str]:
    if value == {"personal": True}:
        return name, None, "changed; personal data is not kept in the audit log"
    if isinstance(value, dict) and value.keys() == {"from", "to"}:
        return name, _text(value["from"]), _text(value["to"])
    return name, None, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]}…"


@router.get(PATH, operation_id="page_list_audit_events")
async def show_audit_log(context: CanAudit) -> Response:
    """Show the newest matching events with their histogram."""
    asked = parse_request(context)
    found: Page[schemas.AuditEventView] = await reading.list_events(
        context.session, context.runtime, asked.query
    )
    chart = await _histogram(context, asked)
    paused = context.param("live") == "off"
    return context.page(
        "audit/list.html", asked=asked, query=asked.query, events=found.items, chart=chart,
        chips=await build_chips(context, asked), periods=PERIOD_CHOICES, actions=ACTIONS, paused=paused, fresh=(),
        follows=asked.is_live and not paused, live=asked.address(f"{PATH}/live"),
        path_of=path_of, who_path=who_path,
        csv=_export_address(asked, "csv"), ndjson=_export_address(asked, "ndjson"), ocsf=_export_address(asked, "ocsf"),
        more=asked.page_after(found.next_cursor), first=asked.address() if asked.query.cursor else None,
    )  # fmt: skip


@router.get(f"{PATH}/live", operation_id="page_follow_audit_events")
async def watch_audit_log(context: CanAudit) -> Response:
    """Stream the newest events whenever another one matches."""
    asked = parse_request(context)
    check_since(asked.query)
    after = await present(context.session)
    before: set[UUID] | None = None

    async def look(session: AsyncSession, caller: Caller) -> News:  # noqa: ARG001 - audit.read sees all
        nonlocal after, before
        stretch = await read_on(session, asked.query, after, 1)
        if before is not None and not stretch.items:
            moved, after = stretch.reached != after, stretch.reached
            return News(more=moved)
        after = max(stretch.reached, await present(session))
        found = await reading.list_events(session, context.runtime, asked.query)
        ids = {event.id for event in found.items}
        fresh = set() if before is None else ids - before
        before = ids
        rows = context.event(
            "audit/events.html", events=found.items, fresh=fresh, path_of=path_of, who_path=who_path
        )
        return News([rows])

    return context.stream(Permission.AUDIT_READ, look)


@router.get(f"{PATH}/export", operation_id="page_export_audit_events")
async def export_audit_log(context: CanAudit) -> Response:
    """Download all matching events as a file."""
    query = context.query(schemas.AuditExportQuery)
    check_since(query)
    look = export(query, await present(context.session))
    headers = headers_of(query, context.now)
    return context.runtime.live.download(
        context.request, context.caller, Permission.AUDIT_READ, context.console.authenticate, look, headers
    )


async def _histogram(context: PageContext, asked: AuditRequest) -> Chart | None:
    """Counts over time; None if the range is longer than the statistics allow."""
    until = asked.query.until or asked.now
    since = asked.query.since or until - PERIODS["30d"]
    if not timedelta() < until - since <= schemas.MAX_RANGE:
        return None
    if any(value for name, value in asked.query.filters().items() if name not in _COUNTED_BY):
        wanted = asked.query.model_copy(update={"since": since, "until": until})
        stats = await count_matching(context.session, wanted, context.now)
    else:
        counted = schemas.AuditStatsQuery(
            since=since, until=until, action=asked.query.action, decision=asked.query.decision
        )
        stats = await count_hours(context.session, counted, context.now)
    return build_chart(stats, asked.span)


def _export_address(asked: AuditRequest, written: str) -> str:
    """The export of the shown events; it takes times instead of a period."""
    times: dict[str, Any] = {}
    if asked.query.since is not None:
        times["since"] = asked.query.since.isoformat()
    return asked.address(f"{PATH}/export", without=("period", "live"), format=written, **times)


@router.get(PATH + "/{event_id}", operation_id="page_show_audit_event")
async def show_event(context: CanAudit, event_id: EventId) -> Response:
    """Show one event."""
    return await _show(context, event_id)


@router.post(PATH + "/{event_id}/arguments", operation_id="page_show_audit_event_arguments")
async def show_arguments(sent: ArgumentsRead, event_id: EventId) -> Response:
    """Show an event with the call's arguments. A POST, since reading them is recorded in the audit log."""
    authorize(sent.caller, Permission.AUDIT_READ)
    found = await reading.read_arguments(sent.change, event_id, sent.runtime)
    return await _show(sent, event_id, found)


async def _show(
    context: PageContext, event_id: EventId, arguments: schemas.AuditArgumentsView | None = None
) -> Response:
    event = await reading.read(context.session, event_id)
    policies = [*(event.policy_ids or ()), *(event.observed_policy_ids or ())]
    names = await context.names([event.on_behalf_of, event.token_id, *policies])
    reason = event.reason_code
    return context.page(
        "audit/event.html", event=event, changes=changes_of(event), path_of=path_of,
        who_path=who_path, meaning=meaning_of(reason) if reason else None, arguments=arguments,
        arguments_text=json.dumps(arguments.arguments, indent=2, ensure_ascii=False) if arguments else "",
        names=names,
    )  # fmt: skip
