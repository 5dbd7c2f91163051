"""Asking for access to a server, for oneself or for an agent of one's own, and taking that back.

A request gives nothing. What it becomes when somebody agrees stands with the grants.

Servers that people can ask for, and what they are shown of them: names and risks, and nothing of where they are.
"""

import hashlib
import json
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, exists, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.outbox import tell
from app.db.webhook_events import WebhookEvent, approval_message
from app.domain.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from app.domain.risk import Risk
from app.features.approvals.decide import (
    HISTORY_KIND,
    cancel_approvals,
    check_pending,
    content_of,
    require_approval,
)
from app.features.approvals.queries import lock_approval
from app.features.approvals.schemas import AccessRequest, RequestableServer, RequestableTool
from app.features.audit.record import keep_version, record
from app.features.identities.queries import lock_row, take_turns
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.http.selectors import (
    ToolsByNamesModel,
    ToolSelectorModel,
    store_tool_selector,
    tool_selector_to_domain,
)
from app.lib.ids import APPROVAL, IDENTITY, SERVER, format_id, new_id, parse_id
from app.models.approvals import Approval
from app.models.identities import Identity
from app.models.servers import Server
from app.models.tools import Tool

_ACTIVE = "active"


async def anything_requestable(session: AsyncSession) -> bool:
    """Whether there is a server that can be asked for."""
    return bool(await session.scalar(select(select_requestable().exists())))


def select_requestable(q: str | None = None) -> Select[Server]:
    """The servers that can be asked for, with this text in what is shown of them."""
    statement = select(Server).where(
        col(Server.requestable), col(Server.ended_at).is_(None), col(Server.status) == _ACTIVE
    )
    if not q:
        return statement
    tools = exists().where(
        col(Tool.server_id) == col(Server.id),
        col(Tool.state) == _ACTIVE,
        or_(*(field.icontains(q, autoescape=True) for field in (col(Tool.name), col(Tool.title)))),
    )
    texts = (col(Server.slug), col(Server.name), col(Server.description))
    return statement.where(or_(*(field.icontains(q, autoescape=True) for field in texts), tools))


async def show_requestable(session: AsyncSession, servers: Collection[Server]) -> list[RequestableServer]:
    """These servers with their active tools."""
    tools = await tools_of(session, [server.id for server in servers])
    return [
        RequestableServer(
            id=server.id,
            slug=server.slug,
            name=server.name,
            description=server.description,
            tools=tools.get(server.id, []),
        )
        for server in servers
    ]


async def require_requestable(session: AsyncSession, server_id: UUID) -> RequestableServer:
    """One that can be asked for. Raises ``NotFound`` for any other."""
    found = await session.scalar(select_requestable().where(col(Server.id) == server_id))
    if found is None:
        raise NotFound("There is no such server, or it cannot be asked for.")
    return (await show_requestable(session, [found]))[0]


async def tools_of(session: AsyncSession, server_ids: Collection[UUID]) -> dict[UUID, list[RequestableTool]]:
    """The active tools of these servers, by name."""
    if not server_ids:
        return {}
    statement = (
        select(col(Tool.server_id), col(Tool.name), col(Tool.title), col(Tool.risk))
        .where(col(Tool.server_id).in_(server_ids), col(Tool.state) == _ACTIVE)
        .order_by(col(Tool.server_id), col(Tool.name))
    )
    found: dict[UUID, list[RequestableTool]] = {}
    for server_id, name, title, risk in await session.execute(statement):
        found.setdefault(server_id, []).append(RequestableTool(name=name, title=title, risk=Risk(risk)))
    return found


async def risks_of(session: AsyncSession, server_id: UUID) -> dict[str, Risk]:
    """The active tools of a server, by name, with what is known of their risk."""
    return {tool.name: tool.risk for tool in (await tools_of(session, [server_id])).get(server_id, [])}


def selected(tools: Collection[RequestableTool], selector: ToolSelectorModel) -> list[RequestableTool]:
    """Those of these tools that a selector reaches now."""
    wanted = tool_selector_to_domain(selector)
    return [tool for tool in tools if wanted.matches(tool.name, tool.risk)]


_PEOPLE = frozenset({"administrator", "identity"})
DECIDABLE = timedelta(days=7)
"""How long a request can be decided."""
LONGEST = timedelta(days=366)
"""How far ahead access can be asked for."""
MOST_PENDING = 10
"""Requests of one person and their agents that wait at the same time."""


async def ask_for_access(
    session: AsyncSession, caller: Caller, body: AccessRequest, now: datetime, request_id: str | None
) -> Approval:
    """Ask whoever decides about a server. Raises ``Forbidden``, ``Invalid``, and ``Conflict`` for what is asked for
    already, and for one too many."""
    me = _person(caller)
    _check_end(body.expires_at, now)
    identity = await _lock_receiver(session, me, body.identity_id or me)
    server = await _find_server(session, body.server)
    await _check_tools(session, server, body)
    tools = store_tool_selector(body.tools)
    binding = _binding(identity.id, server.id, tools)
    await _check_not_asked(session, binding)
    await _check_few(session, me)
    row = Approval(
        id=new_id(), kind="access", identity_id=identity.id, server_id=server.id, binding=binding,
        access_tools=tools, access_expires_at=body.expires_at, reason=body.reason,
    )  # fmt: skip
    row.expires_at = func.least(func.clock_timestamp() + DECIDABLE, literal(body.expires_at))  # type: ignore[assignment]
    changes = {
        "identity_id": format_id(IDENTITY, identity.id),
        "server_id": format_id(SERVER, server.id),
        "tools": body.tools.model_dump(mode="json"),
        "expires_at": body.expires_at.isoformat(),
        # People word it, and nobody can erase it from the audit log.
        "reason": {"personal": True},
    }
    row.event_id = await record(
        session, caller, "approval.request", "approval", row.id,
        changes=changes, request_id=request_id, approval_id=row.id, server_id=server.id,
    )  # fmt: skip
    session.add(row)
    await session.flush()
    await session.refresh(row)
    await keep_version(session, HISTORY_KIND, row.id, content_of(row))
    message = approval_message(
        WebhookEvent.APPROVAL_REQUESTED, row.id, event_id=row.event_id, identity_id=identity.id, token_id=None,
        server_id=server.id, group_id=server.owner_group_id,
    )  # fmt: skip
    await tell(session, message)
    return row


async def withdraw_request(
    session: AsyncSession, caller: Caller, approval_id: UUID, if_match: Precondition, request_id: str | None
) -> Approval:
    """Take a request back that nobody has decided. Raises ``NotFound``, ``Forbidden``, ``PreconditionFailed`` and
    ``Conflict``."""
    me = _person(caller)
    await require_approval(session, caller, approval_id)
    row, state = await lock_approval(session, approval_id)
    owner = await session.scalar(select(col(Identity.owner_id)).where(col(Identity.id) == row.identity_id))
    if row.kind != "access" or me not in {row.identity_id, owner}:
        raise Forbidden("Only whoever asked for access can take the request back.")
    if_match.check(row.revision)
    check_pending(row, state)
    await cancel_approvals(session, caller, [row.id], "withdrawn", request_id)
    await session.refresh(row)
    return row


def _person(caller: Caller) -> UUID:
    """The person who asks. A program does not speak in the name of whoever answers for it, who may not know."""
    if caller.kind not in _PEOPLE or caller.identity_id is None:
        raise Forbidden(
            "Access is asked for by people who sign in themselves, for themselves or their agents."
        )
    return caller.identity_id


def _check_end(expires_at: datetime, now: datetime) -> None:
    if expires_at <= now:
        raise Invalid.field("/expires_at", "in_the_past", "expires_at must be in the future.")
    if expires_at > now + LONGEST:
        raise Invalid.field(
            "/expires_at", "too_late", f"Access can be asked for at most {LONGEST.days} days ahead."
        )


async def _lock_receiver(session: AsyncSession, me: UUID, wanted: UUID) -> Identity:
    """Whoever shall have the access, held with whoever answers for them, so that neither is offboarded meanwhile nor
    asks too much. Raises ``Invalid``, and ``Forbidden`` when who asks has just been offboarded."""
    both = sorted({me, wanted})
    await take_turns(session, both)
    held = {id: await lock_row(session, id) for id in both}
    found, asking = held[wanted], held[me]
    if asking is None or asking.status != "active":
        raise Forbidden("You are not active any more.")
    if found is None or me not in {wanted, found.owner_id}:
        raise Invalid.field("/identity_id", "not_yours", "You answer for no agent of this id.")
    if found.status != "active":
        raise Invalid.field("/identity_id", "not_active", f"This agent is {found.status}.")
    return found


async def _find_server(session: AsyncSession, named: str) -> Server:
    """By id or slug; of one that cannot be asked for, nothing says whether it is there. Raises ``Invalid``."""
    try:
        wanted = col(Server.id) == parse_id(SERVER, named)
    except ValueError:
        wanted = col(Server.slug) == named
    server: Server | None = await session.scalar(select_requestable().where(wanted))
    if server is None:
        raise Invalid.field(
            "/server",
            "not_requestable",
            "No server of this name or id can be asked for: see the list of those.",
        )
    return server


async def _check_tools(session: AsyncSession, server: Server, body: AccessRequest) -> None:
    if not isinstance(body.tools, ToolsByNamesModel):
        return
    known = await risks_of(session, server.id)
    errors = [
        FieldError(f"/tools/names/{index}", "not_found", "The server has no active tool of this name.")
        for index, name in enumerate(body.tools.names)
        if name not in known
    ]
    if errors:
        raise Invalid("Some of these tools are not there; see errors for which.", errors=errors)


def _binding(identity_id: UUID, server_id: UUID, tools: dict[str, Any]) -> bytes:
    """What two requests have in common that ask for the same, whatever their reason and their end."""
    same = {key: sorted(value) if isinstance(value, list) else value for key, value in tools.items()}
    text = json.dumps(["access", identity_id.hex, server_id.hex, same], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


async def _check_not_asked(session: AsyncSession, binding: bytes) -> None:
    """Raise ``Conflict`` when the same is asked for already; what nobody decided in time makes room."""
    waiting = select(Approval).where(col(Approval.binding) == binding, col(Approval.state) == "pending")
    earlier = await session.scalar(waiting)
    if earlier is None:
        return
    row, state = await lock_approval(session, earlier.id)
    if state == "pending":
        raise Conflict(
            f"The same is asked for already, by {format_id(APPROVAL, row.id)}, which waits for a decision.",
            code="access_already_requested",
        )
    if row.state == "pending":
        row.state = "expired"
        row.revision += 1
        await session.flush()
        await keep_version(session, HISTORY_KIND, row.id, content_of(row))


async def _check_few(session: AsyncSession, me: UUID) -> None:
    mine = select(col(Identity.id)).where(or_(col(Identity.id) == me, col(Identity.owner_id) == me))
    waiting = await session.scalar(
        select(func.count())
        .select_from(Approval)
        .where(
            col(Approval.kind) == "access",
            col(Approval.state) == "pending",
            col(Approval.expires_at) > func.clock_timestamp(),
            col(Approval.identity_id).in_(mine),
        )
    )
    if (waiting or 0) >= MOST_PENDING:
        raise Conflict(
            f"{MOST_PENDING} requests of yours wait for a decision already: withdraw one, or wait.",
            code="too_many_access_requests",
        )
