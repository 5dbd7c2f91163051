"""Ask for access, show approvals, and decide and cancel them. See ADR 14.

An approval is decided once, by a person who may, and never on a call or request of their own. A request for access
gives none by itself: approving it creates a grant in the same transaction. Approvals are cancelled when their token,
identity or group ends, so that they can no longer be decided or used.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, literal, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db import rows
from app.db.call_arguments import kept_arguments
from app.db.change import Change, Subject, Values
from app.db.rows import Lock, is_one_of
from app.db.versions import notify_decided
from app.db.webhook_events import Message, WebhookEvent
from app.domain.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from app.domain.scopes import AllServers, ListedScope, ScopeEntry, ToolsByNames, ToolSelector, scope_within
from app.features.approvals import queries
from app.features.approvals.queries import facts_of, lock_approval, select_requestable
from app.features.approvals.schemas import (
    AccessNarrowing,
    AccessRequest,
    ApprovalAgreement,
    ApprovalArguments,
    ApprovalDecision,
    ApprovalQuery,
    ApprovalView,
    RequestableQuery,
    RequestableServer,
)
from app.features.audit.queries import names_of
from app.features.audit.schemas import show_id
from app.features.grants.schemas import GrantCreate, IdentityPrincipal
from app.features.grants.service import create_grant
from app.features.identities.queries import lock_identity, lock_row, take_turns
from app.http.authorization import Caller, Permission
from app.http.etags import Precondition
from app.http.pagination import Cursors, Page, read_page
from app.http.runtime import Runtime
from app.http.selectors import (
    ServersByIdsModel,
    ToolsByNamesModel,
    ToolSelectorModel,
    load_tool_selector,
    show_tool_selector,
    store_tool_selector,
    tool_selector_to_domain,
)
from app.lib import ids
from app.lib.ids import format_id, new_id, parse_id
from app.models.access import Approval
from app.models.identities import Identity
from app.models.servers import Server

_ERASE = text("""
WITH mine AS (
    SELECT id FROM approvals WHERE identity_id = :id OR (
        kind = 'access' AND identity_id IN (SELECT id FROM identities WHERE owner_id = :id)
    ) ORDER BY id FOR UPDATE
)
UPDATE approvals SET reason = NULL, decision_reason = NULL, revision = revision + 1, updated_at = now()
WHERE id IN (SELECT id FROM mine) AND (reason IS NOT NULL OR decision_reason IS NOT NULL)
""")

APPROVAL = Subject(
    "approval",
    personal=("reason", "decision_reason"),
    history="approval",
    # The requester and the binding never change.
    kept=("state", "decided_by", "decided_by_type", "expires_at"),
)
_ARGUMENTS = Subject("audit_event")
DECIDABLE = timedelta(days=7)
"""How long a request for access can be decided."""
MAX_DURATION = timedelta(days=366)
"""How far ahead access can be requested."""
MAX_PENDING = 10
"""Pending requests of one person and their agents."""
_PEOPLE = frozenset({"administrator", "identity"})
_VOID_REASONS = {
    "token_ended": "the token of the call is revoked or expired",
    "identity_offboarded": "the requester is offboarded",
    "definition_changed": "the tool is removed, or its definition changed",
    "risk_changed": "the risk of the tool changed",
    "policies_changed": "a policy that required it changed",
    "not_requestable": "the server can no longer be requested",
}


async def list_approvals(
    session: AsyncSession, caller: Caller, query: ApprovalQuery, runtime: Runtime
) -> Page[ApprovalView]:
    """Read a page of the approvals that the caller may see."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_approvals", query.filters())
    statement = queries.select_approvals(caller, query)
    approvals, next_cursor = await read_page(session, statement, Approval, cursors, query)
    views = await show_approvals(session, caller, approvals, runtime.public_url)
    return Page(items=views, next_cursor=next_cursor)


async def list_requestable(
    session: AsyncSession, query: RequestableQuery, runtime: Runtime
) -> Page[RequestableServer]:
    """Read a page of the servers that can be requested, with their active tools."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_requestable_servers", query.filters())
    servers, next_cursor = await read_page(session, select_requestable(query.q), Server, cursors, query)
    return Page(items=await queries.requestable_views(session, servers), next_cursor=next_cursor)


async def get_approval(session: AsyncSession, caller: Caller, approval_id: UUID) -> Approval:
    """Read an approval that the caller may see. Raises ``NotFound``."""
    statement = select(Approval).where(col(Approval.id) == approval_id, *queries.visible_to(caller))
    row: Approval | None = await session.scalar(statement.execution_options(populate_existing=True))
    if row is None:
        raise NotFound("There is no such approval.")
    return row


async def show_approval(
    session: AsyncSession, caller: Caller, row: Approval, public_url: str
) -> ApprovalView:
    """Build the view of one approval."""
    return (await show_approvals(session, caller, [row], public_url))[0]


async def show_approvals(
    session: AsyncSession, caller: Caller, approvals: Sequence[Approval], public_url: str
) -> list[ApprovalView]:
    """Build the views of approvals, with everything that an approver needs to know."""
    facts = await facts_of(session, caller, [row.id for row in approvals])
    pairs = [list(zip(row.policy_ids or (), row.policy_versions or (), strict=False)) for row in approvals]
    policies = await queries.requiring_policies(session, set(chain.from_iterable(pairs)))
    names = await names_of(session, [row.decided_by for row in approvals])
    return [
        ApprovalView.model_validate(
            row.model_dump(include=set(ApprovalView.model_fields) - {"tool", "state"})
            | _facts(caller, row, facts[row.id], names)
            | {
                "policies": [policies[pair] for pair in asked],
                "url": f"{public_url}/console/approvals/{format_id(ids.APPROVAL, row.id)}",
            }
        )
        for row, asked in zip(approvals, pairs, strict=True)
    ]


def _facts(caller: Caller, row: Approval, facts: Row[Any], names: dict[UUID, str]) -> dict[str, Any]:
    """The fields of a view that other objects decide."""
    state = facts.state
    allowed = caller.may(Permission.APPROVALS_DECIDE) or facts.is_approver
    tool = {"id": facts.tool_id, "name": row.tool, "title": facts.tool_title, "risk": facts.tool_risk}
    server = {"id": row.server_id, "slug": facts.server_slug, "name": facts.server_name}
    decider = row.decided_by_type or "unknown"
    return {
        "state": state,
        "identity": {"id": row.identity_id, "kind": facts.identity_kind, "name": facts.identity_name},
        "owner": facts.owner_id and {"id": facts.owner_id, "name": facts.owner_name},
        "token": row.token_id and {"id": row.token_id, "name": facts.token_name},
        "server": row.server_id and server,
        "tool": row.tool and tool,
        "request_count": row.asked,
        "access": _access(row),
        "approver_group": facts.group_name and {"id": facts.group_id, "name": facts.group_name},
        "arguments_digest": row.arguments_digest and row.arguments_digest.hex(),
        "arguments_kept": facts.arguments_kept,
        "may_decide": state == "pending" and allowed and not facts.own and caller.identity_id is not None,
        "void": facts.void if state in {"pending", "approved"} else None,
        "decided_by": row.decided_by
        and {"type": decider, "id": show_id(decider, row.decided_by), "name": names.get(row.decided_by)},
    }


def _access(row: Approval) -> dict[str, Any] | None:
    if row.access_tools is None:
        return None
    tools, granted = show_tool_selector(row.access_tools), None
    if row.granted_tools is not None:
        less = show_tool_selector(row.granted_tools)
        granted = {"tools": less, "expires_at": row.granted_expires_at, "grant_id": row.grant_id}
    return {"tools": tools, "expires_at": row.access_expires_at, "granted": granted}


async def may_read_arguments(session: AsyncSession, caller: Caller, row: Approval) -> bool:
    """Whether the caller has the permission, or can decide this now."""
    if caller.may(Permission.ARGUMENTS_READ):
        return True
    facts = (await facts_of(session, caller, [row.id]))[row.id]
    return bool(facts.state == "pending" and facts.is_approver and not facts.own)


async def read_arguments(change: Change, row: Approval, runtime: Runtime) -> ApprovalArguments:
    """Read the arguments of the call, if they are kept. Each reading is audited. Raises ``Forbidden``."""
    if not await may_read_arguments(change.session, change.caller, row):
        raise Forbidden(
            f"This needs the permission {Permission.ARGUMENTS_READ.value}, which {change.caller.lacking}; members of "
            "the group that decides can read them while the approval is pending, unless the call is their own."
        )
    kept, arguments = False, None
    if row.event_id is not None:
        kept, arguments = await kept_arguments(change.session, runtime.sealer, row.event_id)
        if kept:
            change.record(
                "arguments.read", _ARGUMENTS, Values(row.event_id, {}),
                approval_id=row.id, server_id=row.server_id, tool=row.tool,
            )  # fmt: skip
    return ApprovalArguments(approval_id=row.id, kept=kept, arguments=arguments)


async def ask_for_access(change: Change, body: AccessRequest) -> Approval:
    """Create an access request, for the caller or an agent of theirs.

    Raises ``Forbidden``, ``Invalid``, and ``Conflict`` for a duplicate and for one too many.
    """
    session, me = change.session, _person(change.caller)
    if body.expires_at <= change.now:
        raise Invalid.field("/expires_at", "in_the_past", "expires_at must be in the future.")
    if body.expires_at > change.now + MAX_DURATION:
        detail = f"Access can be requested for at most {MAX_DURATION.days} days."
        raise Invalid.field("/expires_at", "too_late", detail)
    identity = await _lock_receiver(session, me, body.identity_id or me)
    server = await _find_server(session, body.server)
    await _check_tools(session, server, body)
    tools = store_tool_selector(body.tools)
    binding = _binding(identity.id, server.id, tools)
    event_id = new_id()
    await _check_not_asked(change, binding, event_id)
    await _check_few(session, me)
    row = Approval(
        kind="access", identity_id=identity.id, server_id=server.id, binding=binding, event_id=event_id,
        access_tools=tools, access_expires_at=body.expires_at, reason=body.reason,
    )  # fmt: skip
    row.expires_at = func.least(func.clock_timestamp() + DECIDABLE, literal(body.expires_at))  # type: ignore[assignment]
    session.add(row)
    await session.flush()
    await session.refresh(row)
    details = {
        "identity_id": format_id(ids.IDENTITY, identity.id),
        "server_id": format_id(ids.SERVER, server.id),
        "tools": body.tools.model_dump(mode="json"),
        "expires_at": body.expires_at,
    }
    change.record(
        "approval.request", APPROVAL, None, row,
        details=details, event_id=event_id, approval_id=row.id, server_id=server.id,
    )  # fmt: skip
    _enqueue(change, WebhookEvent.APPROVAL_REQUESTED, row, server.owner_group_id)
    return row


async def withdraw_request(change: Change, approval_id: UUID, if_match: Precondition) -> Approval:
    """Withdraw a pending request. Raises ``NotFound``, ``Forbidden``, ``PreconditionFailed`` and ``Conflict``."""
    me = _person(change.caller)
    await get_approval(change.session, change.caller, approval_id)
    row, state = await lock_approval(change.session, approval_id)
    owner_of = select(col(Identity.owner_id)).where(col(Identity.id) == row.identity_id)
    if row.kind != "access" or me not in {row.identity_id, await change.session.scalar(owner_of)}:
        raise Forbidden("Only the person who requested access can withdraw the request.")
    if_match.check(row.revision)
    _check_pending(row, state)
    await cancel_approvals(change, [row.id], "withdrawn")
    return row


def _person(caller: Caller) -> UUID:
    """The person who requests access. A service account cannot request it in the name of its owner."""
    if caller.kind not in _PEOPLE or caller.identity_id is None:
        raise Forbidden("Only people who sign in can request access, for themselves or their agents.")
    return caller.identity_id


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
        condition = col(Server.id) == parse_id(ids.SERVER, slug_or_id)
    except ValueError:
        condition = col(Server.slug) == slug_or_id
    server: Server | None = await session.scalar(select_requestable().where(condition))
    if server is None:
        detail = "No server with this name or id can be requested: see the list of requestable servers."
        raise Invalid.field("/server", "not_requestable", detail)
    return server


async def _check_tools(session: AsyncSession, server: Server, body: AccessRequest) -> None:
    if not isinstance(body.tools, ToolsByNamesModel):
        return
    risks = await queries.risks_of(session, server.id)
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


async def _check_not_asked(change: Change, binding: bytes, event_id: UUID) -> None:
    """Raise ``Conflict`` for a duplicate of a pending request; an expired one makes room."""
    same = (col(Approval.binding) == binding, col(Approval.state) == "pending")
    earlier = await change.session.scalar(select(col(Approval.id)).where(*same))
    if earlier is None:
        return
    row, state = await lock_approval(change.session, earlier)
    if state == "pending":
        raise Conflict(
            f"The request {format_id(ids.APPROVAL, row.id)} for the same access is still pending.",
            code="access_already_requested",
        )
    if row.state == "pending":
        before = APPROVAL.values(row)
        row.state = "expired"
        row.revision += 1
        await change.session.flush()
        change.record_with(event_id, APPROVAL, before, row)


async def _check_few(session: AsyncSession, me: UUID) -> None:
    mine = select(col(Identity.id)).where(or_(col(Identity.id) == me, col(Identity.owner_id) == me))
    pending = select(func.count(col(Approval.id))).where(
        col(Approval.kind) == "access",
        col(Approval.state) == "pending",
        col(Approval.expires_at) > func.clock_timestamp(),
        col(Approval.identity_id).in_(mine),
    )
    if (await session.scalar(pending) or 0) >= MAX_PENDING:
        raise Conflict(
            f"{MAX_PENDING} requests of yours are pending already: withdraw one, or wait for a decision.",
            code="too_many_access_requests",
        )


async def approve(
    change: Change, approval_id: UUID, body: ApprovalAgreement, if_match: Precondition, *, ttl: timedelta
) -> Approval:
    """Approve the request, or less of it; a call can be repeated for ``ttl`` from now on.

    Raises ``NotFound``, ``Forbidden`` (also ``own_approval``), ``PreconditionFailed``, ``Invalid`` for more than was
    requested, and ``Conflict`` for one that is decided, expired or void.
    """
    session, caller = change.session, change.caller
    unlocked = await get_approval(session, caller, approval_id)
    is_access = unlocked.kind == "access"
    if body.access is not None and not is_access:
        raise Invalid.field("/access", "not_access", "Only a request for access can be narrowed.")
    if is_access:
        # Locked before the approval, as in an offboarding: the server, and the identity that gets the access.
        assert unlocked.server_id is not None  # noqa: S101  # A request for access has a server.
        await rows.lock(session, Server, unlocked.server_id, Lock.SHARE)
        await lock_identity(session, unlocked.identity_id, share=True)
    row, facts = await _begin_decision(change, approval_id, if_match)
    if facts.void is not None:
        raise Conflict(f"This approval is void: {_VOID_REASONS[facts.void]}.", code="approval_void")
    if is_access:
        await _grant_access(change, row, body.access)
    # The grant has its own expiry.
    expires_at = None if is_access else func.clock_timestamp() + ttl
    return await _finish_decision(change, row, facts, "approved", body.reason, expires_at)


async def deny(change: Change, approval_id: UUID, body: ApprovalDecision, if_match: Precondition) -> Approval:
    """Refuse a call, until the approval would have expired, or an access request.

    Raises ``NotFound``, ``Forbidden`` (also ``own_approval``), ``PreconditionFailed``, and ``Conflict`` for one that is
    decided or expired.
    """
    row, facts = await _begin_decision(change, approval_id, if_match)
    return await _finish_decision(change, row, facts, "denied", body.reason, row.expires_at)


async def _begin_decision(
    change: Change, approval_id: UUID, if_match: Precondition
) -> tuple[Approval, Row[Any]]:
    """Lock an approval that is pending and that the caller may decide; return it and its facts."""
    await get_approval(change.session, change.caller, approval_id)
    row, state = await lock_approval(change.session, approval_id)
    facts = (await facts_of(change.session, change.caller, [row.id]))[row.id]
    await _check_may_decide(change, row, facts)
    if_match.check(row.revision)
    _check_pending(row, state)
    # The lock of the membership may have waited: what makes an approval void is read after it.
    return row, (await facts_of(change.session, change.caller, [row.id]))[row.id]


async def _finish_decision(
    change: Change, row: Approval, facts: Row[Any], verdict: str, reason: str | None, expires_at: Any
) -> Approval:
    """Record the decision on a locked approval, with its history, audit event and notifications."""
    before = APPROVAL.values(row)
    row.state, row.decision_reason, row.expires_at = verdict, reason, expires_at
    row.decided_by, row.decided_by_type = change.caller.id, change.caller.kind
    row.decided_at = func.clock_timestamp()  # type: ignore[assignment]
    row.revision += 1
    await change.session.flush()
    await change.session.refresh(row)
    details: dict[str, Any] = {"state": {"from": "pending", "to": row.state}}
    if row.grant_id is not None:
        details["grant_id"] = format_id(ids.GRANT, row.grant_id)
    approved = verdict == "approved"
    change.record(
        "approval.approve" if approved else "approval.deny", APPROVAL, before, row,
        details=details, approval_id=row.id, token_id=row.token_id, server_id=row.server_id, tool=row.tool,
        policy_ids=row.policy_ids,
    )  # fmt: skip
    event = WebhookEvent.APPROVAL_APPROVED if approved else WebhookEvent.APPROVAL_DENIED
    _enqueue(change, event, row, facts.group_id)
    await notify_decided(change.session, [row.id])
    return row


def _enqueue(change: Change, event: WebhookEvent, row: Approval, group_id: UUID | None) -> None:
    """Enqueue a message, which names the event of the request and the group that decides."""
    ids = {"approval_id": row.id, "event_id": row.event_id, "identity_id": row.identity_id}
    ids |= {"token_id": row.token_id, "server_id": row.server_id, "group_id": group_id}
    change.enqueue(Message(event.value, ids))


async def _check_may_decide(change: Change, row: Approval, facts: Row[Any]) -> None:
    """Raise ``Forbidden`` unless the caller may decide this. Locks the membership that allows it."""
    caller = change.caller
    if facts.own:
        raise Forbidden(
            "You cannot decide your own request or that of an agent that you own; ask another person.",
            code="own_approval",
        )
    if caller.identity_id is None:
        # It cannot be ruled out that the request is their own.
        raise Forbidden("The break-glass administrator cannot decide approvals: sign in as a person.")
    if caller.may(Permission.APPROVALS_DECIDE):
        return
    group, member = facts.group_id, queries.member_of(caller)
    if group is None or member is None or not await queries.lock_membership(change.session, group, member):
        role = "owns the server" if row.kind == "access" else "the policy names"
        raise Forbidden(
            f"This needs membership of the group that {role}, {facts.group_name or 'which is not there'}, or the "
            f"permission {Permission.APPROVALS_DECIDE.value}, which {caller.lacking}."
        )


def _check_pending(row: Approval, state: str) -> None:
    """Raise ``Conflict`` unless the approval is pending."""
    if state == "pending":
        return
    if state == "expired":
        repeat = "When the call is repeated, it asks for another one."
        again = "Ask once more." if row.kind == "access" else repeat
        raise Conflict(f"This approval has expired. {again}", code="approval_expired")
    raise Conflict(f"This approval is already {state}, which is final.", code="approval_already_decided")


async def _grant_access(change: Change, row: Approval, less: AccessNarrowing | None) -> None:
    """Create the grant of a locked request. Raises ``Invalid`` with each field that is wider than the request."""
    if row.access_tools is None or row.access_expires_at is None or row.server_id is None:
        raise NotFound("There is no such access request.")
    requested, until = show_tool_selector(row.access_tools), row.access_expires_at
    tools = requested if less is None or less.tools is None else less.tools
    expires_at = until if less is None or less.expires_at is None else less.expires_at
    wrong = []
    if not await _within(change.session, row.server_id, tools, load_tool_selector(row.access_tools)):
        wrong.append(FieldError("/access/tools", "wider", "These are more tools than were requested."))
    if expires_at > until:
        detail = f"Access was requested until {until.isoformat()}."
        wrong.append(FieldError("/access/expires_at", "later", detail))
    if expires_at <= change.now:
        wrong.append(FieldError("/access/expires_at", "in_the_past", "It must be in the future."))
    if wrong:
        raise Invalid("The access must lie within the request.", errors=wrong)
    order = GrantCreate(
        principal=IdentityPrincipal(type="identity", id=row.identity_id),
        servers=ServersByIdsModel(kind="ids", ids=[row.server_id]),
        tools=tools,
        expires_at=expires_at,
        reason=row.reason,
    )
    grant = await create_grant(change, order, approval_id=row.id)
    row.grant_id, row.granted_tools, row.granted_expires_at = grant.id, store_tool_selector(tools), expires_at


async def _within(
    session: AsyncSession, server_id: UUID, tools: ToolSelectorModel, requested: ToolSelector
) -> bool:
    selector = tool_selector_to_domain(tools)
    if scope_within(_scope(selector), _scope(requested)):
        return True
    if not isinstance(selector, ToolsByNames):
        return False
    # For tools requested by risk, a choice by name: those that have this risk now.
    risks = await queries.risks_of(session, server_id)
    return all(name in risks and requested.matches(name, risks[name]) for name in selector.names)


def _scope(tools: ToolSelector) -> ListedScope:
    return ListedScope((ScopeEntry(AllServers(), tools),))


async def cancel_approvals(change: Change, ids: Collection[UUID], because: str) -> None:
    """Cancel those of these approvals that can still be decided or used, with an event for each.

    ``because`` is the reason in the audit log: ``token_revoked``, ``identity_offboarded``, ``group_ended``,
    ``withdrawn``.
    """
    if not ids:
        return
    # In the order of ids; a caller that ends many has locked them before.
    undone = select(Approval).where(is_one_of(col(Approval.id), ids), queries.is_undone())
    undone = undone.order_by(col(Approval.id)).with_for_update()
    locked = await change.session.scalars(undone.execution_options(populate_existing=True))
    before = {row.id: APPROVAL.values(row) for row in locked}
    cancelled: dict[str, Any] = {"state": "cancelled", "revision": col(Approval.revision) + 1}
    ended = await change.session.scalars(
        update(Approval)
        .where(is_one_of(col(Approval.id), before))
        .values(cancelled)
        .returning(Approval)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    for row in sorted(ended, key=lambda row: row.id):
        values, details = before[row.id], {"because": because}
        change.record("approval.cancel", APPROVAL, values, row, details=details, approval_id=row.id)
    await notify_decided(change.session, before)


async def erase(change: Change, identity_id: UUID) -> None:
    """Erase the reasons of the identity's requests, and those of decisions on them."""
    await change.session.execute(_ERASE, {"id": identity_id})
