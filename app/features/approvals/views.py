"""Approvals as the API and the page show them, with all that an approver needs to know."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.approvals.access_schemas import AccessGiven, ApprovalAccess
from app.features.approvals.facts import facts_of, policies_that_asked
from app.features.approvals.schemas import (
    ApprovalGroup,
    ApprovalIdentity,
    ApprovalOwner,
    ApprovalPolicy,
    ApprovalServer,
    ApprovalToken,
    ApprovalTool,
    ApprovalView,
)
from app.features.audit.names import names_of
from app.features.audit.schemas import Actor, show_id
from app.http.authorization import Caller, Permission
from app.http.selectors import show_tool_selector
from app.lib.ids import APPROVAL, format_id
from app.models.approvals import Approval

Policies = dict[tuple[UUID, int], tuple[str | None, str | None]]


async def show_approvals(
    session: AsyncSession, caller: Caller, rows: Sequence[Approval], public_url: str
) -> list[ApprovalView]:
    """The answers for approvals that the caller may see."""
    ids = [row.id for row in rows]
    facts = await facts_of(session, caller, ids)
    policies = await policies_that_asked(session, {pair for row in rows for pair in _asked(row)})
    names = await names_of(session, [row.decided_by for row in rows])
    return [_view(caller, row, facts[row.id], policies, names, public_url) for row in rows]


async def show_approval(
    session: AsyncSession, caller: Caller, row: Approval, public_url: str
) -> ApprovalView:
    """The answer for one."""
    return (await show_approvals(session, caller, [row], public_url))[0]


def _asked(row: Approval) -> list[tuple[UUID, int]]:
    return list(zip(row.policy_ids or (), row.policy_versions or (), strict=False))


def _view(
    caller: Caller,
    row: Approval,
    facts: Row[Any],
    policies: Policies,
    names: dict[UUID, str],
    public_url: str,
) -> ApprovalView:
    state = facts.state
    allowed = caller.may(Permission.APPROVALS_DECIDE) or facts.is_approver
    own: dict[str, Any] = row.model_dump(include=set(ApprovalView.model_fields) - {"tool", "state"})
    return ApprovalView.model_validate(
        own
        | {
            "state": state,
            "identity": ApprovalIdentity(
                id=row.identity_id, kind=facts.identity_kind, name=facts.identity_name
            ),
            "owner": facts.owner_id and ApprovalOwner(id=facts.owner_id, name=facts.owner_name),
            "token": row.token_id and ApprovalToken(id=row.token_id, name=facts.token_name),
            "server": row.server_id
            and ApprovalServer(id=row.server_id, slug=facts.server_slug, name=facts.server_name),
            "tool": row.tool
            and ApprovalTool(id=facts.tool_id, name=row.tool, title=facts.tool_title, risk=facts.tool_risk),
            "policies": [_policy(pair, *policies[pair]) for pair in _asked(row)],
            "request_count": row.asked,
            "access": _access(row),
            "approver_group": facts.group_name and ApprovalGroup(id=facts.group_id, name=facts.group_name),
            "arguments_digest": row.arguments_digest and row.arguments_digest.hex(),
            "arguments_kept": facts.arguments_kept,
            "may_decide": state == "pending" and allowed and not facts.own and caller.identity_id is not None,
            "void": facts.void if state in {"pending", "approved"} else None,
            "decided_by": _decider(row, names),
            "url": f"{public_url}/console/approvals/{format_id(APPROVAL, row.id)}",
        }
    )


def _access(row: Approval) -> ApprovalAccess | None:
    if row.access_tools is None or row.access_expires_at is None:
        return None
    given = None
    if row.grant_id is not None and row.granted_tools is not None and row.granted_expires_at is not None:
        tools = show_tool_selector(row.granted_tools)
        given = AccessGiven(tools=tools, expires_at=row.granted_expires_at, grant_id=row.grant_id)
    return ApprovalAccess(
        tools=show_tool_selector(row.access_tools), expires_at=row.access_expires_at, granted=given
    )


def _policy(asked: tuple[UUID, int], name: str | None, reason: str | None) -> ApprovalPolicy:
    return ApprovalPolicy(id=asked[0], version=asked[1], name=name, reason=reason)


def _decider(row: Approval, names: dict[UUID, str]) -> Actor | None:
    if row.decided_by is None:
        return None
    kind = row.decided_by_type or "unknown"
    return Actor(type=kind, id=show_id(kind, row.decided_by), name=names.get(row.decided_by))
