"""Grants: the list with what of them nobody used, one grant with what it reaches and what of it was used, its end."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import AsShown, attempted, first_page, next_page, read_query
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.grant_words import (
    NOTE_WORDS,
    ids_of,
    link,
    words_of_right,
    words_of_servers,
    words_of_tools,
)
from app.adapters.console.pages.principals import MOST_FOUND, find_principals, find_server
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.features.access.routes import list_stale_access
from app.features.access.unused_schemas import StaleGrantView, StaleQuery
from app.features.audit.names import names_of
from app.features.grants import routes as grants
from app.features.grants.preview_routes import GrantPreview, GrantPreviewRequest, preview_grant
from app.features.grants.schemas import GrantQuery, GrantView
from app.http.authorization import Permission
from app.http.pagination import Page
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import GrantId

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
        found = await grants.list_grants(wanted, viewer.caller, session, runtime)
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
    include: Any = "ended" if viewer.may("audit.read") else None
    return await grants.get_grant(grant_id, viewer.caller, session, runtime, Response(), include)


async def preview_of(
    right: Any, viewer: Viewer, session: AsyncSession, snapshot: AccessSnapshot
) -> GrantPreview:
    """What the ``servers`` and ``tools`` of a right reach now."""
    asked = GrantPreviewRequest(servers=right.servers, tools=right.tools)
    return await preview_grant(asked, viewer.caller, session, snapshot)


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
        await grants.delete_grant(grant_id, viewer.caller, session, runtime, request, shown)
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
    grant = await grants.get_grant(grant_id, viewer.caller, session, runtime, Response(), None)
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
