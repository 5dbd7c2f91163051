"""Request access to a server for yourself or an agent of yours, and withdraw the request.

A request by itself gives no access; approving it creates a grant.

Also lists the servers that can be requested, with names and risks of their tools, but not their addresses.
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

from app.db.webhook_events import WebhookEvent, approval_message, enqueue
from app.domain.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from app.domain.risk import Risk
from app.features.approvals.decide import (
    HISTORY_KIND,
    cancel_approvals,
    check_pending,
    history_content,
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
from app.models.access import Approval
from app.models.identities import Identity
from app.models.servers import Server, Tool

_ACTIVE = "active"


async def has_requestable(session: AsyncSession) -> bool:
    """Whether any server can be requested."""
    return bool(await session.scalar(select(select_requestable().exists())))


def select_requestable(q: str | None = None) -> Select[Server]:
    """Select the servers that can be requested, filtered by the text that is shown of them."""
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


async def requestable_views(session: AsyncSession, servers: Collection[Server]) -> list[RequestableServer]:
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
    """A server that can be requested. Raises ``NotFound`` for any other."""
    server = await session.scalar(select_requestable().where(col(Server.id) == server_id))
    if server is None:
        raise NotFound("There is no such server, or it cannot be requested.")
    return (await requestable_views(session, [server]))[0]


async def tools_of(session: AsyncSession, server_ids: Collection[UUID]) -> dict[UUID, list[RequestableTool]]:
    """The active tools of these servers, by name."""
    if not server_ids:
        return {}
    statement = (
        select(col(Tool.server_id), col(Tool.name), col(Tool.title), col(Tool.risk))
        .where(col(Tool.server_id).in_(server_ids), col(Tool.state) == _ACTIVE)
        .order_by(col(Tool.server_id), col(Tool.name))
    )
    by_server: dict[UUID, list[RequestableTool]] = {}
    for server_id, name, title, risk in await session.execute(statement):
        by_server.setdefault(server_id, []).append(RequestableTool(name=name, title=title, risk=Risk(risk)))
    return by_server


async def risks_of(session: AsyncSession, server_id: UUID) -> dict[str, Risk]:
    """The active tools of a server, by name, with their current risk."""
    return {tool.name: tool.risk for tool in (await tools_of(session, [server_id])).get(server_id, [])}


def select_tools(tools: Collection[RequestableTool], selector: ToolSelectorModel) -> list[RequestableTool]:
    """The tools that a selector matches now."""
    domain_selector = tool_selector_to_domain(selector)
    return [tool for tool in tools if domain_selector.matches(tool.name, tool.risk)]


_PEOPLE = frozenset({"administrator", "identity"})
DECIDABLE = timedelta(days=7)
"""How long a request can be decided."""
MAX_DURATION = timedelta(days=366)
"""How far ahead access can be requested."""
MAX_PENDING = 10
"""Pending requests of one person and their agents."""


async def ask_for_access(
    session: AsyncSession, caller: Caller, body: AccessRequest, now: datetime, request_id: str | None
) -> Approval:
    """Create an access request. Raises ``Forbidden``, ``Invalid``, and ``Conflict`` for a duplicate and for one too
    many."""
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
        # Personal: people write the text, and it could not be erased from the audit log.
        "reason": {"personal": True},
    }
    row.event_id = await record(
        session, caller, "approval.request", "approval", row.id,
        changes=changes, request_id=request_id, approval_id=row.id, server_id=server.id,
    )  # fmt: skip
    session.add(row)
    await session.flush()
    await session.refresh(row)
    await keep_version(session, HISTORY_KIND, row.id, history_content(row))
    message = approval_message(
        WebhookEvent.APPROVAL_REQUESTED, row.id, event_id=row.event_id, identity_id=identity.id, token_id=None,
        server_id=server.id, group_id=server.owner_group_id,
    )  # fmt: skip
    await enqueue(session, message)
    return row


async def withdraw_request(
    session: AsyncSession, caller: Caller, approval_id: UUID, if_match: Precondition, request_id: str | None
) -> Approval:
    """Withdraw a pending request. Raises ``NotFound``, ``Forbidden``, ``PreconditionFailed`` and ``Conflict``."""
    me = _person(caller)
    await require_approval(session, caller, approval_id)
    row, state = await lock_approval(session, approval_id)
    owner = await session.scalar(select(col(Identity.owner_id)).where(col(Identity.id) == row.identity_id))
    if row.kind != "access" or me not in {row.identity_id, owner}:
        raise Forbidden("Only the person who requested access can withdraw the request.")
    if_match.check(row.revision)
    check_pending(row, state)
    await cancel_approvals(session, caller, [row.id], "withdrawn", request_id)
    await session.refresh(row)
    return row


def _person(caller: Caller) -> UUID:
    """The person who requests access. A service account cannot request it in the name of its owner."""
    if caller.kind not in _PEOPLE or caller.identity_id is None:
        raise Forbidden("Only people who sign in can request access, for themselves or their agents.")
    return caller.identity_id


def _check_end(expires_at: datetime, now: datetime) -> None:
    if expires_at <= now:
        raise Invalid.field("/expires_at", "in_the_past", "expires_at must be in the future.")
    if expires_at > now + MAX_DURATION:
        raise Invalid.field(
            "/expires_at", "too_late", f"Access can be requested for at most {MAX_DURATION.days} days."
        )


async def _lock_receiver(session: AsyncSession, me: UUID, receiver_id: UUID) -> Identity:
    """Lock the identity that gets the access and its owner: neither can be offboarded or exceed the limit until the
    commit. Raises ``Invalid``, and ``Forbidden`` when the caller has just been offboarded."""
    ids = sorted({me, receiver_id})
    await take_turns(session, ids)
    identities = {id: await lock_row(session, id) for id in ids}
    receiver, asking = identities[receiver_id], identities[me]
    if asking is None or asking.status != "active":
        raise Forbidden("You are not active any more.")
    if receiver is None or me not in {receiver_id, receiver.owner_id}:
        raise Invalid.field("/identity_id", "not_yours", "You own no agent with this id.")
    if receiver.status != "active":
        raise Invalid.field("/identity_id", "not_active", f"This agent is {receiver.status}.")
    return receiver


async def _find_server(session: AsyncSession, slug_or_id: str) -> Server:
    """Find a server by id or slug. Nothing reveals a server that cannot be requested. Raises ``Invalid``."""
    try:
        condition = col(Server.id) == parse_id(SERVER, slug_or_id)
    except ValueError:
        condition = col(Server.slug) == slug_or_id
    server: Server | None = await session.scalar(select_requestable().where(condition))
    if server is None:
        raise Invalid.field(
            "/server",
            "not_requestable",
            "No server with this name or id can be requested: see the list of requestable servers.",
        )
    return server


async def _check_tools(session: AsyncSession, server: Server, body: AccessRequest) -> None:
    if not isinstance(body.tools, ToolsByNamesModel):
        return
    risks = await risks_of(session, server.id)
    errors = [
        FieldError(f"/tools/names/{index}", "not_found", "The server has no active tool of this name.")
        for index, name in enumerate(body.tools.names)
        if name not in risks
    ]
    if errors:
        raise Invalid("The server does not have some of these tools; see errors.", errors=errors)


def _binding(identity_id: UUID, server_id: UUID, tools: dict[str, Any]) -> bytes:
    """The digest that duplicate requests share, regardless of reason and expiry."""
    same = {key: sorted(value) if isinstance(value, list) else value for key, value in tools.items()}
    text = json.dumps(["access", identity_id.hex, server_id.hex, same], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


async def _check_not_asked(session: AsyncSession, binding: bytes) -> None:
    """Raise ``Conflict`` for a duplicate of a pending request; an expired one makes room."""
    statement = select(Approval).where(col(Approval.binding) == binding, col(Approval.state) == "pending")
    earlier = await session.scalar(statement)
    if earlier is None:
        return
    row, state = await lock_approval(session, earlier.id)
    if state == "pending":
        raise Conflict(
            f"The request {format_id(APPROVAL, row.id)} for the same access is still pending.",
            code="access_already_requested",
        )
    if row.state == "pending":
        row.state = "expired"
        row.revision += 1
        await session.flush()
        await keep_version(session, HISTORY_KIND, row.id, history_content(row))


async def _check_few(session: AsyncSession, me: UUID) -> None:
    mine = select(col(Identity.id)).where(or_(col(Identity.id) == me, col(Identity.owner_id) == me))
    pending = await session.scalar(
        select(func.count())
        .select_from(Approval)
        .where(
            col(Approval.kind) == "access",
            col(Approval.state) == "pending",
            col(Approval.expires_at) > func.clock_timestamp(),
            col(Approval.identity_id).in_(mine),
        )
    )
    if (pending or 0) >= MAX_PENDING:
        raise Conflict(
            f"{MAX_PENDING} requests of yours are pending already: withdraw one, or wait for a decision.",
            code="too_many_access_requests",
        )
