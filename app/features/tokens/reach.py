"""The reach of a token's scope now, within its identity's live grants."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.grants.queries import is_active
from app.features.tokens.schemas import TokenView
from app.features.tools.reach_queries import (
    Finding,
    Reaches,
    Selected,
    SelectorWarning,
    find_reach,
    may_see_reach,
)
from app.http.authorization import Caller
from app.http.selectors import store_scope
from app.models.access import Grant
from app.models.identities import GroupMember

MAX_GRANTS = 200
"""With more live grants, the reach of a token is not computed: each grant is a condition of the statement."""


async def with_reach(session: AsyncSession, caller: Caller, token: TokenView) -> TokenView:
    """Add the token's reach, if the caller may see it."""
    if not may_see_reach(caller):
        return token
    granted = await _live_grants(session, token.identity_id)
    if len(granted) > MAX_GRANTS:
        return token
    finding = await _find(session, store_scope(token.scope), granted)
    return token.model_copy(update={"reaches": finding.reaches, "warnings": finding.warnings})


async def _find(session: AsyncSession, scope: dict[str, Any], granted: list[Selected]) -> Finding:
    if scope["kind"] == "listed":
        if not scope["entries"]:
            return _nothing("empty_scope", "The scope has no entries and reaches nothing.")
        entries = enumerate(scope["entries"])
        selected = [
            Selected(one["servers"], one["tools"], f"/scope/entries/{index}") for index, one in entries
        ]
        return await find_reach(session, selected, granted)
    finding = await find_reach(session, granted)
    if finding.reaches.tools:
        return Finding(finding.reaches, [])
    return _nothing("not_granted", "The identity has no live grant that reaches a tool.", finding.reaches)


def _nothing(code: str, detail: str, reaches: Reaches | None = None) -> Finding:
    warning = SelectorWarning(pointer="/scope", code=code, detail=detail)
    return Finding(reaches or Reaches(servers=0, tools=0), [warning])


async def _live_grants(session: AsyncSession, identity_id: UUID) -> list[Selected]:
    groups = select(col(GroupMember.group_id)).where(col(GroupMember.identity_id) == identity_id)
    of_holder = or_(col(Grant.identity_id) == identity_id, col(Grant.group_id).in_(groups))
    columns = select(col(Grant.servers), col(Grant.tools))
    rows = await session.execute(
        columns.where(of_holder, is_active(func.clock_timestamp())).limit(MAX_GRANTS + 1)
    )
    return [Selected(servers, tools) for servers, tools in rows]
