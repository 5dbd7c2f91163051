"""What is to be known of approvals beside their rows: names, whether a call can still use them, and who may decide.

Tokens stand above approvals, so they are read by SQL, not by import.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any
from uuid import UUID

import cedarpy
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.approvals.queries import STATE_SQL, member_of
from app.http.authorization import Caller

# Whose call it is: the identities of the token and of all that it was attenuated from, and whoever answers for one of
# these, or did since the first of these tokens was made. An agent that is handed over to ask is still of whoever had
# it and may have kept its token.
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
# A caller, and who answers for the caller; a service account comes as whoever answers for it.
_MINE = "SELECT CAST(:me AS uuid) UNION SELECT owner_id FROM identities WHERE id = CAST(:me AS uuid)"
OWN = f"EXISTS (SELECT 1 FROM ({BEHIND}) behind WHERE behind.id IN ({_MINE}))"  # noqa: S608 - constants of ours
# An approval is bound to what was. Of these a definition alone may come back, and is then worth approving again.
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
    -- A call's is the one that the policy named then; of access, who owns the server now, whoever did then.
    SELECT a.approver_group_id AS id, a.approver_group AS name WHERE a.kind = 'call'
    UNION ALL SELECT g.id, g.name FROM groups g
        WHERE a.kind = 'access' AND g.id = s.owner_group_id AND g.ended_at IS NULL
) decides ON true
LEFT JOIN tools tool ON tool.server_id = a.server_id AND tool.name = a.tool AND tool.state <> 'removed'
WHERE a.id = ANY(CAST(:ids AS uuid[]))
""")  # noqa: S608 - the parts are constants of ours
_POLICIES = text("""
SELECT asked.id, asked.version, p.name,
    CASE WHEN p.version = asked.version THEN p.published_text ELSE kept.content ->> 'text' END AS text
FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS int[])) AS asked (id, version)
LEFT JOIN policies p ON p.id = asked.id
LEFT JOIN object_versions kept
    ON kept.object_id = asked.id AND kept.version = asked.version AND kept.kind = 'policy'
""")


async def facts_of(session: AsyncSession, caller: Caller, ids: Collection[UUID]) -> dict[UUID, Row[Any]]:
    """The facts of several approvals, as this caller stands to them."""
    if not ids:
        return {}
    values = {"ids": list(ids), "me": caller.identity_id, "member": member_of(caller)}
    rows = await session.execute(_FACTS, values)
    return {row.id: row for row in rows}


async def policies_that_asked(
    session: AsyncSession, wanted: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], tuple[str | None, str | None]]:
    """Name and reason of several versions of policies."""
    if not wanted:
        return {}
    ids, versions = zip(*wanted, strict=True)
    rows = await session.execute(_POLICIES, {"ids": list(ids), "versions": list(versions)})
    return {(row.id, row.version): (row.name, row.text and reason_in(row.text)) for row in rows}


@lru_cache(maxsize=1_000)
def reason_in(policy: str) -> str | None:
    """What the annotation ``@reason`` of a policy says; none where it is not there, or nothing can be read."""
    try:
        (parsed,) = cedarpy.policies_to_pst(policy).static_policies.values()
    except ValueError:
        return None
    found: str | None = parsed.annotations.get("reason")
    return found
