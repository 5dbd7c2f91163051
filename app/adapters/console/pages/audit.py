"""The audit trail: newest first and as it happens, with a histogram to pick a time from; and all of it as a file."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.console import CurrentConsole
from app.adapters.console.forms import read_query
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.audit_filters import (
    PATH,
    PERIOD_WORDS,
    PERIODS,
    Asked,
    chips_of,
    read_asked,
)
from app.adapters.console.pages.audit_words import ACTIONS, path_of, who_path
from app.adapters.console.pages.charts import Chart, chart_of
from app.adapters.console.signed_in import Viewer, signed_in
from app.features.audit import routes as audit
from app.features.audit.export import export, headers_of
from app.features.audit.reading import check_since, present, read_on
from app.features.audit.schemas import WIDEST_RANGE, AuditEventView, AuditExportQuery, AuditStatsQuery
from app.features.audit.stats import count_hours, count_matching
from app.http.authorization import Caller, Permission
from app.http.live import News, live_event
from app.http.pagination import Page
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session

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
