"""Grants: the list, one grant with its reach and use, narrowing grants to what was used, and ending one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.display import ERASED
from app.adapters.console.forms import Form, Problems, validate, whole_number
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.principals import MAX_FOUND, find_principals, find_server
from app.domain.errors import Invalid, NotFound
from app.domain.risk import Risk
from app.features.access.unused import apply_proposals, list_unused
from app.features.access.unused_schemas import (
    AppliedView,
    NarrowingNote,
    StaleApply,
    StaleGrantView,
    StaleQuery,
)
from app.features.grants import service as grants
from app.features.grants.schemas import GrantPreview, GrantPreviewRequest, GrantQuery, GrantView, Principal
from app.http import selectors
from app.http.authorization import Permission
from app.http.pagination import Page
from app.lib.ids import GRANT, GrantId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_PAGE = 25
_MAX_FORM_BYTES = 32 * 1024
_DAYS = ("30", "60", "90", "180", "365")
_CHANGED = "The grant was changed or used since the page was shown. Review it again."
Names = Mapping[UUID, str]
_MAX_NAMED = 3
MAX_IDS = _MAX_NAMED + 1
"""The maximum number of ids in a list that a description names."""
RISK_WORDS = {
    Risk.READ: "only read",
    Risk.WRITE: "change something",
    Risk.DESTRUCTIVE: "destroy something",
    Risk.UNKNOWN: "have no known risk",
}
NOTE_WORDS: dict[NarrowingNote, str] = {
    "new_servers_excluded": "Servers that are registered later are excluded.",
    "labels_no_longer_matched": "Servers are named, so they stay included when their labels change.",
    "new_tools_excluded": "Tools that are added later are excluded.",
    "risks_no_longer_matched": "Tools are named, so they stay included when their risk changes.",
}
"""Consequences of a narrowing beyond what is reachable today."""
HOME = "/console/grants"
STALE = f"{HOME}/stale"
UNUSED_DAYS = 60
"""The days without use after which the list marks a grant."""
_EXPIRING = {"7": "within 7 days", "30": "within 30 days", "90": "within 90 days"}
_DONE = {
    "created": "The grant was created. It applies now, or from its start time.",
    "updated": "The grant was changed. Tokens in use follow it immediately.",
    "ended": "The grant was revoked. No call depends on it any more.",
}
Reader = Annotated[PageContext, may_open(Permission.GRANTS_READ)]
Writer = Annotated[PageContext, may_open(Permission.GRANTS_WRITE)]
Written = Annotated[Submission, may_submit(Permission.GRANTS_WRITE)]


def listed(words: Sequence[str], more: str, joined: str = "and") -> str:
    """Join words as a list, shortened if there are many; ``more`` is the noun for the remaining ones."""
    if len(words) > MAX_IDS:
        left = len(words) - _MAX_NAMED
        words = [*words[:_MAX_NAMED], f"{left} more {more}"]
    return f" {joined} ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else f"no {more}"


def describe_servers(selector: selectors.ServerSelectorModel, names: Names) -> str:
    """Describe which servers."""
    match selector:
        case selectors.AllServersModel():
            return "every server"
        case selectors.ServersByIdsModel():
            return listed([names.get(id, "a server that has ended") for id in selector.ids], "servers")
        case selectors.ServersByLabelsModel():
            labels = [f"{key}={value}" for key, value in sorted(selector.labels.items())]
            return f"servers labelled {listed(labels, 'labels')}" if labels else "no servers"


def describe_tools(selector: selectors.ToolSelectorModel) -> str:
    """Describe which tools."""
    match selector:
        case selectors.AllToolsModel():
            return "every tool"
        case selectors.ToolsByNamesModel():
            return listed(list(selector.names), "tools")
        case selectors.ToolsByRiskModel():
            risks = [RISK_WORDS[risk] for risk in Risk if risk in selector.risk]
            return f"tools that {listed(risks, 'tools', 'or')}" if risks else "no tools"


def describe_access(right: Any, names: Names) -> str:
    """Describe an object with ``servers``, ``tools``, ``resources`` and ``prompts``."""
    parts = [part for part in ("resources", "prompts") if getattr(right, part)]
    tools = describe_tools(right.tools)
    also = f", with {' and '.join(parts)}" if parts else ""
    return f"{tools} on {describe_servers(right.servers, names)}{also}"


def describe_scope(
    scope: selectors.TokenScopeModel, names: Names, everything: str, max_lines: int | None = None
) -> list[str]:
    """Describe a token's scope, one line for each entry; ``everything`` stands for the scope ``grants``."""
    if isinstance(scope, selectors.GrantsScopeModel):
        return [everything]
    lines = [describe_access(entry, names) for entry in scope.entries[:max_lines]]
    if len(lines) < len(scope.entries):
        lines.append(f"and {len(scope.entries) - len(lines)} more entries")
    return lines or ["nothing"]


def scope_servers(scope: selectors.TokenScopeModel) -> set[UUID]:
    """The ids of the servers that a scope names."""
    return {id for _, id in selectors.servers_named_by_scope(scope, "")}


def ids_to_name(principal: Principal, servers: selectors.ServerSelectorModel) -> Iterable[UUID]:
    """The ids whose names the description of a grant needs."""
    yield principal.id
    if isinstance(servers, selectors.ServersByIdsModel):
        yield from servers.ids[:MAX_IDS]


@dataclass(frozen=True, slots=True)
class Line:
    """A grant in the list; ``use`` is its usage report, if it was active long enough."""

    it: GrantView
    who: str
    servers: str
    tools: str
    use: StaleGrantView | None


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
    return context.page(
        "grants/list.html",
        lines=await _lines(context, found.items),
        asked=asked | {"status": context.param("status")},
        notes=notes,
        expiring=list(_EXPIRING.items()),
        done=_DONE,
        days=UNUSED_DAYS,
        **context.pager(found.next_cursor),
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
            notes.append(
                f"Many names match {asked['who']}. The list shows the grants of {MAX_FOUND} of them."
            )
    if asked["server"]:
        server = await find_server(context, asked["server"])
        if server is None:
            return None, []
        more["server_id"] = [server.id]
        if server.slug != asked["server"]:
            notes.append(f"The list shows the grants that reach the server {server.slug}.")
    if asked["expiring"] in _EXPIRING:
        # A whole day, so that the next page has the same filter.
        today = context.now.replace(hour=0, minute=0, second=0, microsecond=0)
        more["expires_before"] = today + timedelta(days=int(asked["expiring"]) + 1)
        more["sort"] = "expires_at"
        if not context.param("status"):
            more["status"] = ["active", "scheduled"]
    return context.query(GrantQuery, limit=_PAGE, **more), notes


async def _lines(context: PageContext, found: list[GrantView]) -> list[Line]:
    names = await context.names([id for one in found for id in ids_to_name(one.principal, one.servers)])
    judged = [one.id for one in found if one.status == "active"]
    uses = await read_usage(context, judged, state=["unused", "partly_used", "in_use"])
    return [
        Line(
            one,
            names.get(one.principal.id, ERASED),
            describe_servers(one.servers, names),
            describe_tools(one.tools),
            uses.get(one.id),
        )
        for one in found
    ]


async def read_usage(
    context: PageContext, ids: list[UUID], *, days: int = UNUSED_DAYS, **filters: Any
) -> dict[UUID, StaleGrantView]:
    """The usage reports of these grants, by grant id."""
    if not ids:
        return {}
    asked = StaleQuery(unused_for_days=days, kind=["grant"], grant_id=ids, limit=len(ids), **filters)
    report = await list_unused(context.session, context.caller, context.snapshot, asked, context.runtime)
    return {one.grant_id: one for one in report.items if isinstance(one, StaleGrantView)}


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one grant; ``before`` and ``after`` describe its access (``None``: unchanged or none)."""

    grant_id: UUID
    who: str
    outcome: str
    before: str
    after: str | None


@router.get(STALE, operation_id="page_list_stale_grants")
async def stale_page(context: Reader) -> Response:
    """List grants that are partly or entirely unused, with a proposal for each."""
    more: dict[str, Any] = {"kind": ["grant"]}
    if not context.param("unused_for_days"):
        more["unused_for_days"] = UNUSED_DAYS
    wanted = context.query(StaleQuery, limit=_PAGE, **more)
    report = await list_unused(context.session, context.caller, context.snapshot, wanted, context.runtime)
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
        return await stale_page(sent)
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


async def _apply(sent: Submission, body: StaleApply, *, dry_run: bool) -> list[Result]:
    """Apply proposals; ``before`` describes each grant as of the proposal's revision."""
    before = {}
    for item in body.items:
        try:
            before[item.grant_id] = await read_grant(sent, item.grant_id)
        except NotFound:
            continue
    done = await apply_proposals(sent.change, sent.snapshot, body, dry_run=dry_run)
    after: dict[UUID, Any] = {one.grant_id: one.grant for one in done.items if one.grant is not None}
    if dry_run:
        ids = [item.grant_id for item in body.items]
        reports = await read_usage(sent, ids, days=body.unused_for_days)
        after = {
            id: one.proposal
            for id, one in reports.items()
            if one.proposal is not None and one.proposal.action == "narrow"
        }
    named = [id for one in before.values() for id in ids_to_name(one.principal, one.servers)]
    named += [id for one in after.values() for id in getattr(one.servers, "ids", ())[:MAX_IDS]]
    names = await sent.names(named)
    return [_result(one, before.get(one.grant_id), after.get(one.grant_id), names) for one in done.items]


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
async def narrow(sent: Written, grant_id: GrantId) -> Response:
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
    )


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
    names = await context.names(_all_ids(grant, use))
    return context.page(
        "grants/show.html",
        it=grant,
        who=names.get(grant.principal.id, ERASED),
        names=names,
        tools=describe_tools(grant.tools),
        servers=describe_servers(grant.servers, names),
        reached=reached,
        use=use,
        becomes=describe_proposal(use, names),
        notes=NOTE_WORDS,
        days=UNUSED_DAYS,
        done=_DONE,
    )


def describe_proposal(use: StaleGrantView | None, names: dict[Any, str]) -> str | None:
    """Describe the proposed narrowing; ``None`` if there is none or the proposal is to end the grant."""
    if use is None or use.proposal is None or use.proposal.action == "end":
        return None
    return describe_access(use.proposal, names)


def _all_ids(grant: GrantView, use: StaleGrantView | None) -> list[Any]:
    ids = [grant.principal.id, *getattr(grant.servers, "ids", ())]
    if use is not None:
        ids += [one.server_id for one in use.used]
        ids += [one.server_id for one in use.unused]
        if use.proposal is not None and use.proposal.action == "narrow":
            ids += getattr(use.proposal.servers, "ids", ())
    return ids


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
    names = await context.names(_all_ids(grant, None))
    reached = await preview_reach(context, grant)
    return context.page(
        "grants/end.html",
        it=grant,
        who=names.get(grant.principal.id, ERASED),
        right=describe_access(grant, names),
        reached=reached,
    )


@router.post(f"{HOME}/{{grant_id}}/end", operation_id="page_end_grant")
async def end(sent: Written, grant_id: GrantId) -> Response:
    """End a grant at the revision that was shown."""
    async with sent.attempt():
        await grants.end_grant(sent.change, grant_id, sent.shown)
    if sent.problems:
        return await ask_end(sent, grant_id)
    return redirect(f"{HOME}?done=ended")
