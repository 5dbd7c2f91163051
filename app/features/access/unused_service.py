"""Applying what the report proposes: worked out again with the grants locked, and done if it is still the same.

One page of the report on stale access: grants first, then tokens, each from the newest that is old enough on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.reading import Fleet
from app.access.unused import GrantFinding, Judge, Proposal, StaleState
from app.db.change import Change
from app.domain.errors import FieldError, Invalid
from app.features.access.unused_schemas import (
    AppliedOutcome,
    AppliedView,
    StaleAccess,
    StaleApply,
    StaleGrantView,
    StaleQuery,
    StaleTokenView,
    proposal_view,
)
from app.features.grants.queries import is_active, lock_grants
from app.features.grants.schemas import GrantUpdate, GrantView
from app.features.grants.service import change_grants
from app.features.tokens.queries import can_reach, of_members
from app.http.authorization import Caller
from app.models.access_versions import AccessVersion
from app.models.grants import Grant
from app.models.tokens import Token, TokenUse

# A page ends when it has looked at so many, however few of them are stale. Tokens are judged by the database.
GRANTS_A_PAGE = 1_000
TOKENS_A_PAGE = 10_000
_AT_ONCE = 100
Position = tuple[str, UUID | None]
"""The kind to go on with, and after which of them; ``None``: from its start."""
_LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Window:
    """From ``since`` until ``now``, by the database's clock."""

    since: datetime
    now: datetime


def read_position(position: Sequence[Any] | None) -> Position:
    """Where a cursor stands."""
    if position is None:
        return "grant", None
    return str(position[0]), None if position[1] is None else UUID(position[1])


async def page_of(
    session: AsyncSession, judge: Judge, query: StaleQuery, window: Window, position: Position
) -> tuple[list[StaleAccess], Position | None]:
    """A page, and where to go on; ``None`` at the end."""
    kind, after = position
    items: list[StaleAccess] = []
    kinds = set(query.kind or ["grant", "token"])
    if query.grant_id:
        kinds.discard("token")
    if kind == "grant" and "grant" in kinds:
        grants, following = await _grants(session, judge, query, window, after)
        items += [StaleGrantView.of(found) for found in grants]
        if following is not None:
            return items, ("grant", following)
    if "token" not in kinds or StaleState.UNUSED not in query.state:
        return items, None
    if len(items) == query.limit:
        return items, ("token", None)
    after = after if kind == "token" else None
    tokens, following = await _tokens(session, query, window, after, query.limit - len(items))
    items += [StaleTokenView.of(row, last_used_at) for row, last_used_at in tokens]
    return items, None if following is None else ("token", following)


async def _grants(
    session: AsyncSession, judge: Judge, query: StaleQuery, window: Window, after: UUID | None
) -> tuple[list[GrantFinding], UUID | None]:
    found: list[GrantFinding] = []
    for _ in range(GRANTS_A_PAGE // _AT_ONCE):
        rows = list(await session.scalars(_live_grants(query, window, after)))
        for finding in await judge.findings(rows):
            if finding.state not in query.state:
                continue
            if query.server_id is not None and query.server_id not in finding.reach:
                continue
            if len(found) == query.limit:
                return found, found[-1].grant.id
            found.append(finding)
        if len(rows) < _AT_ONCE:
            return found, None
        after = rows[-1].id
    return found, after


def _live_grants(query: StaleQuery, window: Window, after: UUID | None) -> Select[Grant]:
    statement = select(Grant).where(is_active(window.now))
    if StaleState.UNKNOWN not in query.state:
        # What is younger than the window is never judged.
        statement = statement.where(col(Grant.created_at) <= window.since)
    if query.identity_id or query.group_id:
        statement = statement.where(
            or_(col(Grant.identity_id).in_(query.identity_id), col(Grant.group_id).in_(query.group_id))
        )
    if query.grant_id:
        statement = statement.where(col(Grant.id).in_(query.grant_id))
    if after is not None:
        statement = statement.where(col(Grant.id) < after)
    return statement.order_by(col(Grant.id).desc()).limit(_AT_ONCE)


async def _tokens(
    session: AsyncSession, query: StaleQuery, window: Window, after: UUID | None, limit: int
) -> tuple[list[tuple[Token, datetime | None]], UUID | None]:
    # Ids are made in the order of time, and of a million tokens most may be younger than the window.
    after = min(after or _LAST_ID, _last_id_of(window.since))
    within = [col(Token.id) < after]
    if query.identity_id or query.group_id:
        within.append(
            or_(col(Token.identity_id).in_(query.identity_id), *(of_members(id) for id in query.group_id))
        )
    looked = select(col(Token.id)).where(*within).order_by(col(Token.id).desc())
    last = await session.scalar(looked.offset(TOKENS_A_PAGE - 1).limit(1))
    statement = (
        select(Token, col(TokenUse.last_used_at))
        .outerjoin(TokenUse, col(TokenUse.token_id) == col(Token.id))
        .where(
            *within,
            col(Token.id) >= (last or UUID(int=0)),
            col(Token.revoked_at).is_(None),
            col(Token.expires_at) > window.now,
            col(Token.created_at) <= window.since,
            func.coalesce(col(TokenUse.last_used_at), col(Token.created_at)) <= window.since,
        )
    )
    if query.server_id is not None:
        statement = statement.where(can_reach(query.server_id))
    rows = await session.execute(statement.order_by(col(Token.id).desc()).limit(limit + 1))
    found: list[tuple[Token, datetime | None]] = [(row[0], row[1]) for row in rows]
    if len(found) > limit:
        return found[:limit], found[limit - 1][0].id
    return found, last


def _last_id_of(time: datetime) -> UUID:
    """An id above all that were made until a time, give or take what clocks differ by."""
    return UUID(int=(int(time.timestamp() * 1000) + 60_000) << 80)


class Applying:
    """Applies proposals for a caller, with an event for each grant that says why."""

    def __init__(
        self, session: AsyncSession, caller: Caller, fleet: Fleet, now: datetime, request_id: str | None
    ) -> None:
        self._session = session
        self._caller = caller
        self._fleet = fleet
        self._now = now
        self._request_id = request_id

    async def apply(self, judge: Judge, body: StaleApply, *, dry_run: bool) -> list[AppliedView]:
        """What became, or with ``dry_run`` would become, of each item. ``judge`` is of the window in ``body``. Raises
        ``Invalid`` for a grant that is named twice."""
        _check_named_once(body)
        # In the order of ids, whatever the order of the items.
        locked = await lock_grants(self._session, [item.grant_id for item in body.items])
        active = await self._active(locked.values())
        findings = {found.grant.id: found for found in await judge.findings(active)}
        unmoved = await self._unmoved(findings.values())
        outcomes: list[tuple[UUID, AppliedOutcome]] = []
        changes: list[tuple[Grant, GrantUpdate | None]] = []
        for item in body.items:
            grant, found = locked.get(item.grant_id), findings.get(item.grant_id)
            proposal = None if found is None or not unmoved else found.proposal
            if grant is None or grant.ended_at is not None:
                outcomes.append((item.grant_id, "not_found"))
            elif proposal is None or proposal.digest != item.proposal_digest:
                outcomes.append((item.grant_id, "changed"))
            else:
                patch = _patch(proposal)
                changes.append((grant, patch))
                outcomes.append((grant.id, "ended" if patch is None else "narrowed"))
        if dry_run:
            return [AppliedView(grant_id=id, outcome=outcome, grant=None) for id, outcome in outcomes]
        because = {"because": "stale", "unused_for_days": body.unused_for_days}
        change = Change(self._session, self._caller, self._request_id, self._now)
        await change_grants(change, changes, because)
        return [
            AppliedView(
                grant_id=id,
                outcome=outcome,
                grant=GrantView.from_row(locked[id], self._now) if outcome == "narrowed" else None,
            )
            for id, outcome in outcomes
        ]

    async def _active(self, grants: Iterable[Grant]) -> list[Grant]:
        """Those that give their right now; the report tells of no others."""
        ids = [grant.id for grant in grants]
        query = select(Grant).where(col(Grant.id).in_(ids), is_active(self._now)).order_by(col(Grant.id))
        return list(await self._session.scalars(query))

    async def _unmoved(self, findings: Iterable[GrantFinding]) -> bool:
        """Whether the servers that are to stay within reach are what they were when the fleet was read; until the
        commit nobody can change them: relabelled, one could come within reach of a grant that did not give it."""
        servers = self._fleet.servers
        ids = {
            id
            for found in findings
            if found.proposal is not None and found.proposal.right is not None
            for id in found.reach
            if found.proposal.right.servers.matches(id, servers[id].labels)
        }
        versions = await self._session.execute(
            select(col(AccessVersion.id), col(AccessVersion.version))
            .where(col(AccessVersion.id).in_(ids))
            .order_by(col(AccessVersion.id))
            .with_for_update(read=True)
        )
        return all(servers[id].version == version for id, version in versions)


def _patch(proposal: Proposal) -> GrantUpdate | None:
    """What a grant is to become; ``None`` where it is to end."""
    shown = proposal_view(proposal)
    if shown.action == "end":
        return None
    return GrantUpdate(
        servers=shown.servers, tools=shown.tools, resources=shown.resources, prompts=shown.prompts
    )


def _check_named_once(body: StaleApply) -> None:
    seen: set[UUID] = set()
    for place, item in enumerate(body.items):
        if item.grant_id in seen:
            raise Invalid(
                "A grant is named twice; see errors for where.",
                errors=[FieldError(f"/items/{place}/grant_id", "twice", "Name each grant once.")],
            )
        seen.add(item.grant_id)
