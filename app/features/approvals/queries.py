"""Queries of approvals: their state, who may see them, their facts and locks, and what can be requested.

Tokens import approvals, so their rows are read by SQL here.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any
from uuid import UUID

import cedarpy
from sqlalchemy import ColumnElement, Row, Select, String, bindparam, func, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.rows import is_one_of
from app.domain.errors import NotFound
from app.domain.risk import Risk
from app.features.approvals.schemas import ApprovalQuery, RequestableServer, RequestableTool
from app.http.authorization import Caller, Permission
from app.http.pagination import select_filtered
from app.http.selectors import ToolSelectorModel, tool_selector_to_domain
from app.models.access import Approval
from app.models.identities import GroupMember, Identity
from app.models.servers import Server, Tool

_PROGRAM = "service_account"
OPEN = ("pending", "approved")
"""The states that an end or an expiry takes an approval out of."""

# The state is read after the lock is acquired, which may be long after the transaction began.
STATE_SQL = """CASE WHEN {0}.state IN ('pending', 'approved') AND {0}.expires_at <= clock_timestamp()
    THEN 'expired' ELSE {0}.state END"""
_STATE: ColumnElement[str] = literal_column(STATE_SQL.format("approvals"), String)


def member_of(caller: Caller) -> UUID | None:
    """The identity whose memberships count, None for a program. A program has the permissions of its role, but not the
    memberships of its owner: a policy names people who look at a call themselves."""
    return None if caller.kind == _PROGRAM else caller.identity_id


def select_approvals(caller: Caller, query: ApprovalQuery) -> Select[Approval]:
    """Select the approvals that a caller may see and that match a filter."""
    filters = ("identity_id", "token_id", "server_id", "tool", "kind")
    statement = select_filtered(Approval, query, *filters).where(*visible_to(caller))
    if query.approver_group:
        statement = statement.where(_decided_by(query.approver_group))
    if query.state:
        # Named, since SQLAlchemy would otherwise derive an invalid name from the expression.
        statement = statement.where(_STATE.in_(bindparam("states", list(query.state), expanding=True)))
        # The stored states that it follows from, for the index.
        states = {*query.state, *(OPEN if "expired" in query.state else ())}
        statement = statement.where(col(Approval.state).in_(sorted(states)))
    return statement


def visible_to(caller: Caller) -> Iterable[ColumnElement[bool]]:
    """Conditions for the visible approvals: none with the permission; else their own, their agents', and their
    groups'."""
    if caller.may(Permission.APPROVALS_READ):
        return ()
    me = caller.identity_id
    agents = select(col(Identity.id)).where(col(Identity.owner_id) == me)
    groups = select(col(GroupMember.group_id)).where(col(GroupMember.identity_id) == member_of(caller))
    identity_id = col(Approval.identity_id)
    return (or_(identity_id == me, is_one_of(identity_id, agents), _decided_by(groups)),)


def _decided_by(groups: Any) -> ColumnElement[bool]:
    """Whether one of these groups decides it; for access, the group that owns the server now."""
    owned = select(col(Server.id)).where(is_one_of(col(Server.owner_group_id), groups))
    of_access = (col(Approval.kind) == "access") & is_one_of(col(Approval.server_id), owned)
    return is_one_of(col(Approval.approver_group_id), groups) | of_access


async def lock_approval(session: AsyncSession, approval_id: UUID) -> tuple[Approval, str]:
    """Lock an existing approval; return it and its state as of then."""
    statement = select(Approval).where(col(Approval.id) == approval_id).with_for_update()
    row = (await session.execute(statement.execution_options(populate_existing=True))).scalar_one()
    # Read after the lock: the clock of a statement that waits is read before it.
    state = (await session.execute(select(_STATE).where(col(Approval.id) == approval_id))).scalar_one()
    return row, state


async def lock_membership(session: AsyncSession, group_id: UUID, identity_id: UUID) -> bool:
    """Whether an identity is in a group; a membership stays locked until this transaction ends."""
    statement = select(col(GroupMember.id)).where(
        col(GroupMember.group_id) == group_id, col(GroupMember.identity_id) == identity_id
    )
    return (await session.scalar(statement.with_for_update(read=True))) is not None


def is_undone() -> ColumnElement[bool]:
    """Whether an approval could still be decided or used, regardless of the time. Approved access is a grant now."""
    undone = (col(Approval.state) == "pending") | (col(Approval.kind) == "call")
    return col(Approval.state).in_(OPEN) & undone


async def open_approvals(session: AsyncSession, *conditions: ColumnElement[bool], lock: bool) -> list[UUID]:
    """The ids of matching approvals that can still be decided or used, in order; locked on demand."""
    alive: Any = (col(Approval.expires_at).is_(None)) | (col(Approval.expires_at) > func.now())
    undone = select(col(Approval.id)).where(is_undone(), alive, or_(*conditions)).order_by(col(Approval.id))
    return list(await session.scalars(undone.with_for_update() if lock else undone))


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
) -> dict[tuple[UUID, int], dict[str, Any]]:
    """Id, version, name and reason of several policy versions."""
    if not pairs:
        return {}
    ids, versions = zip(*pairs, strict=True)
    rows = await session.execute(_POLICIES, {"ids": list(ids), "versions": list(versions)})
    return {
        (id, version): {"id": id, "version": version, "name": name, "reason": policy and reason_in(policy)}
        for id, version, name, policy in rows
    }


@lru_cache(maxsize=1_000)
def reason_in(policy: str) -> str | None:
    """The annotation ``@reason`` of a policy; None if it is missing or the policy cannot be parsed."""
    try:
        (parsed,) = cedarpy.policies_to_pst(policy).static_policies.values()
    except ValueError:
        return None
    reason: str | None = parsed.annotations.get("reason")
    return reason


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
    tools = select(Tool).where(
        col(Tool.server_id) == col(Server.id),
        col(Tool.state) == _ACTIVE,
        or_(*(field.icontains(q, autoescape=True) for field in (col(Tool.name), col(Tool.title)))),
    )
    texts = (col(Server.slug), col(Server.name), col(Server.description))
    return statement.where(or_(*(field.icontains(q, autoescape=True) for field in texts), tools.exists()))


async def requestable_views(session: AsyncSession, servers: Collection[Server]) -> list[RequestableServer]:
    """These servers with their active tools."""
    tools = await tools_of(session, [server.id for server in servers])
    shown = {"id", "slug", "name", "description"}
    return [
        RequestableServer(**server.model_dump(include=shown), tools=tools.get(server.id, []))
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
