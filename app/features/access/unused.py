"""Unused access: read the report page by page, and apply its proposals with the grants locked."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.reading import Fleet
from app.access.snapshot import AccessSnapshot
from app.access.unused import GrantFinding, Proposal, UsageReview, UsageState
from app.db.change import Change
from app.db.clock import transaction_time
from app.domain.errors import FieldError, Invalid, StoreUnavailable, Unavailable
from app.features.access.unused_schemas import (
    AppliedOutcome,
    AppliedView,
    StaleAccess,
    StaleApplied,
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
from app.http.authorization import Caller, Permission, authorize
from app.http.pagination import Cursors, Page
from app.http.runtime import Runtime
from app.models.access import AccessVersion, Grant
from app.models.tokens import Token, TokenUse

# A page ends after so many are examined, however few of them are unused. Tokens are judged by the database.
GRANTS_A_PAGE = 1_000
TOKENS_A_PAGE = 10_000
_AT_ONCE = 100
Position = tuple[str, UUID | None]
"""The kind to continue with, and the last id that was read; ``None`` starts it."""
_LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Window:
    """The time from ``since`` until ``now``, by the database's clock."""

    since: datetime
    now: datetime


async def list_unused(
    session: AsyncSession, caller: Caller, snapshot: AccessSnapshot, query: StaleQuery, runtime: Runtime
) -> Page[StaleAccess]:
    """Read a page of the report: grants first, then tokens. Raises ``Forbidden`` and ``Unavailable``."""
    authorize(caller, Permission.TOKENS_READ)
    filters = query.model_dump(exclude={"limit", "cursor"})
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_stale_access", filters)
    read = cursors.read(query.cursor)
    position: Position = ("grant", None)
    if read is not None:
        position = str(read[0]), None if read[1] is None else UUID(read[1])
    window = await _window(session, query.unused_for_days)
    review = await UsageReview.of(session, (await _fleet(snapshot)).servers, window.since)
    items, following = await _read_page(session, review, query, window, position)
    return Page(items=items, next_cursor=None if following is None else cursors.write(following))


async def _window(session: AsyncSession, days: int) -> Window:
    now = await transaction_time(session)
    return Window(now - timedelta(days=days), now)


async def _fleet(snapshot: AccessSnapshot) -> Fleet:
    try:
        fleet, _ = await snapshot.fleet(fresh=True)
    except StoreUnavailable as error:
        raise Unavailable("The database cannot serve right now; repeat the request shortly.") from error
    return fleet


async def _read_page(
    session: AsyncSession, review: UsageReview, query: StaleQuery, window: Window, position: Position
) -> tuple[list[StaleAccess], Position | None]:
    """Read a page and the next position, which is ``None`` at the end."""
    kind, after = position
    items: list[StaleAccess] = []
    kinds = set(query.kind or ["grant", "token"])
    if query.grant_id:
        kinds.discard("token")
    if kind == "grant" and "grant" in kinds:
        grants, following = await _grants(session, review, query, window, after)
        items += [StaleGrantView.of(finding) for finding in grants]
        if following is not None:
            return items, ("grant", following)
    if "token" not in kinds or UsageState.UNUSED not in query.state:
        return items, None
    if len(items) == query.limit:
        return items, ("token", None)
    after = after if kind == "token" else None
    tokens, following = await _tokens(session, query, window, after, query.limit - len(items))
    items += [StaleTokenView.of(row, last_used_at) for row, last_used_at in tokens]
    return items, None if following is None else ("token", following)


async def _grants(
    session: AsyncSession, review: UsageReview, query: StaleQuery, window: Window, after: UUID | None
) -> tuple[list[GrantFinding], UUID | None]:
    findings: list[GrantFinding] = []
    for _ in range(GRANTS_A_PAGE // _AT_ONCE):
        rows = list(await session.scalars(_live_grants(query, window, after)))
        for finding in await review.findings(rows):
            if finding.state not in query.state:
                continue
            if query.server_id is not None and query.server_id not in finding.reach:
                continue
            if len(findings) == query.limit:
                return findings, findings[-1].grant.id
            findings.append(finding)
        if len(rows) < _AT_ONCE:
            return findings, None
        after = rows[-1].id
    return findings, after


def _live_grants(query: StaleQuery, window: Window, after: UUID | None) -> Select[Grant]:
    statement = select(Grant).where(is_active(window.now))
    if UsageState.UNKNOWN not in query.state:
        # A grant younger than the window is never judged.
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
    # Ids are ordered by time, and of a million tokens most may be younger than the window.
    # An id above all ids that were made until then, up to clock differences.
    last_id = UUID(int=(int(window.since.timestamp() * 1000) + 60_000) << 80)
    after = min(after or _LAST_ID, last_id)
    within = [col(Token.id) < after]
    if query.identity_id or query.group_id:
        within.append(
            or_(col(Token.identity_id).in_(query.identity_id), *(of_members(id) for id in query.group_id))
        )
    examined = select(col(Token.id)).where(*within).order_by(col(Token.id).desc())
    last = await session.scalar(examined.offset(TOKENS_A_PAGE - 1).limit(1))
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
    unused: list[tuple[Token, datetime | None]] = [(row[0], row[1]) for row in rows]
    if len(unused) > limit:
        return unused[:limit], unused[limit - 1][0].id
    return unused, last


async def apply_proposals(
    change: Change, snapshot: AccessSnapshot, body: StaleApply, *, dry_run: bool
) -> StaleApplied:
    """Apply proposals, with an audit event for each grant; with ``dry_run``, only say what would happen. Raises
    ``Invalid`` for a grant that is named twice."""
    session = change.session
    window = await _window(session, body.unused_for_days)
    fleet = await _fleet(snapshot)
    review = await UsageReview.of(session, fleet.servers, window.since)
    named = [item.grant_id for item in body.items]
    twice = [place for place, id in enumerate(named) if id in named[:place]]
    if twice:
        error = FieldError(f"/items/{twice[0]}/grant_id", "twice", "Name each grant once.")
        raise Invalid("A grant is named twice; see errors for where.", errors=[error])
    # In the order of ids, since the items come in any order.
    locked = await lock_grants(session, named)
    # The report lists only grants that are effective now.
    effective = select(Grant).where(col(Grant.id).in_(locked), is_active(window.now))
    active = list(await session.scalars(effective.order_by(col(Grant.id))))
    findings = {finding.grant.id: finding for finding in await review.findings(active)}
    unchanged = await _are_servers_unchanged(session, fleet, findings.values())
    outcomes: list[tuple[UUID, AppliedOutcome]] = []
    patches: list[tuple[Grant, GrantUpdate | None]] = []
    for item in body.items:
        grant, finding = locked.get(item.grant_id), findings.get(item.grant_id)
        proposal = None if finding is None or not unchanged else finding.proposal
        if grant is None or grant.ended_at is not None:
            outcomes.append((item.grant_id, "not_found"))
        elif proposal is None or proposal.digest != item.proposal_digest:
            outcomes.append((item.grant_id, "changed"))
        else:
            patch = _patch(proposal)
            patches.append((grant, patch))
            outcomes.append((grant.id, "ended" if patch is None else "narrowed"))
    if not dry_run:
        because = {"because": "stale", "unused_for_days": body.unused_for_days}
        await change_grants(change, patches, because)
    applied = [AppliedView(grant_id=id, outcome=outcome, grant=None) for id, outcome in outcomes]
    for view in applied:
        if view.outcome == "narrowed" and not dry_run:
            view.grant = GrantView.from_row(locked[view.grant_id], window.now)
    return StaleApplied(dry_run=dry_run, items=applied)


async def _are_servers_unchanged(
    session: AsyncSession, fleet: Fleet, findings: Iterable[GrantFinding]
) -> bool:
    """Whether the servers that stay within reach are unchanged since the fleet was read. They are locked until the
    commit: a changed label could bring one within reach of a grant that did not allow it."""
    ids = {
        id
        for finding in findings
        if finding.proposal is not None and finding.proposal.right is not None
        for id in finding.reach
        if finding.proposal.right.servers.matches(id, fleet.servers[id].labels)
    }
    of_servers = select(col(AccessVersion.id), col(AccessVersion.version)).where(
        col(AccessVersion.id).in_(ids)
    )
    versions = await session.execute(of_servers.order_by(col(AccessVersion.id)).with_for_update(read=True))
    return all(fleet.servers[id].version == version for id, version in versions)


def _patch(proposal: Proposal) -> GrantUpdate | None:
    """The change to a grant; ``None`` if it is to end."""
    view = proposal_view(proposal)
    if view.action == "end":
        return None
    return GrantUpdate(servers=view.servers, tools=view.tools, resources=view.resources, prompts=view.prompts)
