"""``/access``: explain decisions, count effective access, and report and narrow unused access."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.explain import Ask, RecordedCall, explain, find_recorded
from app.access.point_in_time import AccessReader
from app.access.reach import build_matrix
from app.access.reading import Fleet
from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.access.unused import UsageReview
from app.db.call_arguments import kept_arguments
from app.domain.errors import Invalid, StoreUnavailable, Unavailable
from app.features.access.schemas import (
    AccessExplanation,
    AccessMatrix,
    AccessMatrixQuery,
    AccessMatrixRow,
    ExplainRequest,
)
from app.features.access.unused_schemas import StaleAccess, StaleApplied, StaleApply, StaleQuery
from app.features.access.unused_service import ProposalApplier, Window, read_page, read_position
from app.features.tokens.queries import database_now
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.pagination import Cursors, Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, api_router
from app.lib.ids import SERVER, format_id

router = api_router("access")


@router.get(
    "/matrix",
    dependencies=[requires(Permission.ACCESS_EXPLAIN)],
    operation_id="get_access_matrix",
    summary="Count what identities reach of servers",
)
async def get_access_matrix(
    query: Annotated[AccessMatrixQuery, Query()], session: Session, snapshot: CurrentSnapshot
) -> AccessMatrix:
    """For each pair, how many of the server's tools the identity can call now by its live grants and those of its
    groups, decided as calls are. `/identities/{id}/access` lists them."""
    reader = AccessReader(session, snapshot, server_ids=query.server_id)
    rows = await build_matrix(reader, query.identity_id, query.server_id)
    return AccessMatrix(at=reader.time, items=[AccessMatrixRow.of(row) for row in rows])


CanRead = Annotated[Caller, requires(Permission.GRANTS_READ)]
CanWrite = Annotated[Caller, requires(Permission.GRANTS_WRITE)]
DryRun = Annotated[bool, Query(description="Return what would change, and change nothing.")]


@router.get(
    "/stale",
    operation_id="list_stale_access",
    summary="List unused access, with proposals to narrow it",
)
async def list_stale_access(
    query: Annotated[StaleQuery, Query()],
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Page[StaleAccess]:
    """The active grants and tokens that were not used, or only in part, in the window. Uses are recorded within a
    minute; nothing is known of the time before `observed_since`.

    Grants come first, then tokens, each newest first. If few of many are unused, a page may hold fewer than `limit`, or
    none, and still have a `next_cursor`.
    """
    authorize(caller, Permission.TOKENS_READ)
    filters = query.model_dump(exclude={"limit", "cursor"})
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_stale_access", filters)
    position = read_position(cursors.read(query.cursor))
    window = await _window(session, query.unused_for_days)
    review = await UsageReview.of(session, (await _fleet(snapshot)).servers, window.since)
    items, following = await read_page(session, review, query, window, position)
    return Page(items=items, next_cursor=None if following is None else cursors.write(following))


@router.post(
    "/stale/apply",
    operation_id="apply_stale_access",
    summary="Narrow or end grants as the report proposes",
)
async def apply_stale_access(
    body: StaleApply,
    caller: CanWrite,
    session: Session,
    snapshot: CurrentSnapshot,
    request: Request,
    dry_run: DryRun = False,
) -> StaleApplied:
    """Compute each proposal again and apply it if its `digest` is the one that was sent, which is not so if the grant
    was changed or used further. From then on, calls that it no longer allows are refused, for existing tokens too."""
    window = await _window(session, body.unused_for_days)
    fleet = await _fleet(snapshot)
    review = await UsageReview.of(session, fleet.servers, window.since)
    applying = ProposalApplier(session, caller, fleet, window.now, request.state.request_id)
    return StaleApplied(dry_run=dry_run, items=await applying.apply(review, body, dry_run=dry_run))


async def _window(session: AsyncSession, days: int) -> Window:
    now = await database_now(session)
    return Window(now - timedelta(days=days), now)


async def _fleet(snapshot: AccessSnapshot) -> Fleet:
    try:
        fleet, _ = await snapshot.fleet(fresh=True)
    except StoreUnavailable as error:
        raise Unavailable("The database cannot serve right now; repeat the request shortly.") from error
    return fleet


@router.post(
    "/explain",
    operation_id="explain_access",
    summary="Explain why a call is decided as it is",
    responses=problem_responses(404),
)
async def explain_access(
    body: ExplainRequest,
    caller: Annotated[Caller, requires(Permission.ACCESS_EXPLAIN)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> AccessExplanation:
    """Decide the call as the gateway does and list every grant, scope and policy that was considered, with what ruled
    each of them out. Nothing is called, counted or recorded.

    With `event_id`, the call is decided again as of that time, and the recorded decision is returned with it.
    """
    if body.event_id is not None:
        return await _of_event(body.event_id, caller, session, runtime, snapshot)
    reader = AccessReader(session, snapshot, body.at, asked=body.server, typed=body.tool, pointer="/at")
    explanation = await explain(session, reader, body.ask())
    return AccessExplanation.of(explanation, "none" if body.arguments is None else "given", None)


async def _of_event(
    event_id: UUID, caller: Caller, session: AsyncSession, runtime: Runtime, snapshot: AccessSnapshot
) -> AccessExplanation:
    call = await find_recorded(session, event_id)
    event = call.event
    arguments, used = await _arguments(call, caller, session, runtime)
    ask = Ask(
        None,
        call.token_id,
        None if event.server_id is None else format_id(SERVER, event.server_id),
        event.tool,
        call.part,
        arguments,
        call.address,
        call.program,
    )
    reader = AccessReader(
        session, snapshot, event.time, asked=ask.server, typed=event.tool, pointer="/event_id"
    )
    explanation = await explain(session, reader, ask)
    if explanation.decision.reason_code == "server_unknown" and event.reason_code != "server_unknown":
        raise Invalid.field(
            "/event_id", "about_the_fleet", "This event is about all servers together: ask about one of them."
        )
    return AccessExplanation.of(explanation, used, call)


async def _arguments(
    call: RecordedCall, caller: Caller, session: AsyncSession, runtime: Runtime
) -> tuple[dict[str, Any] | None, str]:
    """The arguments of a call, if they were kept and the caller may know how they affect policies."""
    if not call.is_call:
        return None, "none"
    if call.event.arguments_digest is None:
        return {}, "none"
    if not caller.may(Permission.ARGUMENTS_READ):
        return None, "not_permitted"
    kept, arguments = await kept_arguments(session, runtime.sealer, call.event.id)
    return (arguments or {}, "kept") if kept else (None, "not_kept")
