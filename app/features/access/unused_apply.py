"""Applying what the report proposes: worked out again with the grants locked, and done if it is still the same."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.reading import Fleet
from app.domain.errors import FieldError, Invalid
from app.features.access.unused import GrantFinding, Judge, Proposal
from app.features.access.unused_apply_schemas import AppliedOutcome, AppliedView, StaleApply
from app.features.access.unused_schemas import proposal_view
from app.features.grants.change import Change, change_grants
from app.features.grants.queries import is_active, lock_grants
from app.features.grants.schemas import GrantUpdate, GrantView
from app.http.authorization import Caller
from app.models.access_versions import AccessVersion
from app.models.grants import Grant


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
        changes: list[Change] = []
        for item in body.items:
            grant, found = locked.get(item.grant_id), findings.get(item.grant_id)
            proposal = None if found is None or not unmoved else found.proposal
            if grant is None or grant.ended_at is not None:
                outcomes.append((item.grant_id, "not_found"))
            elif proposal is None or proposal.digest != item.proposal_digest:
                outcomes.append((item.grant_id, "changed"))
            else:
                change = _change(grant, proposal)
                changes.append(change)
                outcomes.append((grant.id, "ended" if change.patch is None else "narrowed"))
        if dry_run:
            return [AppliedView(grant_id=id, outcome=outcome, grant=None) for id, outcome in outcomes]
        because = {"because": "stale", "unused_for_days": body.unused_for_days}
        await change_grants(self._session, self._caller, changes, self._now, self._request_id, because)
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


def _change(grant: Grant, proposal: Proposal) -> Change:
    shown = proposal_view(proposal)
    if shown.action == "end":
        return Change(grant, None)
    patch = GrantUpdate(
        servers=shown.servers, tools=shown.tools, resources=shown.resources, prompts=shown.prompts
    )
    return Change(grant, patch)


def _check_named_once(body: StaleApply) -> None:
    seen: set[UUID] = set()
    for place, item in enumerate(body.items):
        if item.grant_id in seen:
            raise Invalid(
                "A grant is named twice; see errors for where.",
                errors=[FieldError(f"/items/{place}/grant_id", "twice", "Name each grant once.")],
            )
        seen.add(item.grant_id)
