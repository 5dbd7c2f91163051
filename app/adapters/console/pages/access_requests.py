"""Access requests: the servers that can be requested, the form, and the viewer's earlier requests."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.forms import Form, validate
from app.adapters.console.menu import MY_ACCESS
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.approvals import build_rows, gravest
from app.adapters.console.pages.principals import format_name
from app.domain.errors import Invalid
from app.features.approvals.queries import require_requestable
from app.features.approvals.schemas import AccessRequest, ApprovalQuery, RequestableQuery, RequestableServer
from app.features.approvals.service import MAX_DURATION, ask_for_access, list_approvals
from app.features.identities.schemas import IdentityView, OwnAgentQuery
from app.features.me.routes import list_own_agents, list_requestable_servers
from app.http.authorization import Permission
from app.http.pagination import MAXIMUM_LIMIT
from app.lib.ids import APPROVAL, IDENTITY, SERVER, ServerId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_LIST = f"{MY_ACCESS}/request"
_FORM = f"{_LIST}/{{server_id}}"
_PAGE = 10
_EARLIER = 10
_PRESETS = (7, 30, 90)
_USUAL = "30"
# The form names each selected tool, of which there can be some hundred.
_MAX_FORM_BYTES = 256 * 1024
Reader = Annotated[PageContext, may_open(Permission.SELF_READ)]


@router.get(_LIST, operation_id="page_request_access")
async def show_list(context: Reader) -> Response:
    """List the servers that can be requested, and earlier requests."""
    query = context.query(RequestableQuery, limit=_PAGE)
    found = await list_requestable_servers(query, context.session, context.runtime)
    servers = [(one, gravest([tool.risk for tool in one.tools])) for one in found.items]
    return context.page(
        "my_access/request.html",
        servers=servers,
        q=query.q,
        asked=await _asked_before(context),
        **context.pager(found.next_cursor),
    )


@router.get(_FORM, operation_id="page_request_server")
async def show_form(context: Reader, server_id: ServerId) -> Response:
    """Show the form that requests access to a server."""
    return await _show(context, await require_requestable(context.session, server_id))


@router.post(_FORM, operation_id="page_send_request")
async def send(
    sent: Annotated[Submission, may_submit(Permission.SELF_WRITE, max_bytes=_MAX_FORM_BYTES)],
    server_id: ServerId,
) -> Response:
    """Create the request, which then appears in the approvers' list."""
    server = await require_requestable(sent.session, server_id)
    async with sent.attempt():
        body = validate(AccessRequest, _wanted(sent.form, server, sent.change.now))
        row = await ask_for_access(sent.change, body)
    if sent.problems:
        return await _show(sent, server)
    return redirect(f"/console/approvals/{format_id(APPROVAL, row.id)}")


def _wanted(form: Form, server: RequestableServer, now: datetime) -> dict[str, Any]:
    """The form's fields by the API's names. Raises ``Invalid`` if no day was chosen."""
    tools: dict[str, Any] = {"kind": "names", "names": form.texts("tool")}
    if form.text("which") == "all":
        tools = {"kind": "all"}
    elif form.text("which") == "read":
        tools = {"kind": "risk", "risk": ["read"]}
    return {
        "kind": "access",
        "server": format_id(SERVER, server.id),
        "tools": tools,
        "expires_at": _end(form, now),
        "reason": form.text("reason"),
        "identity_id": form.text("identity_id") or None,
    }


def _end(form: Form, now: datetime) -> datetime:
    lasts = form.text("lasts")
    if lasts in {str(days) for days in _PRESETS}:
        return now + timedelta(days=int(lasts))
    try:
        end = datetime.combine(date.fromisoformat(form.text("date")), time(23, 59), UTC)
    except ValueError:
        raise Invalid.field("/expires_at", "date", "Choose a day.") from None
    latest = now + MAX_DURATION
    # On the last possible day, access ends at the maximum lifetime.
    return min(end, latest) if end.date() == latest.date() else end


async def _show(context: PageContext, server: RequestableServer) -> Response:
    now = context.now
    form = context.form or Form([("which", "names"), ("lasts", _USUAL)])
    agents = await _agents(context, OwnAgentQuery(limit=MAXIMUM_LIMIT, status=["active"]))
    return context.page(
        "my_access/request_form.html",
        server=server,
        agents=[(format_id(IDENTITY, one.id), format_name(one)) for one in agents],
        presets=[(days, now + timedelta(days=days)) for days in _PRESETS],
        soonest=f"{now:%Y-%m-%d}",
        latest=f"{now + MAX_DURATION:%Y-%m-%d}",
        typed={name: form.text(name) for name in ("which", "lasts", "date", "identity_id")},
        ticked=set(form.texts("tool")),
        reason=form.raw("reason"),
    )


async def _asked_before(context: PageContext) -> list[Any]:
    """The latest requests of the viewer and their agents."""
    me = context.caller.identity_id
    if me is None:
        return []
    agents = await _agents(context, OwnAgentQuery(limit=MAXIMUM_LIMIT))
    query = ApprovalQuery(kind=["access"], identity_id=[me, *(one.id for one in agents)], limit=_EARLIER)
    found = await list_approvals(context.session, context.caller, query, context.runtime)
    return await build_rows(context.session, found.items)


async def _agents(context: PageContext, query: OwnAgentQuery) -> list[IdentityView]:
    return (await list_own_agents(query, context.caller, context.session, context.runtime)).items
