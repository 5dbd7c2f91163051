"""Approve a call or a request for access, which then becomes a grant in the same transaction."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.change import Change, write
from app.domain.errors import FieldError, Invalid, NotFound
from app.domain.scopes import AllServers, ListedScope, ScopeEntry, ToolsByNames, ToolSelector, scope_within
from app.features.approvals.ask import risks_of
from app.features.approvals.decide import (
    Verdict,
    approve_call,
    begin_decision,
    check_not_void,
    finish_decision,
    require_approval,
)
from app.features.approvals.schemas import AccessNarrowing, ApprovalAgreement
from app.features.grants.schemas import GrantCreate, IdentityPrincipal
from app.features.grants.service import create_grant
from app.features.identities.queries import lock_identity
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.http.selectors import (
    ServersByIdsModel,
    ToolSelectorModel,
    load_tool_selector,
    show_tool_selector,
    store_tool_selector,
    tool_selector_to_domain,
)
from app.models.access import Approval
from app.models.servers import Server


async def approve(
    session: AsyncSession,
    caller: Caller,
    approval_id: UUID,
    body: ApprovalAgreement,
    if_match: Precondition,
    *,
    ttl: timedelta,
    now: datetime,
    request_id: str | None,
) -> Approval:
    """Approve the request, or less of it; a call can be repeated for ``ttl`` from now on.

    Raises ``NotFound``, ``Forbidden`` (also ``own_approval``), ``PreconditionFailed``, ``Invalid`` for more than was
    requested, and ``Conflict`` for one that is decided, expired or void.
    """
    unlocked = await require_approval(session, caller, approval_id)
    if unlocked.kind == "access":
        return await _approve_access(session, caller, unlocked, body, if_match, now, request_id)
    if body.access is not None:
        raise Invalid.field("/access", "not_access", "Only a request for access can be narrowed.")
    return await approve_call(
        session, caller, approval_id, body.reason, if_match, ttl=ttl, request_id=request_id
    )


async def _approve_access(
    session: AsyncSession,
    caller: Caller,
    unlocked: Approval,
    body: ApprovalAgreement,
    if_match: Precondition,
    now: datetime,
    request_id: str | None,
) -> Approval:
    # Locked before the approval, as in an offboarding: the server, and the identity that gets the access.
    assert unlocked.server_id is not None  # noqa: S101  # A request for access has a server.
    await session.get(Server, unlocked.server_id, with_for_update={"read": True}, populate_existing=True)
    await lock_identity(session, unlocked.identity_id, share=True)
    row = await begin_decision(session, caller, unlocked.id, if_match)
    await check_not_void(session, caller, row)
    tools, expires_at = await _access_to_grant(session, row, body.access, now)
    order = GrantCreate(
        principal=IdentityPrincipal(type="identity", id=row.identity_id),
        servers=ServersByIdsModel(kind="ids", ids=[unlocked.server_id]),
        tools=tools,
        expires_at=expires_at,
        reason=row.reason,
    )
    grant = await create_grant(Change(session, caller, request_id, now), order, approval_id=row.id)
    # The event of the grant comes before that of the decision.
    await write(session)
    row.grant_id, row.granted_tools, row.granted_expires_at = grant.id, store_tool_selector(tools), expires_at
    # The grant has its own expiry.
    row.expires_at = None
    return await finish_decision(session, caller, row, Verdict.APPROVED, body.reason, request_id)


async def _access_to_grant(
    session: AsyncSession, row: Approval, less: AccessNarrowing | None, now: datetime
) -> tuple[ToolSelectorModel, datetime]:
    """The access to grant. Raises ``Invalid`` with each field that is wider than the request."""
    if row.access_tools is None or row.access_expires_at is None or row.server_id is None:
        raise NotFound("There is no such access request.")
    requested, until = show_tool_selector(row.access_tools), row.access_expires_at
    tools = requested if less is None or less.tools is None else less.tools
    expires_at = until if less is None or less.expires_at is None else less.expires_at
    wrong = []
    if not await _within(session, row.server_id, tools, load_tool_selector(row.access_tools)):
        wrong.append(FieldError("/access/tools", "wider", "These are more tools than were requested."))
    if expires_at > until:
        wrong.append(
            FieldError("/access/expires_at", "later", f"Access was requested until {until.isoformat()}.")
        )
    if expires_at <= now:
        wrong.append(FieldError("/access/expires_at", "in_the_past", "It must be in the future."))
    if wrong:
        raise Invalid("The access must lie within the request.", errors=wrong)
    return tools, expires_at


async def _within(
    session: AsyncSession, server_id: UUID, tools: ToolSelectorModel, requested: ToolSelector
) -> bool:
    selector = tool_selector_to_domain(tools)
    if scope_within(_scope(selector), _scope(requested)):
        return True
    if not isinstance(selector, ToolsByNames):
        return False
    # For tools requested by risk, a choice by name: those that have this risk now.
    risks = await risks_of(session, server_id)
    return all(name in risks and requested.matches(name, risks[name]) for name in selector.names)


def _scope(tools: ToolSelector) -> ListedScope:
    return ListedScope((ScopeEntry(AllServers(), tools),))
