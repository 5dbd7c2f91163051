"""The audit log: the live list with its chart of hourly counts and filters, one event, and the export."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.explain import meaning_of
from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.display import format_time
from app.adapters.console.page import PageRoute, with_query
from app.domain.errors import Malformed
from app.features.audit import reading, schemas
from app.features.audit.queries import present
from app.features.audit.reading import check_since, export, headers_of, read_on
from app.features.audit.stats import count_hours, count_matching
from app.http.authorization import Caller, Permission, authorize
from app.http.live import News, Watch
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


def build_chart(
    stats: schemas.AuditStatsView,
    address: Callable[[datetime, datetime], str],
    *,
    max_bars: int = 60,
    refused_only: bool = False,
) -> dict[str, Any]:
    """A bar chart of all counts or only of refusals; ``address`` returns the link for a time range.

    ``refused`` is a part of ``count``, and ``is_complete`` is False if only the newest events are counted.
    """
    step = next((one for one in _BAR_HOURS if len(stats.hours) <= max_bars * one), _BAR_HOURS[-1])
    parts = [stats.hours[start : start + step] for start in range(0, len(stats.hours), step)]
    refused = [sum(hour.deny for hour in part) for part in parts]
    counts = refused if refused_only else [sum(hour.count for hour in part) for part in parts]
    most, wide = max(counts, default=0), WIDTH / max(1, len(parts))
    bars = []
    for n, (part, count, denied) in enumerate(zip(parts, counts, refused, strict=True)):
        since, until = part[0].hour, part[-1].hour + _HOUR
        span = {"since": since, "until": until, "href": address(since, until)}
        place = {"x": round(n * wide + _BAR_GAP / 2, 2), "width": round(wide - _BAR_GAP, 2)}
        heights = {"height": _bar_height(count, most), "refused_height": _bar_height(denied, most)}
        bars.append({"count": count, "refused": denied, **span, **place, **heights})
    totals = {"count": sum(counts), "refused": sum(refused)}
    return {"bars": bars, "hours": step, "is_complete": stats.is_complete, **totals}


def _bar_height(count: int, most: int) -> float:
    """The height of a bar; at least two pixels for a count above zero."""
    return 0 if not count else max(2, round(count / most * HEIGHT, 2))


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
        return with_query(path, params + [(name, value) for name, value in more.items() if value])

    def span(self, since: datetime, until: datetime) -> str:
        """The same filters in another time range."""
        return self.address(without=("period",), since=format_time(since), until=format_time(until))

    def export(self, written: str) -> str:
        """The export of the shown events; it takes times instead of a period."""
        times = {} if self.query.since is None else {"since": self.query.since.isoformat()}
        return self.address(f"{PATH}/export", without=("period", "live"), format=written, **times)


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


async def build_chips(context: PageContext, asked: AuditRequest) -> list[dict[str, str]]:
    """The active filters, with names instead of ids where known, and the address without each."""
    named = {name: getattr(asked.query, name) for name in _NAMED}
    names = await context.names(*named.values(), first=None)
    read: dict[str, str] = {}
    for name, ids in named.items():
        texts = [value for each, value in asked.params if each == name]
        read |= {text: names[id] for text, id in zip(texts, ids, strict=True) if id in names}
    chips = []
    for name, value in asked.params:
        if name in _CHIP_NAMES:
            rest = [one for one in asked.params if one != (name, value) and one[0] not in {"cursor", "at"}]
            shown = {"name": _CHIP_NAMES[name], "value": read.get(value, value)}
            chips.append(shown | {"without": with_query(PATH, rest)})
    return chips


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


def _change(name: str, value: Any) -> tuple[str, str | None, str]:
    """A changed field: name, old value (None if not recorded), new value."""
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
    found = await reading.list_events(context.session, context.runtime, asked.query)
    more = found.next_cursor and asked.address(at=format_time(asked.now), cursor=found.next_cursor)
    return await context.page(
        "audit/list.html", asked=asked, query=asked.query, events=found.items, fresh=(), names={}, actions=ACTIONS,
        chart=await _histogram(context, asked), chips=await build_chips(context, asked),
        follows=asked.is_live and context.param("live") != "off",
        more=more, first=asked.address() if asked.query.cursor else None,
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
        return News([await context.event("audit/events.html", events=found.items, fresh=fresh)])

    return context.stream(Permission.AUDIT_READ, look)


@router.get(f"{PATH}/export", operation_id="page_export_audit_events")
async def export_audit_log(context: CanAudit) -> Response:
    """Download all matching events as a file."""
    query = context.query(schemas.AuditExportQuery)
    check_since(query)
    look = export(query, await present(context.session))
    headers = headers_of(query, context.now)
    watch = Watch(context.request, context.caller, Permission.AUDIT_READ, context.console.authenticate, look)
    return context.runtime.live.download(watch, headers)


async def _histogram(context: PageContext, asked: AuditRequest) -> dict[str, Any] | None:
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
    reason = event.reason_code
    text = json.dumps(arguments.arguments, indent=2, ensure_ascii=False) if arguments else ""
    changes = [_change(name, value) for name, value in sorted((event.changes or {}).items())]
    return await context.page(
        "audit/event.html", event=event, changes=changes, meaning=meaning_of(reason) if reason else None,
        arguments=arguments, arguments_text=text,
    )  # fmt: skip
