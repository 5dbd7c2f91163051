"""``/access``: explain decisions, count effective access, and report and narrow unused access."""

from typing import Annotated

from fastapi import Query

from app.access.snapshot import CurrentSnapshot
from app.db.change import Change
from app.features.access.explain import AccessExplanation, ExplainRequest, explain_decision
from app.features.access.reach import AccessMatrix, AccessMatrixQuery, count_access
from app.features.access.unused import apply_proposals, list_unused
from app.features.access.unused_schemas import StaleAccess, StaleApplied, StaleApply, StaleQuery
from app.http.authorization import Caller, Permission, changes, requires
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router

router = api_router("access")


@router.get(
    "/matrix",
    dependencies=[requires(Permission.ACCESS_EXPLAIN)],
    summary="Count what identities reach of servers",
)
async def get_access_matrix(
    query: Annotated[AccessMatrixQuery, Query()], session: Session, snapshot: CurrentSnapshot
) -> AccessMatrix:
    """For each pair, how many of the server's tools the identity can call now by its live grants and those of its
    groups, decided as calls are. `/identities/{id}/access` lists them."""
    return await count_access(session, snapshot, query)


CanRead = Annotated[Caller, requires(Permission.GRANTS_READ)]
CanWrite = Annotated[Change, changes(Permission.GRANTS_WRITE)]
DryRun = Annotated[bool, Query(description="Return what would change, and change nothing.")]


@router.get("/stale", summary="List unused access, with proposals to narrow it")
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
    return await list_unused(session, caller, snapshot, query, runtime)


@router.post("/stale/apply", summary="Narrow or end grants as the report proposes")
async def apply_stale_access(
    body: StaleApply, change: CanWrite, snapshot: CurrentSnapshot, dry_run: DryRun = False
) -> StaleApplied:
    """Compute each proposal again and apply it if its `digest` is the one that was sent, which is not so if the grant
    was changed or used further. From then on, calls that it no longer allows are refused, for existing tokens too."""
    return await apply_proposals(change, snapshot, body, dry_run=dry_run)


@router.post("/explain", summary="Explain why a call is decided as it is", responses=problem_responses(404))
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
    return await explain_decision(session, caller, snapshot, body, runtime)
