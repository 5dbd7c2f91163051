"""Grants: the list, one grant with its reach and use, narrowing grants to what was used, and ending one."""

from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import ERASED, MAX_IDS, link
from app.adapters.console.forms import validate, whole_number
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.principals import MAX_FOUND, find_principals, find_server
from app.domain.errors import Invalid, NotFound
from app.features.access.unused import apply_proposals, list_unused
from app.features.access.unused_schemas import NarrowProposal, StaleApply, StaleGrantView, StaleQuery
from app.features.grants import service as grants
from app.features.grants.schemas import GrantPreview, GrantPreviewRequest, GrantQuery, GrantView
from app.http.authorization import Permission
from app.http.pagination import Page
from app.lib.ids import GrantId

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_PAGE = 25
_MAX_FORM_BYTES = 32 * 1024
_CHANGED = "The grant was changed or used since the page was shown. Review it again."
HOME = "/console/grants"
STALE = f"{HOME}/stale"
UNUSED_DAYS = 60
"""The days without use after which the list marks a grant."""
_EXPIRING = ("7", "30", "90")
_DONE = {
    "created": "The grant was created. It applies now, or from its start time.",
    "updated": "The grant was changed. Tokens in use follow it immediately.",
    "ended": "The grant was revoked. No call depends on it any more.",
}
Reader = Annotated[PageContext, may_open(Permission.GRANTS_READ)]
Writer = Annotated[PageContext, may_open(Permission.GRANTS_WRITE)]
Written = Annotated[Submission, may_submit(Permission.GRANTS_WRITE)]


@router.get(HOME, operation_id="page_list_grants")
async def list_page(context: Reader) -> Response:
    """List grants, newest first, with their unused access."""
    asked = {name: context.param(name) for name in ("q", "who", "server", "expiring")}
    wanted, notes = await _wanted(context, asked)
    found = Page[GrantView](items=[], next_cursor=None)
    if wanted is not None:
        found = GrantView.page(
            *await grants.list_grants(context.session, context.caller, wanted, context.runtime), context.now
        )
    judged = [one.id for one in found.items if one.status == "active"]
    uses = await read_usage(context, judged, state=["unused", "partly_used", "in_use"])
    asked["status"], names = context.param("status"), await context.names(*found.items, first=MAX_IDS)
    return await context.page(
        "grants/list.html",
        found,
        names=names,
        uses=uses,
        asked=asked,
        notes=notes,
        done=_DONE,
        days=UNUSED_DAYS,
    )


async def _wanted(context: PageContext, asked: dict[str, str]) -> tuple[GrantQuery | None, list[str]]:
    """The query for the filters, ``None`` if nothing can match, and notes on how they were read."""
    more: dict[str, Any] = {}
    notes = []
    if asked["who"]:
        people, groups = await find_principals(context, asked["who"])
        if not people and not groups:
            return None, []
        more["identity_id"] = [one.id for one in people]
        more["group_id"] = [one.id for one in groups]
        if MAX_FOUND in (len(people), len(groups)):
            shown = f"The list shows the grants of {MAX_FOUND} of them."
            notes.append(f"Many names match {asked['who']}. {shown}")
    if asked["server"]:
        server = await find_server(context, asked["server"])
        if server is None:
            return None, []
        more["server_id"] = [server.id]
        if server.slug != asked["server"]:
            notes.append(f"The list shows the grants that reach the server {server.slug}.")
    if asked["expiring"] in _EXPIRING:
        more |= {"expires_before": context.day_end(int(asked["expiring"])), "sort": "expires_at"}
        if not context.param("status"):
            more["status"] = ["active", "scheduled"]
    return context.query(GrantQuery, limit=_PAGE, **more), notes


async def read_usage(
    context: PageContext, ids: list[UUID], *, days: int = UNUSED_DAYS, **filters: Any
) -> dict[UUID, StaleGrantView]:
    """The usage reports of these grants, by grant id."""
    if not ids:
        return {}
    asked = StaleQuery(unused_for_days=days, kind=["grant"], grant_id=ids, limit=len(ids), **filters)
    report = await list_unused(context.session, context.caller, context.snapshot, asked, context.runtime)
    return {one.grant_id: one for one in report.items if isinstance(one, StaleGrantView)}


@router.get(STALE, operation_id="page_list_stale_grants")
async def stale_page(context: Reader) -> Response:
    """List grants that are partly or entirely unused, with a proposal for each."""
    days = {} if context.param("unused_for_days") else {"unused_for_days": UNUSED_DAYS}
    wanted = context.query(StaleQuery, limit=_PAGE, kind=["grant"], **days)
    report = await list_unused(context.session, context.caller, context.snapshot, wanted, context.runtime)
    found = [one for one in report.items if isinstance(one, StaleGrantView) and one.proposal is not None]
    names, state = await context.names(*found, first=MAX_IDS), context.param("state")
    pager = context.pager(report.next_cursor)
    return await context.page(
        "grants/stale.html", found=found, names=names, days=wanted.unused_for_days, state=state, **pager
    )


@router.post(STALE, operation_id="page_apply_stale_grants")
@on_refusal(stale_page)
async def apply_page(
    sent: Annotated[Submission, may_submit(Permission.GRANTS_WRITE, max_bytes=_MAX_FORM_BYTES)],
) -> Response:
    """Preview what becomes of the selected grants, or apply the previewed proposals."""
    form = sent.form
    items = [one.partition(" ") for one in form.texts("item")]
    if not items:
        raise Invalid("Choose at least one grant.")
    days = whole_number(form.text("unused_for_days") or str(UNUSED_DAYS))
    chosen = [{"grant_id": id, "proposal_digest": digest} for id, _, digest in items]
    body = validate(StaleApply, {"unused_for_days": days, "items": chosen})
    dry_run = form.text("do") != "apply"
    applied = await _apply(sent, body, dry_run=dry_run)
    return await sent.page("grants/applied.html", dry_run=dry_run, days=body.unused_for_days, **applied)


async def _apply(sent: Submission, body: StaleApply, *, dry_run: bool) -> dict[str, Any]:
    """Apply proposals. ``before`` has the grants as of the proposals' revisions, ``after`` their changed access."""
    before = {}
    for item in body.items:
        with suppress(NotFound):
            before[item.grant_id] = await read_grant(sent, item.grant_id)
    done = await apply_proposals(sent.change, sent.snapshot, body, dry_run=dry_run)
    after: dict[UUID, Any] = {one.grant_id: one.grant for one in done.items if one.grant is not None}
    if dry_run:
        ids = [item.grant_id for item in body.items]
        reports = await read_usage(sent, ids, days=body.unused_for_days)
        after = {id: one.proposal for id, one in reports.items() if isinstance(one.proposal, NarrowProposal)}
    after = {one.grant_id: after.get(one.grant_id) for one in done.items if one.outcome == "narrowed"}
    names = await sent.names(*before.values(), *after.values(), first=MAX_IDS)
    return {"results": done.items, "before": before, "after": after, "names": names, "changed": _CHANGED}


@router.get(f"{HOME}/{{grant_id}}/narrow", operation_id="page_ask_narrow_grant")
async def ask_narrow(_: Reader, grant_id: GrantId) -> Response:
    """Redirect to the grant's page, which shows the proposal."""
    return redirect(link("grant", grant_id))


@router.post(f"{HOME}/{{grant_id}}/narrow", operation_id="page_narrow_grant")
async def narrow(sent: Written, grant_id: GrantId) -> Response:
    """Narrow a grant if the proposal is unchanged since it was shown, and show the result."""
    item = {"grant_id": grant_id, "proposal_digest": sent.form.text("digest")}
    body = validate(StaleApply, {"unused_for_days": UNUSED_DAYS, "items": [item]})
    applied = await _apply(sent, body, dry_run=False)
    [result] = applied["results"]
    if result.outcome == "not_found":
        raise NotFound("There is no such grant.")
    reached = None
    if result.outcome == "narrowed":
        reached = await preview_reach(sent, await read_grant(sent, grant_id))
    status = 409 if result.outcome == "changed" else 200
    return await sent.page("grants/narrowed.html", status=status, it=result, reached=reached, **applied)


@router.get(f"{HOME}/{{grant_id}}", operation_id="page_show_grant")
async def show_page(context: Reader, grant_id: GrantId) -> Response:
    """Show a grant: its content, its reach now, and its use."""
    grant = await read_grant(context, grant_id)
    use, reached = None, None
    if grant.status == "active":
        states = ["unused", "partly_used", "in_use", "unknown"]
        use = (await read_usage(context, [grant.id], state=states)).get(grant.id)
    if grant.status != "ended":
        reached = await preview_reach(context, grant)
    who = await context.name(grant.principal.id, ERASED)
    return await context.page(
        "grants/show.html", it=grant, who=who, reached=reached, use=use, days=UNUSED_DAYS, done=_DONE
    )


async def read_grant(context: PageContext, grant_id: Any) -> GrantView:
    """Read a grant, including an ended one for auditors. Raises ``NotFound``."""
    grant = await grants.get_grant(context.session, context.caller, grant_id, ended=context.may("audit.read"))
    return await grants.show(context.session, context.caller, grant, context.now)


async def preview_reach(context: PageContext, right: Any) -> GrantPreview:
    """What the ``servers`` and ``tools`` of an object reach now."""
    asked = GrantPreviewRequest(servers=right.servers, tools=right.tools)
    return await grants.preview(context.session, context.caller, context.snapshot, asked)


@router.get(f"{HOME}/{{grant_id}}/end", operation_id="page_ask_end_grant")
async def ask_end(context: Writer, grant_id: GrantId) -> Response:
    """Show what ends with a grant, and the form that ends it."""
    row = await grants.get_grant(context.session, context.caller, grant_id)
    grant = GrantView.from_row(row, context.now)
    who, reached = await context.name(grant.principal.id, ERASED), await preview_reach(context, grant)
    return await context.page("grants/end.html", it=grant, who=who, reached=reached)


@router.post(f"{HOME}/{{grant_id}}/end", operation_id="page_end_grant")
@on_refusal(ask_end)
async def end(sent: Written, grant_id: GrantId) -> Response:
    """End a grant at the revision that was shown."""
    await grants.end_grant(sent.change, grant_id, sent.shown)
    return redirect(f"{HOME}?done=ended")
