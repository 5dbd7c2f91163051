"""Grants: the list with what of them nobody used, one grant with what it reaches and what of it was used, its end.

Grants in words: who can use which tools on which servers, and the addresses of what they name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import AsShown, attempted, first_page, next_page, read_query
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.principals import MOST_FOUND, find_principals, find_server
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.domain.risk import Risk
from app.features.access.routes import list_stale_access
from app.features.access.unused_schemas import NarrowingNote, StaleGrantView, StaleQuery
from app.features.audit.names import names_of
from app.features.audit.schemas import show_id
from app.features.grants import service as grants
from app.features.grants.schemas import GrantPreview, GrantPreviewRequest, GrantQuery, GrantView, Principal
from app.http.authorization import Permission
from app.http.pagination import Page
from app.http.runtime import CurrentRuntime, Runtime
from app.http.selectors import (
    AllServersModel,
    AllToolsModel,
    ServersByIdsModel,
    ServersByLabelsModel,
    ServerSelectorModel,
    ToolsByNamesModel,
    ToolsByRiskModel,
    ToolSelectorModel,
)
from app.http.transaction import Session
from app.lib.ids import GrantId

Names = Mapping[UUID, str]
_MOST_NAMED = 3
MOST_IDS = _MOST_NAMED + 1
"""How many of a list words can name."""
ROOMS = {
    "approval": "approvals",
    "audit_event": "audit",
    "grant": "grants",
    "group": "groups",
    "identity": "identities",
    "policy": "policies",
    "server": "servers",
    "token": "tokens",
    "tool": "tools",
}
"""Where the pages of each kind of object are, under ``/console``."""
RISK_WORDS = {
    Risk.READ: "only read",
    Risk.WRITE: "change something",
    Risk.DESTRUCTIVE: "destroy something",
    Risk.UNKNOWN: "have no known risk",
}
NOTE_WORDS: dict[NarrowingNote, str] = {
    "new_servers_excluded": "Servers that are registered later are left out.",
    "labels_no_longer_matched": "Servers are named, so they stay within reach whatever labels they carry later.",
    "new_tools_excluded": "Tools that come later are left out.",
    "risks_no_longer_matched": "Tools are named, so they stay within reach whatever their risk becomes.",
}
"""What else changes with a narrowing than what is within reach today."""


def link(kind: str, id: UUID) -> str:
    """The page of an object."""
    return f"/console/{ROOMS[kind]}/{show_id(kind, id)}"


def listed(words: Sequence[str], more: str, joined: str = "and") -> str:
    """Some words as people list them, the first few when there are many; ``more`` says what the others are."""
    if len(words) > MOST_IDS:
        left = len(words) - _MOST_NAMED
        words = [*words[:_MOST_NAMED], f"{left} more {more}"]
    return f" {joined} ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else f"no {more}"


def words_of_servers(selector: ServerSelectorModel, names: Names) -> str:
    """Which servers, in a few words."""
    match selector:
        case AllServersModel():
            return "every server"
        case ServersByIdsModel():
            return listed([names.get(id, "a server that has ended") for id in selector.ids], "servers")
        case ServersByLabelsModel():
            labels = [f"{key}={value}" for key, value in sorted(selector.labels.items())]
            return f"servers labelled {listed(labels, 'labels')}" if labels else "no servers"


def words_of_tools(selector: ToolSelectorModel) -> str:
    """Which tools, in a few words."""
    match selector:
        case AllToolsModel():
            return "every tool"
        case ToolsByNamesModel():
            return listed(list(selector.names), "tools")
        case ToolsByRiskModel():
            risks = [RISK_WORDS[risk] for risk in Risk if risk in selector.risk]
            return f"tools that {listed(risks, 'tools', 'or')}" if risks else "no tools"


def words_of_right(right: Any, names: Names) -> str:
    """What something with ``servers``, ``tools``, ``resources`` and ``prompts`` gives, in a few words."""
    parts = [part for part in ("resources", "prompts") if getattr(right, part)]
    tools = words_of_tools(right.tools)
    also = f", with {' and '.join(parts)}" if parts else ""
    return f"{tools} on {words_of_servers(right.servers, names)}{also}"


def ids_of(principal: Principal, servers: ServerSelectorModel) -> Iterable[UUID]:
    """The ids that the words of a grant need names for: its principal's, and of the servers that are named."""
    yield principal.id
    if isinstance(servers, ServersByIdsModel):
        yield from servers.ids[:MOST_IDS]


HOME = "/console/grants"
UNUSED_DAYS = 60
"""How long something is not used until the list says so."""
_PAGE = 25
_EXPIRING = {"7": "within 7 days", "30": "within 30 days", "90": "within 90 days"}
_DONE = {
    "created": "The grant is in force, unless it begins later.",
    "updated": "The grant was changed. Tokens in use follow it at once.",
    "ended": "The grant has ended. No call rests on it any more.",
}
router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Line:
    """A grant as the list shows it; ``use`` is what is known of its use, if it is in force for long enough."""

    it: GrantView
    who: str
    servers: str
    tools: str
    use: StaleGrantView | None


@router.get(HOME, operation_id="page_list_grants")
async def list_page(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.GRANTS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Grants, newest first, with what of each nobody used for long."""
    asked = {name: request.query_params.get(name, "").strip() for name in ("q", "who", "server", "expiring")}
    wanted, notes = await _wanted(request, asked, viewer, session, runtime)
    found = Page[GrantView](items=[], next_cursor=None)
    if wanted is not None:
        found = GrantView.page(
            *await grants.list_grants(session, viewer.caller, wanted, runtime), runtime.clock()
        )
    return page(
        request,
        "grants/list.html",
        viewer=viewer,
        lines=await _lines(found.items, viewer, session, runtime, snapshot),
        asked=asked | {"status": request.query_params.get("status", "")},
        filtered=any(
            name not in ("cursor", "done") and value for name, value in request.query_params.items()
        ),
        notes=notes,
        expiring=list(_EXPIRING.items()),
        done=_DONE.get(request.query_params.get("done", "")),
        days=UNUSED_DAYS,
        link=link,
        more=next_page(request, found.next_cursor),
        first=first_page(request),
    )


async def _wanted(
    request: Request, asked: dict[str, str], viewer: Viewer, session: AsyncSession, runtime: Runtime
) -> tuple[GrantQuery | None, list[str]]:
    """What the filters ask for, ``None`` for what there cannot be, and what to say of how they were read."""
    more: dict[str, Any] = {}
    notes = []
    if asked["who"]:
        people, groups = await find_principals(asked["who"], viewer, session, runtime)
        if not people and not groups:
            return None, []
        more["identity_id"] = [one.id for one in people]
        more["group_id"] = [one.id for one in groups]
        if MOST_FOUND in (len(people), len(groups)):
            notes.append(
                f"Many have {asked['who']} in their name: these are the grants of {MOST_FOUND} of them."
            )
    if asked["server"]:
        server = await find_server(asked["server"], viewer, session, runtime)
        if server is None:
            return None, []
        more["server_id"] = [server.id]
        if server.slug != asked["server"]:
            notes.append(f"These are the grants that reach the server {server.slug}.")
    if asked["expiring"] in _EXPIRING:
        # A whole day, so that the next page asks for the same.
        today = runtime.clock().replace(hour=0, minute=0, second=0, microsecond=0)
        more["expires_before"] = today + timedelta(days=int(asked["expiring"]) + 1)
        more["sort"] = "expires_at"
        if not request.query_params.get("status"):
            more["status"] = ["active", "scheduled"]
    return read_query(GrantQuery, request, limit=_PAGE, **more), notes


async def _lines(
    found: list[GrantView], viewer: Viewer, session: AsyncSession, runtime: Runtime, snapshot: AccessSnapshot
) -> list[Line]:
    names = await names_of(session, [id for one in found for id in ids_of(one.principal, one.servers)])
    judged = [one for one in found if one.status == "active"]
    uses = await uses_of(
        judged, viewer, session, runtime, snapshot, states=["unused", "partly_used", "in_use"]
    )
    return [
        Line(
            one,
            names.get(one.principal.id, "somebody who was erased"),
            words_of_servers(one.servers, names),
            words_of_tools(one.tools),
            uses.get(one.id),
        )
        for one in found
    ]


async def uses_of(
    found: list[GrantView],
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    snapshot: AccessSnapshot,
    *,
    states: list[Any],
) -> dict[Any, StaleGrantView]:
    """What the report on stale access says of these grants, by id."""
    if not found:
        return {}
    asked = StaleQuery(
        unused_for_days=UNUSED_DAYS, kind=["grant"], state=states,
        grant_id=[one.id for one in found], limit=len(found),
    )  # fmt: skip
    report = await list_stale_access(asked, viewer.caller, session, runtime, snapshot)
    return {one.grant_id: one for one in report.items if isinstance(one, StaleGrantView)}


@router.get(f"{HOME}/{{grant_id}}", operation_id="page_show_grant")
async def show_page(
    grant_id: GrantId,
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.GRANTS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """One grant: what it says, what it reaches now, and what of that was used."""
    grant = await read_grant(grant_id, viewer, session, runtime)
    use, reached = None, None
    if grant.status == "active":
        states = ["unused", "partly_used", "in_use", "unknown"]
        use = (await uses_of([grant], viewer, session, runtime, snapshot, states=states)).get(grant.id)
    if grant.status != "ended":
        reached = await preview_of(grant, viewer, session, snapshot)
    names = await names_of(session, _all_ids(grant, use))
    return page(
        request,
        "grants/show.html",
        viewer=viewer,
        it=grant,
        who=names.get(grant.principal.id, "Somebody who was erased"),
        names=names,
        tools=words_of_tools(grant.tools),
        servers=words_of_servers(grant.servers, names),
        reached=reached,
        use=use,
        becomes=proposed(use, names),
        notes=NOTE_WORDS,
        days=UNUSED_DAYS,
        link=link,
        done=_DONE.get(request.query_params.get("done", "")),
    )


def proposed(use: StaleGrantView | None, names: dict[Any, str]) -> str | None:
    """What the report proposes that a grant becomes, in words; ``None``: nothing, or that it ends."""
    if use is None or use.proposal is None or use.proposal.action == "end":
        return None
    return words_of_right(use.proposal, names)


def _all_ids(grant: GrantView, use: StaleGrantView | None) -> list[Any]:
    ids = [grant.principal.id, *getattr(grant.servers, "ids", ())]
    if use is not None:
        ids += [one.server_id for one in use.used]
        ids += [one.server_id for one in use.unused]
        if use.proposal is not None and use.proposal.action == "narrow":
            ids += getattr(use.proposal.servers, "ids", ())
    return ids


async def read_grant(grant_id: Any, viewer: Viewer, session: AsyncSession, runtime: Runtime) -> GrantView:
    """The grant, an ended one to those who audit. Raises ``NotFound``."""
    grant = await grants.get_grant(session, viewer.caller, grant_id, ended=viewer.may("audit.read"))
    return await grants.show(session, viewer.caller, grant, runtime.clock())


async def preview_of(
    right: Any, viewer: Viewer, session: AsyncSession, snapshot: AccessSnapshot
) -> GrantPreview:
    """What the ``servers`` and ``tools`` of a right reach now."""
    asked = GrantPreviewRequest(servers=right.servers, tools=right.tools)
    return await grants.preview(session, viewer.caller, snapshot, asked)


@router.get(f"{HOME}/{{grant_id}}/end", operation_id="page_ask_end_grant")
async def ask_end(
    grant_id: GrantId,
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.GRANTS_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """What ends with a grant, and the form that ends it."""
    return await _ending(grant_id, request, viewer, session, runtime, snapshot)


@router.post(f"{HOME}/{{grant_id}}/end", operation_id="page_end_grant")
async def end(
    grant_id: GrantId,
    request: Request,
    submission: Annotated[Submission, submitted(Permission.GRANTS_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """End a grant, as it was shown."""
    viewer = submission.viewer
    shown = AsShown.by(submission.form)
    async with attempted(session) as attempt:
        await grants.end_grant(submission.change, grant_id, shown)
    if attempt.problems:
        return await _ending(grant_id, request, viewer, session, runtime, snapshot, attempt.problems)
    return redirect(f"{HOME}?done=ended")


async def _ending(
    grant_id: Any,
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    snapshot: AccessSnapshot,
    problems: Any = None,
) -> Response:
    row = await grants.get_grant(session, viewer.caller, grant_id)
    grant = GrantView.from_row(row, runtime.clock())
    names = await names_of(session, _all_ids(grant, None))
    reached = await preview_of(grant, viewer, session, snapshot)
    return page(
        request,
        "grants/end.html",
        viewer=viewer,
        status=200 if problems is None else problems.status,
        it=grant,
        who=names.get(grant.principal.id, "Somebody who was erased"),
        right=words_of_right(grant, names),
        reached=reached,
        problems=problems,
        link=link,
    )
