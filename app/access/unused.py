"""What of a grant nobody used, and what it could be narrowed to.

What is read to tell how much of a grant was used: uses, who holds it, since when it gives what it gives, and what of
the fleet is too new to be judged.
"""

import hashlib
import json
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.grant_uses import TOOLS
from app.domain.objects import Part, Server
from app.domain.scopes import (
    ListedScope,
    ScopeEntry,
    ServersByIds,
    ServersByLabels,
    ServerSelector,
    ToolsByNames,
    ToolsByRisk,
    ToolSelector,
    scope_within,
)
from app.domain.stale import Kept, Note, Reach, narrowed, notes_on, reach_of
from app.http.selectors import MAX_ITEMS, load_server_selector, load_tool_selector
from app.lib.event_loop import in_slices
from app.models.grants import Grant

# A watch that is not there saw nothing.
_WATCH = text("SELECT coalesce((SELECT since FROM use_watches WHERE subject = 'grants'), now())")

_USES = text("""
SELECT grant_id, server_id, part, tool, last_used_at FROM grant_uses
WHERE grant_id = ANY(:ids) AND last_used_at > :since ORDER BY last_used_at DESC, server_id, part, tool
""")

_LAST = text(
    "SELECT grant_id, max(last_used_at) AS last_used_at FROM grant_uses WHERE grant_id = ANY(:ids) GROUP BY grant_id"
)

# Of a group those count who are in it still.
_USERS = text("""
SELECT u.grant_id, count(*) AS number FROM grant_users u JOIN grants g ON g.id = u.grant_id
WHERE u.grant_id = ANY(:ids) AND u.last_used_at > :since AND (g.identity_id = u.identity_id OR EXISTS (
    SELECT FROM group_members m WHERE m.group_id = g.group_id AND m.identity_id = u.identity_id
)) GROUP BY u.grant_id
""")

_MEMBERS = text(
    "SELECT group_id, count(*) AS number FROM group_members WHERE group_id = ANY(:ids) GROUP BY group_id"
)

_HISTORY = text("""
SELECT object_id, valid_from, content FROM object_versions
WHERE object_id = ANY(:ids) AND kind = 'grant' ORDER BY object_id, version DESC
""")

# What has a version of the window may be new or otherwise than it was; what has none has been as it is all along.
_NEW_SERVERS = text("""
SELECT s.id, s.created_at > :since AS made FROM servers s
WHERE s.ended_at IS NULL AND (s.id IN (
    SELECT changed.object_id FROM object_versions changed
    WHERE changed.kind = 'server' AND changed.valid_from > :since
) AND EXISTS (
    SELECT FROM object_versions v
    WHERE v.object_id = s.id AND v.kind = 'server' AND v.valid_to > :since AND v.content -> 'labels' <> s.labels
) OR s.created_at > :since)
""")

_NEW_TOOLS = text("""
SELECT t.server_id, t.name FROM tools t
WHERE t.state = 'active' AND t.id IN (
    SELECT changed.object_id FROM object_versions changed
    WHERE changed.kind = 'tool_definition' AND changed.valid_from > :since
) AND (t.created_at > :since OR EXISTS (
    SELECT FROM object_versions v
    WHERE v.object_id = t.id AND v.kind = 'tool_definition' AND v.valid_to > :since
        AND (v.content ->> 'risk' <> t.risk OR v.content ->> 'state' <> 'active')
))
""")


@dataclass(frozen=True, slots=True)
class UsedThing:
    """A tool of a server, or another part of it (then without a tool), and when it was last used."""

    server_id: UUID
    part: str
    tool: str | None
    last_used_at: datetime


@dataclass(slots=True)
class Usage:
    """What is known of the use of one grant: in the window, and when last at all; by how many, of how many."""

    used: list[UsedThing] = field(default_factory=list)
    last_used_at: datetime | None = None
    used_by: int = 0
    held_by: int = 1


@dataclass(frozen=True, slots=True)
class Newcomers:
    """What came within reach of grants inside the window: servers that were made, or labelled as they are; and tools,
    by server, that were found, approved, or given the risk that they have."""

    servers: frozenset[UUID]
    relabelled: frozenset[UUID]
    tools: Mapping[UUID, frozenset[str]]


async def watched_since(session: AsyncSession) -> datetime:
    """Since when uses of grants are written down."""
    since: datetime = (await session.execute(_WATCH)).scalar_one()
    return since


async def usage_of(session: AsyncSession, grants: Sequence[Grant], since: datetime) -> dict[UUID, Usage]:
    """The use of these grants in the window that began at ``since``."""
    found = {grant.id: Usage() for grant in grants}
    asked: dict[str, Any] = {"ids": list(found), "since": since}
    for row in await session.execute(_USES, asked):
        thing = UsedThing(row.server_id, row.part, row.tool or None, row.last_used_at)
        found[row.grant_id].used.append(thing)
    for row in await session.execute(_LAST, {"ids": list(found)}):
        found[row.grant_id].last_used_at = row.last_used_at
    for row in await session.execute(_USERS, asked):
        found[row.grant_id].used_by = row.number
    groups = {grant.group_id for grant in grants if grant.group_id is not None}
    members = {row.group_id: row.number for row in await session.execute(_MEMBERS, {"ids": list(groups)})}
    for grant in grants:
        if grant.group_id is not None:
            found[grant.id].held_by = members.get(grant.group_id, 0)
    return found


async def given_since(session: AsyncSession, grants: Collection[Grant]) -> dict[UUID, datetime]:
    """Since when each grant has given all that it gives now: what was wider before gave that too, as far as it had
    begun and had not expired."""
    now = {grant.id: right_of_row(grant) for grant in grants}
    # Of a grant that never gave anything else, when it was made counts.
    since = {grant.id: grant.created_at for grant in grants}
    following: dict[UUID, datetime] = {}
    done: set[UUID] = set()
    for row in await session.execute(_HISTORY, {"ids": list(now)}):
        if row.object_id in done:
            continue
        later = following.get(row.object_id)
        if later is not None and not _gave(row.content, now[row.object_id], later):
            since[row.object_id] = max(since[row.object_id], later)
            done.add(row.object_id)
        elif later is not None and (begun := _time(row.content["not_before"])) is not None:
            # Until then it gave nothing, whatever was before.
            since[row.object_id] = max(since[row.object_id], begun)
        following[row.object_id] = row.valid_from
    return {grant.id: max(since[grant.id], grant.not_before or since[grant.id]) for grant in grants}


def _gave(content: Mapping[str, Any], right: ScopeEntry, until: datetime) -> bool:
    """Whether a version of a grant gave all of a right until its successor came."""
    not_before, expires_at = _time(content["not_before"]), _time(content["expires_at"])
    if (not_before is not None and not_before >= until) or (expires_at is not None and expires_at < until):
        return False
    before = ScopeEntry(
        load_server_selector(content["servers"]),
        load_tool_selector(content["tools"]),
        content["resources"],
        content["prompts"],
    )
    return scope_within(ListedScope((right,)), ListedScope((before,)))


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def right_of_row(grant: Grant) -> ScopeEntry:
    """What a stored grant gives, apart from whom and when."""
    return ScopeEntry(
        load_server_selector(grant.servers), load_tool_selector(grant.tools), grant.resources, grant.prompts
    )


async def newcomers(session: AsyncSession, since: datetime) -> Newcomers:
    """What of the fleet is newer than ``since``."""
    servers: set[UUID] = set()
    relabelled: set[UUID] = set()
    for row in await session.execute(_NEW_SERVERS, {"since": since}):
        (servers if row.made else relabelled).add(row.id)
    tools: dict[UUID, set[str]] = {}
    for row in await session.execute(_NEW_TOOLS, {"since": since}):
        tools.setdefault(row.server_id, set()).add(row.name)
    return Newcomers(
        frozenset(servers), frozenset(relabelled), {id: frozenset(names) for id, names in tools.items()}
    )


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
        after = narrowed(right, reach, self._staying(right, used), self._servers, MAX_ITEMS)
        gives = narrowed(right, reach, used, self._servers, MAX_ITEMS) is not None
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
