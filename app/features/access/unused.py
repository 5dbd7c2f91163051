"""What of a grant nobody used, and what it could be narrowed to."""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.grant_uses import TOOLS
from app.domain.objects import Part, Server
from app.domain.scopes import (
    ScopeEntry,
    ServersByIds,
    ServersByLabels,
    ServerSelector,
    ToolsByNames,
    ToolsByRisk,
    ToolSelector,
)
from app.domain.stale import Kept, Note, Reach, narrowed, notes_on, reach_of
from app.features.access.unused_queries import (
    Newcomers,
    Usage,
    UsedThing,
    given_since,
    newcomers,
    right_of_row,
    usage_of,
    watched_since,
)
from app.http.selectors import MOST_ITEMS
from app.lib.event_loop import in_slices
from app.models.grants import Grant


class StaleState(StrEnum):
    """How much of a right was used."""

    UNUSED = "unused"
    PARTLY_USED = "partly_used"
    IN_USE = "in_use"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a grant should become: ``None`` for ended. ``digest`` stands for this, of this revision of the grant."""

    right: ScopeEntry | None
    notes: tuple[Note, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class GrantFinding:
    """A grant with what was used of it in the window, the latest first, and what it reaches."""

    grant: Grant
    observed_since: datetime
    last_used_at: datetime | None
    used_by: int
    held_by: int
    used: Sequence[UsedThing]
    state: StaleState
    proposal: Proposal | None
    reach: Reach

    def unused(self, most: int) -> tuple[list[tuple[UUID, str]], int]:
        """The first of the tools within reach that were not used, by server, and how many there are."""
        used = kept_of(self.used)
        shown: list[tuple[UUID, str]] = []
        count = 0
        for id, names in self.reach.items():
            left = names - used[id].tools if id in used else names
            count += len(left)
            if len(shown) < most:
                shown += [(id, name) for name in sorted(left)[: most - len(shown)]]
        return shown, count


class Judge:
    """Judges grants by their use since a time, in a fleet; what is alike of several is worked out once."""

    def __init__(
        self,
        session: AsyncSession,
        servers: Mapping[UUID, Server],
        since: datetime,
        watched: datetime,
        new: Newcomers,
    ) -> None:
        self._session = session
        self._servers = servers
        self._since = since
        self._watched = watched
        self._new = new
        self._reaches: dict[tuple[ServerSelector, ToolSelector], Reach] = {}

    @classmethod
    async def of(cls, session: AsyncSession, servers: Mapping[UUID, Server], since: datetime) -> "Judge":
        """The judge of the window that began at ``since``."""
        watched = await watched_since(session)
        return cls(session, servers, since, watched, await newcomers(session, since))

    async def findings(self, grants: Sequence[Grant]) -> list[GrantFinding]:
        """What is found of each of these."""
        if not grants:
            return []
        usage = await usage_of(self._session, grants, self._since)
        given = await given_since(self._session, grants)
        return await in_slices(self._judge(grants, usage, given))

    def _judge(
        self, grants: Sequence[Grant], usage: Mapping[UUID, Usage], given: Mapping[UUID, datetime]
    ) -> Generator[None, None, list[GrantFinding]]:
        found = []
        for grant in grants:
            yield
            right = right_of_row(grant)
            reach = yield from self._reach(right)
            found.append(self._found(grant, right, reach, usage[grant.id], given[grant.id]))
        return found

    def _reach(self, right: ScopeEntry) -> Generator[None, None, Reach]:
        key = (right.servers, right.tools)
        if key not in self._reaches:
            self._reaches[key] = yield from reach_of(right, self._servers.values())
        return self._reaches[key]

    def _found(
        self, grant: Grant, right: ScopeEntry, reach: Reach, usage: Usage, given: datetime
    ) -> GrantFinding:
        observed = max(given, self._watched)
        used = {id: kept for id, kept in kept_of(usage.used).items() if id in reach}
        after = narrowed(right, reach, self._staying(right, used), self._servers, MOST_ITEMS)
        gives = narrowed(right, reach, used, self._servers, MOST_ITEMS) is not None
        if observed > self._since:
            state = StaleState.UNKNOWN
        elif after == right:
            state = StaleState.IN_USE if gives else StaleState.UNKNOWN
        else:
            state = StaleState.PARTLY_USED if gives else StaleState.UNUSED
        proposed = state in {StaleState.UNUSED, StaleState.PARTLY_USED}
        return GrantFinding(
            grant,
            observed,
            usage.last_used_at,
            usage.used_by,
            usage.held_by,
            usage.used,
            state,
            _proposal(grant, right, after) if proposed else None,
            reach,
        )

    def _staying(self, right: ScopeEntry, used: Mapping[UUID, Kept]) -> dict[UUID, Kept]:
        """What was used, with what came within reach too late to be judged."""
        new = self._new
        whole = new.servers | (new.relabelled if isinstance(right.servers, ServersByLabels) else frozenset())
        staying = dict(used)
        for id, names in new.tools.items():
            had = staying.get(id, Kept())
            staying[id] = Kept(had.tools | names, had.resources, had.prompts)
        staying.update((id, Kept(whole=True)) for id in whole)
        return staying


def kept_of(used: Sequence[UsedThing]) -> dict[UUID, Kept]:
    """What was used, by server."""
    tools: dict[UUID, set[str]] = {}
    parts: dict[UUID, set[str]] = {}
    for thing in used:
        found, name = (tools, thing.tool or "") if thing.part == TOOLS else (parts, thing.part)
        found.setdefault(thing.server_id, set()).add(name)
    return {
        id: Kept(
            frozenset(tools.get(id, ())),
            Part.RESOURCES in parts.get(id, ()),
            Part.PROMPTS in parts.get(id, ()),
        )
        for id in tools.keys() | parts.keys()
    }


def _proposal(grant: Grant, before: ScopeEntry, after: ScopeEntry | None) -> Proposal:
    said: list[Any] = [grant.id.hex, grant.revision, None if after is None else _said(after)]
    digest = hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()
    return Proposal(after, () if after is None else notes_on(before, after), digest)


def _said(right: ScopeEntry) -> list[Any]:
    """A right, in an order of its own, as it is digested."""
    servers, tools = right.servers, right.tools
    where: list[str] | None = None
    if isinstance(servers, ServersByIds):
        where = sorted(id.hex for id in servers.ids)
    if isinstance(servers, ServersByLabels):
        where = sorted(f"{key}={value}" for key, value in servers.labels)
    what: list[str] | None = None
    if isinstance(tools, ToolsByNames):
        what = sorted(tools.names)
    if isinstance(tools, ToolsByRisk):
        what = sorted(tools.risks)
    return [type(servers).__name__, where, type(tools).__name__, what, right.resources, right.prompts]
