"""Unused access of grants, and proposals to narrow them.

It depends on the uses of a grant, its holders, since when it gives its present access, and which servers and tools are
too new to judge.
"""

import hashlib
import json
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import scopes
from app.domain.objects import Part, Server
from app.domain.unused_access import Note, Reach, RetainedAccess, narrow, notes_on, reach_of
from app.http.selectors import MAX_ITEMS, load_server_selector, load_tool_selector
from app.lib.event_loop import in_slices
from app.models.access import Grant

# Without a row, nothing was recorded yet.
_WATCH = text("SELECT coalesce((SELECT since FROM use_watches WHERE subject = 'grants'), now())")

_USES = text("""
SELECT grant_id, server_id, part, tool, last_used_at FROM grant_uses
WHERE grant_id = ANY(:ids) AND last_used_at > :since ORDER BY last_used_at DESC, server_id, part, tool
""")

_LAST = text(
    "SELECT grant_id, max(last_used_at) AS last_used_at FROM grant_uses WHERE grant_id = ANY(:ids) GROUP BY grant_id"
)

# For a group, only its present members count.
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

# Only objects with a version inside the window can be new or changed.
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

TOOLS = "tools"
"""The part for calls of tools; the others are those of ``domain.objects.Part``."""
MAX_WINDOW = timedelta(days=730)

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
    """A used tool of a server, or another part of it (then without a tool), and its last use."""

    server_id: UUID
    part: str
    tool: str | None
    last_used_at: datetime


@dataclass(slots=True)
class Usage:
    """The use of a grant: in the window, its last use at all, and the numbers of users and holders."""

    used: list[UsedThing] = field(default_factory=list)
    last_used_at: datetime | None = None
    used_by: int = 0
    held_by: int = 1


@dataclass(frozen=True, slots=True)
class NewAccess:
    """Access that is new in the window: created or relabelled servers, and, by server, tools that were found, approved
    or assigned their present risk."""

    servers: frozenset[UUID]
    relabelled: frozenset[UUID]
    tools: Mapping[UUID, frozenset[str]]


async def recording_start(session: AsyncSession) -> datetime:
    """Since when uses of grants are recorded."""
    since: datetime = (await session.execute(_WATCH)).scalar_one()
    return since


async def usage_of(session: AsyncSession, grants: Sequence[Grant], since: datetime) -> dict[UUID, Usage]:
    """The use of these grants in the window that began at ``since``."""
    usage = {grant.id: Usage() for grant in grants}
    parameters: dict[str, Any] = {"ids": list(usage), "since": since}
    for row in await session.execute(_USES, parameters):
        thing = UsedThing(row.server_id, row.part, row.tool or None, row.last_used_at)
        usage[row.grant_id].used.append(thing)
    for row in await session.execute(_LAST, {"ids": list(usage)}):
        usage[row.grant_id].last_used_at = row.last_used_at
    for row in await session.execute(_USERS, parameters):
        usage[row.grant_id].used_by = row.number
    groups = {grant.group_id for grant in grants if grant.group_id is not None}
    members = {row.group_id: row.number for row in await session.execute(_MEMBERS, {"ids": list(groups)})}
    for grant in grants:
        if grant.group_id is not None:
            usage[grant.id].held_by = members.get(grant.group_id, 0)
    return usage


async def given_since(session: AsyncSession, grants: Collection[Grant]) -> dict[UUID, datetime]:
    """Since when each grant has given at least its present access. Wider versions count if they were in effect."""
    now = {grant.id: stored_right(grant) for grant in grants}
    # A grant that never changed counts from its creation.
    since = {grant.id: grant.created_at for grant in grants}
    following: dict[UUID, datetime] = {}
    done: set[UUID] = set()
    for row in await session.execute(_HISTORY, {"ids": list(now)}):
        if row.object_id in done:
            continue
        later = following.get(row.object_id)
        if later is not None and not _gave_all(row.content, now[row.object_id], later):
            since[row.object_id] = max(since[row.object_id], later)
            done.add(row.object_id)
        elif later is not None and (begun := _time(row.content["not_before"])) is not None:
            # Before that it gave nothing.
            since[row.object_id] = max(since[row.object_id], begun)
        following[row.object_id] = row.valid_from
    return {grant.id: max(since[grant.id], grant.not_before or since[grant.id]) for grant in grants}


def _gave_all(content: Mapping[str, Any], right: scopes.ScopeEntry, until: datetime) -> bool:
    """Whether a version of a grant gave all of a right until the next version."""
    not_before, expires_at = _time(content["not_before"]), _time(content["expires_at"])
    if (not_before is not None and not_before >= until) or (expires_at is not None and expires_at < until):
        return False
    before = scopes.ScopeEntry(
        load_server_selector(content["servers"]),
        load_tool_selector(content["tools"]),
        content["resources"],
        content["prompts"],
    )
    return scopes.scope_within(scopes.ListedScope((right,)), scopes.ListedScope((before,)))


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def stored_right(grant: Grant) -> scopes.ScopeEntry:
    """The access that a stored grant gives, without its holder and time."""
    return scopes.ScopeEntry(
        load_server_selector(grant.servers), load_tool_selector(grant.tools), grant.resources, grant.prompts
    )


async def find_new_access(session: AsyncSession, since: datetime) -> NewAccess:
    """Read which access is newer than ``since``."""
    servers: set[UUID] = set()
    relabelled: set[UUID] = set()
    for row in await session.execute(_NEW_SERVERS, {"since": since}):
        (servers if row.made else relabelled).add(row.id)
    tools: dict[UUID, set[str]] = {}
    for row in await session.execute(_NEW_TOOLS, {"since": since}):
        tools.setdefault(row.server_id, set()).add(row.name)
    return NewAccess(
        frozenset(servers), frozenset(relabelled), {id: frozenset(names) for id, names in tools.items()}
    )


class UsageState(StrEnum):
    """How much of a grant's access was used."""

    UNUSED = "unused"
    PARTLY_USED = "partly_used"
    IN_USE = "in_use"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Proposal:
    """The proposed access of a grant, ``None`` to end it. ``digest`` identifies this proposal for this revision."""

    right: scopes.ScopeEntry | None
    notes: tuple[Note, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class GrantFinding:
    """A grant with its uses in the window, the latest first, and its reach."""

    grant: Grant
    observed_since: datetime
    last_used_at: datetime | None
    used_by: int
    held_by: int
    used: Sequence[UsedThing]
    state: UsageState
    proposal: Proposal | None
    reach: Reach

    def unused(self, most: int) -> tuple[list[tuple[UUID, str]], int]:
        """The first ``most`` unused tools within reach, by server, and the number of all of them."""
        used = used_by_server(self.used)
        shown: list[tuple[UUID, str]] = []
        count = 0
        for id, names in self.reach.items():
            unused_names = names - used[id].tools if id in used else names
            count += len(unused_names)
            if len(shown) < most:
                shown += [(id, name) for name in sorted(unused_names)[: most - len(shown)]]
        return shown, count


@dataclass(slots=True)
class UsageReview:
    """Reviews the use of grants since a time. Computes equal reaches only once."""

    _session: AsyncSession
    _servers: Mapping[UUID, Server]
    _since: datetime
    _watched: datetime
    _new: NewAccess
    _reaches: dict[tuple[scopes.ServerSelector, scopes.ToolSelector], Reach] = field(default_factory=dict)

    @classmethod
    async def of(
        cls, session: AsyncSession, servers: Mapping[UUID, Server], since: datetime
    ) -> "UsageReview":
        """Create a review of the window from ``since`` on."""
        watched = await recording_start(session)
        return cls(session, servers, since, watched, await find_new_access(session, since))

    async def findings(self, grants: Sequence[Grant]) -> list[GrantFinding]:
        """The findings for these grants."""
        if not grants:
            return []
        usage = await usage_of(self._session, grants, self._since)
        since_by_grant = await given_since(self._session, grants)
        return await in_slices(self._review(grants, usage, since_by_grant))

    def _review(
        self, grants: Sequence[Grant], usage: Mapping[UUID, Usage], since_by_grant: Mapping[UUID, datetime]
    ) -> Generator[None, None, list[GrantFinding]]:
        findings = []
        for grant in grants:
            yield
            right = stored_right(grant)
            reach = yield from self._reach(right)
            findings.append(self._finding(grant, right, reach, usage[grant.id], since_by_grant[grant.id]))
        return findings

    def _reach(self, right: scopes.ScopeEntry) -> Generator[None, None, Reach]:
        key = (right.servers, right.tools)
        if key not in self._reaches:
            self._reaches[key] = yield from reach_of(right, self._servers.values())
        return self._reaches[key]

    def _finding(
        self, grant: Grant, right: scopes.ScopeEntry, reach: Reach, usage: Usage, since: datetime
    ) -> GrantFinding:
        observed = max(since, self._watched)
        used = {id: kept for id, kept in used_by_server(usage.used).items() if id in reach}
        after = narrow(right, reach, self._retained(right, used), self._servers, MAX_ITEMS)
        gives = narrow(right, reach, used, self._servers, MAX_ITEMS) is not None
        if observed > self._since:
            state = UsageState.UNKNOWN
        elif after == right:
            state = UsageState.IN_USE if gives else UsageState.UNKNOWN
        else:
            state = UsageState.PARTLY_USED if gives else UsageState.UNUSED
        proposed = state in {UsageState.UNUSED, UsageState.PARTLY_USED}
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

    def _retained(
        self, right: scopes.ScopeEntry, used: Mapping[UUID, RetainedAccess]
    ) -> dict[UUID, RetainedAccess]:
        """The used access, plus access that is too new to judge."""
        new = self._new
        whole = new.servers | (
            new.relabelled if isinstance(right.servers, scopes.ServersByLabels) else frozenset()
        )
        retained = dict(used)
        for id, names in new.tools.items():
            had = retained.get(id, RetainedAccess())
            retained[id] = RetainedAccess(had.tools | names, had.resources, had.prompts)
        retained.update((id, RetainedAccess(whole=True)) for id in whole)
        return retained


def used_by_server(used: Sequence[UsedThing]) -> dict[UUID, RetainedAccess]:
    """The used access by server."""
    tools: dict[UUID, set[str]] = {}
    parts: dict[UUID, set[str]] = {}
    for thing in used:
        by_server, name = (tools, thing.tool or "") if thing.part == TOOLS else (parts, thing.part)
        by_server.setdefault(thing.server_id, set()).add(name)
    return {
        id: RetainedAccess(
            frozenset(tools.get(id, ())),
            Part.RESOURCES in parts.get(id, ()),
            Part.PROMPTS in parts.get(id, ()),
        )
        for id in tools.keys() | parts.keys()
    }


def _proposal(grant: Grant, before: scopes.ScopeEntry, after: scopes.ScopeEntry | None) -> Proposal:
    content: list[Any] = [grant.id.hex, grant.revision, None if after is None else _canonical_right(after)]
    digest = hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
    return Proposal(after, () if after is None else notes_on(before, after), digest)


def _canonical_right(right: scopes.ScopeEntry) -> list[Any]:
    """The canonical form of a right, for its digest."""
    servers, tools = right.servers, right.tools
    where = what = None
    match servers:
        case scopes.ServersByIds(ids):
            where = sorted(id.hex for id in ids)
        case scopes.ServersByLabels(labels):
            where = sorted(f"{key}={value}" for key, value in labels)
    match tools:
        case scopes.ToolsByNames(selected) | scopes.ToolsByRisk(selected):
            what = sorted(selected)
    return [type(servers).__name__, where, type(tools).__name__, what, right.resources, right.prompts]
