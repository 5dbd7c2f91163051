"""Unused access: narrowing one grant, or several, to what was used of them."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.forms import Form, Problems, validate, whole_number
from app.adapters.console.page import PageRoute, redirect
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
from app.domain.errors import Invalid, NotFound
from app.features.access.routes import apply_stale_access, list_stale_access
from app.features.access.unused_schemas import AppliedView, StaleApply, StaleGrantView, StaleQuery
from app.features.grants.schemas import GrantPreview, GrantView
from app.http.authorization import Permission
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
async def stale_page(context: Annotated[PageContext, may_open(Permission.GRANTS_READ)]) -> Response:
    """List grants that are partly or entirely unused, with a proposal for each."""
    return await _show_stale(context)


async def _show_stale(context: PageContext) -> Response:
    more: dict[str, Any] = {"kind": ["grant"]}
    if not context.param("unused_for_days"):
        more["unused_for_days"] = UNUSED_DAYS
    wanted = context.query(StaleQuery, limit=_PAGE, **more)
    report = await list_stale_access(
        wanted, context.caller, context.session, context.runtime, context.snapshot
    )
    found = [one for one in report.items if isinstance(one, StaleGrantView) and one.proposal is not None]
    proposals = [
        one.proposal for one in found if one.proposal is not None and one.proposal.action == "narrow"
    ]
    ids = [id for one in found for id in ids_to_name(one.principal, one.servers)]
    ids += [id for one in proposals for id in getattr(one.servers, "ids", ())[:MAX_IDS]]
    return context.page(
        "grants/stale.html",
        found=found,
        names=await context.names(ids),
        days=wanted.unused_for_days,
        spans=[(one, f"for {one} days") for one in _DAYS],
        state=context.param("state"),
        refused=context.problems.summary or None,
        words=describe_access,
        notes=NOTE_WORDS,
        link=link,
        **context.pager(report.next_cursor),
    )


@router.post(STALE, operation_id="page_apply_stale_grants")
async def apply_page(
    sent: Annotated[Submission, may_submit(Permission.GRANTS_WRITE, max_bytes=_MAX_FORM_BYTES)],
) -> Response:
    """Preview what becomes of the selected grants, or apply the previewed proposals."""
    form = sent.form
    try:
        body = _chosen(form)
    except Invalid as refused:
        sent.problems = Problems(refused)
        return await _show_stale(sent)
    dry_run = form.text("do") != "apply"
    results = await _apply(sent, body, dry_run=dry_run)
    return sent.page(
        "grants/applied.html",
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


async def _apply(context: PageContext, body: StaleApply, *, dry_run: bool) -> list[Result]:
    """Apply proposals; ``before`` describes each grant as of the proposal's revision."""
    before = {}
    for item in body.items:
        try:
            before[item.grant_id] = await read_grant(context, item.grant_id)
        except NotFound:
            continue
    done = await apply_stale_access(
        body, context.caller, context.session, context.snapshot, context.request, dry_run
    )
    after: dict[UUID, Any] = {one.grant_id: one.grant for one in done.items if one.grant is not None}
    if dry_run:
        after = await _proposed(context, body)
    ids = [id for one in before.values() for id in ids_to_name(one.principal, one.servers)]
    ids += [id for one in after.values() for id in getattr(one.servers, "ids", ())[:MAX_IDS]]
    names = await context.names(ids)
    return [_result(one, before.get(one.grant_id), after.get(one.grant_id), names) for one in done.items]


async def _proposed(context: PageContext, body: StaleApply) -> dict[UUID, Any]:
    """What each of the grants would be narrowed to."""
    ids = [item.grant_id for item in body.items]
    asked = StaleQuery(unused_for_days=body.unused_for_days, kind=["grant"], grant_id=ids, limit=len(ids))
    report = await list_stale_access(
        asked, context.caller, context.session, context.runtime, context.snapshot
    )
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
    dependencies=[may_open(Permission.GRANTS_READ)],
    operation_id="page_ask_narrow_grant",
)
async def ask_narrow(grant_id: GrantId) -> Response:
    """Redirect to the grant's page, which shows the proposal."""
    return redirect(f"{HOME}/{format_id(GRANT, grant_id)}")


@router.post(f"{HOME}/{{grant_id}}/narrow", operation_id="page_narrow_grant")
async def narrow(
    sent: Annotated[Submission, may_submit(Permission.GRANTS_WRITE)], grant_id: GrantId
) -> Response:
    """Narrow a grant if the proposal is unchanged since it was shown, and show the result."""
    item = {"grant_id": grant_id, "proposal_digest": sent.form.text("digest")}
    body = validate(StaleApply, {"unused_for_days": UNUSED_DAYS, "items": [item]})
    [result] = await _apply(sent, body, dry_run=False)
    if result.outcome == "not_found":
        raise NotFound("There is no such grant.")
    reached: GrantPreview | None = None
    if result.outcome == "narrowed":
        now = await read_grant(sent, grant_id)
        reached = await preview_reach(sent, now)
    return sent.page(
        "grants/narrowed.html",
        status=409 if result.outcome == "changed" else 200,
        it=result,
        reached=reached,
        changed=_CHANGED,
        link=link,
    )
