"""Build the views of approvals, with everything that an approver needs to know.

Tokens import approvals, so their rows are read by SQL here. Each reading of a call's arguments is audited.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import cedarpy
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Sealer
from app.db.call_arguments import kept_arguments
from app.domain.errors import Forbidden
from app.features.approvals.queries import STATE_SQL, member_of
from app.features.approvals.schemas import (
    AccessGiven,
    ApprovalAccess,
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
from app.features.audit.record import record
from app.features.audit.schemas import Actor, show_id
from app.http.authorization import Caller, Permission
from app.http.selectors import show_tool_selector
from app.lib.ids import APPROVAL, format_id
from app.models.access import Approval

# The identities behind a call: those of the token and of all tokens that it was attenuated from, and their owners now
# and since the first of these tokens was created. A call of an agent still counts as its former owner's, who may have
# kept the token.
BEHIND = """
    WITH RECURSIVE link AS (
        SELECT t.parent_id, t.identity_id, t.created_at FROM tokens t WHERE t.id = a.token_id
        UNION ALL
        SELECT above.parent_id, above.identity_id, above.created_at
        FROM tokens above JOIN link ON above.id = link.parent_id
    ), asking AS (SELECT a.identity_id AS id UNION SELECT identity_id FROM link)
    SELECT id FROM asking
    UNION SELECT owner_id FROM identities WHERE id IN (SELECT id FROM asking) AND owner_id IS NOT NULL
    UNION SELECT CAST(content ->> 'owner_id' AS uuid) FROM object_versions
        WHERE kind = 'identity' AND object_id IN (SELECT id FROM asking) AND content ->> 'owner_id' IS NOT NULL
        AND (valid_to IS NULL OR valid_to >= least(a.created_at, (SELECT min(created_at) FROM link)))
"""

# A caller and the owner of the caller; a service account appears as its owner.
_MINE = "SELECT CAST(:me AS uuid) UNION SELECT owner_id FROM identities WHERE id = CAST(:me AS uuid)"
OWN = f"EXISTS (SELECT 1 FROM ({BEHIND}) behind WHERE behind.id IN ({_MINE}))"  # noqa: S608 - constants

# An approval is bound to past state. Of these defects only a definition can be reverted, which makes it valid again.
VOID = """CASE
    WHEN a.kind = 'access' AND (s.ended_at IS NOT NULL OR NOT s.requestable) THEN 'not_requestable'
    WHEN t.revoked_at IS NOT NULL OR t.expires_at <= clock_timestamp() THEN 'token_ended'
    WHEN i.status = 'offboarded' THEN 'identity_offboarded'
    WHEN s.ended_at IS NOT NULL OR (a.definition_digest IS NOT NULL AND (
        tool.state IS DISTINCT FROM 'active' OR tool.approved_digest IS DISTINCT FROM a.definition_digest
    )) THEN 'definition_changed'
    WHEN a.tool_risk IS NOT NULL AND tool.risk IS DISTINCT FROM a.tool_risk THEN 'risk_changed'
    WHEN EXISTS (
        SELECT 1 FROM unnest(a.policy_ids, a.policy_versions) AS asked (id, version)
        WHERE NOT EXISTS (
            SELECT 1 FROM policies p WHERE p.id = asked.id AND p.version = asked.version
            AND p.status = 'published' AND p.published_mode = 'enforce' AND p.ended_at IS NULL
        )
    ) THEN 'policies_changed'
    END"""
_NAME = "CASE WHEN {0}.erased_at IS NULL THEN coalesce({0}.display_name, {0}.user_name) END"
_FACTS = text(f"""
SELECT a.id, {STATE_SQL.format("a")} AS state, i.kind AS identity_kind, {_NAME.format("i")} AS identity_name,
    o.id AS owner_id, {_NAME.format("o")} AS owner_name, t.name AS token_name,
    decides.id AS group_id, decides.name AS group_name, s.slug AS server_slug, s.name AS server_name,
    tool.id AS tool_id, tool.title AS tool_title, tool.risk AS tool_risk,
    {VOID} AS void, {OWN} AS own,
    EXISTS (
        SELECT 1 FROM group_members m WHERE m.group_id = decides.id AND m.identity_id = CAST(:member AS uuid)
    ) AS is_approver,
    EXISTS (
        SELECT 1 FROM audit_arguments kept WHERE kept.call_id = a.event_id
        AND kept.time BETWEEN a.created_at - interval '1 day' AND a.created_at + interval '1 day'
    ) AS arguments_kept
FROM approvals a
JOIN identities i ON i.id = a.identity_id
LEFT JOIN identities o ON o.id = i.owner_id
LEFT JOIN tokens t ON t.id = a.token_id
LEFT JOIN servers s ON s.id = a.server_id
LEFT JOIN LATERAL (
    -- For a call, the group that the policy named then; for access, the current owner of the server.
    SELECT a.approver_group_id AS id, a.approver_group AS name WHERE a.kind = 'call'
    UNION ALL SELECT g.id, g.name FROM groups g
        WHERE a.kind = 'access' AND g.id = s.owner_group_id AND g.ended_at IS NULL
) decides ON true
LEFT JOIN tools tool ON tool.server_id = a.server_id AND tool.name = a.tool AND tool.state <> 'removed'
WHERE a.id = ANY(CAST(:ids AS uuid[]))
""")  # noqa: S608 - the parts are constants
_POLICIES = text("""
SELECT asked.id, asked.version, p.name,
    CASE WHEN p.version = asked.version THEN p.published_text ELSE kept.content ->> 'text' END AS text
FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS int[])) AS asked (id, version)
LEFT JOIN policies p ON p.id = asked.id
LEFT JOIN object_versions kept
    ON kept.object_id = asked.id AND kept.version = asked.version AND kept.kind = 'policy'
""")


async def facts_of(session: AsyncSession, caller: Caller, ids: Collection[UUID]) -> dict[UUID, Row[Any]]:
    """The facts of several approvals, as seen by this caller."""
    if not ids:
        return {}
    values = {"ids": list(ids), "me": caller.identity_id, "member": member_of(caller)}
    rows = await session.execute(_FACTS, values)
    return {row.id: row for row in rows}


async def requiring_policies(
    session: AsyncSession, pairs: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], tuple[str | None, str | None]]:
    """Name and reason of several policy versions."""
    if not pairs:
        return {}
    ids, versions = zip(*pairs, strict=True)
    rows = await session.execute(_POLICIES, {"ids": list(ids), "versions": list(versions)})
    return {(row.id, row.version): (row.name, row.text and reason_in(row.text)) for row in rows}


@lru_cache(maxsize=1_000)
def reason_in(policy: str) -> str | None:
    """The annotation ``@reason`` of a policy; None if it is missing or the policy cannot be parsed."""
    try:
        (parsed,) = cedarpy.policies_to_pst(policy).static_policies.values()
    except ValueError:
        return None
    reason: str | None = parsed.annotations.get("reason")
    return reason


Policies = dict[tuple[UUID, int], tuple[str | None, str | None]]


async def show_approvals(
    session: AsyncSession, caller: Caller, rows: Sequence[Approval], public_url: str
) -> list[ApprovalView]:
    """Build the views of approvals that the caller may see."""
    ids = [row.id for row in rows]
    facts = await facts_of(session, caller, ids)
    policies = await requiring_policies(session, {pair for row in rows for pair in _policy_versions(row)})
    names = await names_of(session, [row.decided_by for row in rows])
    return [_view(caller, row, facts[row.id], policies, names, public_url) for row in rows]


async def show_approval(
    session: AsyncSession, caller: Caller, row: Approval, public_url: str
) -> ApprovalView:
    """Build the view of one approval."""
    return (await show_approvals(session, caller, [row], public_url))[0]


def _policy_versions(row: Approval) -> list[tuple[UUID, int]]:
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
            "policies": [_policy(pair, *policies[pair]) for pair in _policy_versions(row)],
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
    granted = None
    if row.grant_id is not None and row.granted_tools is not None and row.granted_expires_at is not None:
        tools = show_tool_selector(row.granted_tools)
        granted = AccessGiven(tools=tools, expires_at=row.granted_expires_at, grant_id=row.grant_id)
    return ApprovalAccess(
        tools=show_tool_selector(row.access_tools), expires_at=row.access_expires_at, granted=granted
    )


def _policy(version: tuple[UUID, int], name: str | None, reason: str | None) -> ApprovalPolicy:
    return ApprovalPolicy(id=version[0], version=version[1], name=name, reason=reason)


def _decider(row: Approval, names: dict[UUID, str]) -> Actor | None:
    if row.decided_by is None:
        return None
    kind = row.decided_by_type or "unknown"
    return Actor(type=kind, id=show_id(kind, row.decided_by), name=names.get(row.decided_by))


async def may_read_arguments(session: AsyncSession, caller: Caller, row: Approval) -> bool:
    """Whether the caller has the permission, or can decide this now."""
    if caller.may(Permission.ARGUMENTS_READ):
        return True
    facts = (await facts_of(session, caller, [row.id]))[row.id]
    return bool(facts.state == "pending" and facts.is_approver and not facts.own)


async def read_arguments(
    session: AsyncSession, caller: Caller, row: Approval, sealer: Sealer, request_id: str | None
) -> tuple[bool, Any]:
    """Whether the arguments of the call are kept, and the arguments. Raises ``Forbidden``."""
    if not await may_read_arguments(session, caller, row):
        raise Forbidden(
            f"This needs the permission {Permission.ARGUMENTS_READ.value}, which {caller.lacking}; members of the "
            "group that decides can read them while the approval is pending, unless the call is their own."
        )
    if row.event_id is None:
        return False, None
    kept, arguments = await kept_arguments(session, sealer, row.event_id)
    if kept:
        await record(
            session, caller, "arguments.read", "audit_event", row.event_id,
            request_id=request_id, approval_id=row.id, server_id=row.server_id, tool=row.tool,
        )  # fmt: skip
    return kept, arguments
