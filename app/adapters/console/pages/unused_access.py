"""Unused access: narrowing one grant, or several, to what was used of them."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import Form, first_page, next_page, read_query, validate, whole_number
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.grants import (
    HOME,
    MAX_IDS,
    NOTE_WORDS,
    UNUSED_DAYS,
    describe_access,
    ids_to_name,
    link,
    preview_reach,
    read_grant,
)
from app.adapters.console.pages.principals import ERASED
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
from app.domain.errors import Invalid, NotFound
from app.features.access.routes import apply_stale_access, list_stale_access
from app.features.access.unused_schemas import AppliedView, StaleApply, StaleGrantView, StaleQuery
from app.features.audit.names import names_of
from app.features.grants.schemas import GrantPreview, GrantView
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import GRANT, GrantId, format_id

STALE = f"{HOME}/stale"
_PAGE = 25
_MAX_FORM_BYTES = 32 * 1024
_DAYS = ("30", "60", "90", "180", "365")
_CHANGED = "The grant was changed or used since the page was shown. Review it again."
router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one grant; ``before`` and ``after`` describe its access (``None``: unchanged or none)."""

    grant_id: UUID
    who: str
    outcome: str
    before: str
    after: str | None


@router.get(STALE, operation_id="page_list_stale_grants")
async def stale_page(
    request: Request,
    viewer: Annotated[Viewer, require_viewer(Permission.GRANTS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """List grants that are partly or entirely unused, with a proposal for each."""
    return await _show_stale(request, viewer, session, runtime, snapshot)


async def _show_stale(
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    snapshot: AccessSnapshot,
    refused: Invalid | None = None,
) -> Response:
    more: dict[str, Any] = {"kind": ["grant"]}
    if not request.query_params.get("unused_for_days"):
        more["unused_for_days"] = UNUSED_DAYS
    wanted = read_query(StaleQuery, request, limit=_PAGE, **more)
    report = await list_stale_access(wanted, viewer.caller, session, runtime, snapshot)
    found = [one for one in report.items if isinstance(one, StaleGrantView) and one.proposal is not None]
    proposals = [
        one.proposal for one in found if one.proposal is not None and one.proposal.action == "narrow"
    ]
    ids = [id for one in found for id in ids_to_name(one.principal, one.servers)]
    ids += [id for one in proposals for id in getattr(one.servers, "ids", ())[:MAX_IDS]]
    return page(
        request,
        "grants/stale.html",
        viewer=viewer,
        status=200 if refused is None else 422,
        found=found,
        names=await names_of(session, ids),
        days=wanted.unused_for_days,
        spans=[(one, f"for {one} days") for one in _DAYS],
        state=request.query_params.get("state", ""),
        refused=None if refused is None else refused.detail,
        words=describe_access,
        notes=NOTE_WORDS,
        link=link,
        more=next_page(request, report.next_cursor),
        first=first_page(request),
    )


@router.post(STALE, operation_id="page_apply_stale_grants")
async def apply_page(
    request: Request,
    submission: Annotated[Submission, require_submission(Permission.GRANTS_WRITE, max_bytes=_MAX_FORM_BYTES)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Preview what becomes of the selected grants, or apply the previewed proposals."""
    viewer, form = submission.viewer, submission.form
    try:
        body = _chosen(form)
    except Invalid as refused:
        return await _show_stale(request, viewer, session, runtime, snapshot, refused)
    dry_run = form.text("do") != "apply"
    results = await _apply(request, body, viewer, session, runtime, snapshot, dry_run=dry_run)
    return page(
        request,
        "grants/applied.html",
        viewer=viewer,
        results=results,
        dry_run=dry_run,
        possible=any(one.outcome in {"narrowed", "ended"} for one in results),
        chosen=form.texts("item"),
        days=body.unused_for_days,
        changed=_CHANGED,
        link=link,
    )


def _chosen(form: Form) -> StaleApply:
    """The selected proposals. Raises ``Invalid``."""
    items = [one.partition(" ") for one in form.texts("item")]
    if not items:
        raise Invalid("Choose at least one grant.")
    return validate(
        StaleApply,
        {
            "unused_for_days": whole_number(form.text("unused_for_days") or str(UNUSED_DAYS)),
            "items": [{"grant_id": id, "proposal_digest": digest} for id, _, digest in items],
        },
    )


async def _apply(
    request: Request,
    body: StaleApply,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    snapshot: AccessSnapshot,
    *,
    dry_run: bool,
) -> list[Result]:
    """Apply proposals; ``before`` describes each grant as of the proposal's revision."""
    before = {}
    for item in body.items:
        try:
            before[item.grant_id] = await read_grant(item.grant_id, viewer, session, runtime)
        except NotFound:
            continue
    done = await apply_stale_access(body, viewer.caller, session, snapshot, request, dry_run)
    after: dict[UUID, Any] = {one.grant_id: one.grant for one in done.items if one.grant is not None}
    if dry_run:
        after = await _proposed(body, viewer, session, runtime, snapshot)
    ids = [id for one in before.values() for id in ids_to_name(one.principal, one.servers)]
    ids += [id for one in after.values() for id in getattr(one.servers, "ids", ())[:MAX_IDS]]
    names = await names_of(session, ids)
    return [_result(one, before.get(one.grant_id), after.get(one.grant_id), names) for one in done.items]


async def _proposed(
    body: StaleApply, viewer: Viewer, session: AsyncSession, runtime: Runtime, snapshot: AccessSnapshot
) -> dict[UUID, Any]:
    """What each of the grants would be narrowed to."""
    ids = [item.grant_id for item in body.items]
    asked = StaleQuery(unused_for_days=body.unused_for_days, kind=["grant"], grant_id=ids, limit=len(ids))
    report = await list_stale_access(asked, viewer.caller, session, runtime, snapshot)
    return {
        one.grant_id: one.proposal
        for one in report.items
        if isinstance(one, StaleGrantView) and one.proposal is not None and one.proposal.action == "narrow"
    }


def _result(done: AppliedView, before: GrantView | None, after: Any, names: dict[UUID, str]) -> Result:
    who = "" if before is None else names.get(before.principal.id, ERASED)
    given = "" if before is None else describe_access(before, names)
    gives = describe_access(after, names) if done.outcome == "narrowed" and after is not None else None
    return Result(done.grant_id, who, done.outcome, given, gives)


@router.get(
    f"{HOME}/{{grant_id}}/narrow",
    dependencies=[require_viewer(Permission.GRANTS_READ)],
    operation_id="page_ask_narrow_grant",
)
async def ask_narrow(grant_id: GrantId) -> Response:
    """Redirect to the grant's page, which shows the proposal."""
    return redirect(f"{HOME}/{format_id(GRANT, grant_id)}")


@router.post(f"{HOME}/{{grant_id}}/narrow", operation_id="page_narrow_grant")
async def narrow(
    grant_id: GrantId,
    request: Request,
    submission: Annotated[Submission, require_submission(Permission.GRANTS_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Narrow a grant if the proposal is unchanged since it was shown, and show the result."""
    viewer = submission.viewer
    item = {"grant_id": grant_id, "proposal_digest": submission.form.text("digest")}
    body = validate(StaleApply, {"unused_for_days": UNUSED_DAYS, "items": [item]})
    [result] = await _apply(request, body, viewer, session, runtime, snapshot, dry_run=False)
    if result.outcome == "not_found":
        raise NotFound("There is no such grant.")
    reached: GrantPreview | None = None
    if result.outcome == "narrowed":
        now = await read_grant(grant_id, viewer, session, runtime)
        reached = await preview_reach(now, viewer, session, snapshot)
    return page(
        request,
        "grants/narrowed.html",
        viewer=viewer,
        status=409 if result.outcome == "changed" else 200,
        it=result,
        reached=reached,
        changed=_CHANGED,
        link=link,
    )
