"""The uses of tokens and grants by admitted calls.

Each worker collects uses in memory, never reading or writing during a call, and writes them once per minute. The grants
that allowed a call are determined then: all that match. Old uses are deleted.
"""

import asyncio
import logging
from collections.abc import Collection, Generator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.access.unused import MAX_WINDOW, TOOLS
from app.admission.store import DecidedCall
from app.db.clock import DatabaseClock
from app.db.engine import delete_rows
from app.db.jobs import repeat
from app.domain.objects import Part, Server, Token
from app.domain.unused_access import grants_giving
from app.lib.event_loop import in_slices

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 60.0
MAX_NOTED = 50_000
"""The number of different uses that triggers a write; twice as many are kept while writes fail."""
_PARTS: dict[str, Part | None] = {
    "tool.call": None,
    "resource.read": Part.RESOURCES,
    "resource.subscribe": Part.RESOURCES,
    "prompt.get": Part.PROMPTS,
}
"""The part of a server that an action uses. Lists do not count, since clients request all lists when they start."""
_Noted = tuple[Token, Server, Part | None, str | None]

Use = tuple[UUID, UUID, str, str]
"""Grant, server, part, tool."""
User = tuple[UUID, UUID]
"""Grant, identity."""

_WRITE_TOKENS = text("""
INSERT INTO token_uses (token_id, last_used_at)
SELECT id, clock_timestamp() FROM tokens WHERE id = ANY(CAST(:ids AS uuid[]))
ON CONFLICT (token_id) DO UPDATE SET last_used_at = excluded.last_used_at
""")
_FORGET_NOTES = text("""
DELETE FROM session_notes WHERE token_id IN (
    SELECT id FROM tokens WHERE expires_at < clock_timestamp() OR revoked_at IS NOT NULL
)
""")
# Rows are written in the order of their keys, so that two workers cannot deadlock.
_WRITE_USES = text("""
INSERT INTO grant_uses (grant_id, server_id, part, tool, last_used_at)
SELECT t.*, clock_timestamp()
FROM unnest(CAST(:grants AS uuid[]), CAST(:servers AS uuid[]), CAST(:parts AS text[]), CAST(:tools AS text[])) AS t
ON CONFLICT (grant_id, server_id, part, tool) DO UPDATE SET last_used_at = excluded.last_used_at
""")
_WRITE_USERS = text("""
INSERT INTO grant_users (grant_id, identity_id, last_used_at)
SELECT t.*, clock_timestamp() FROM unnest(CAST(:grants AS uuid[]), CAST(:identities AS uuid[])) AS t
ON CONFLICT (grant_id, identity_id) DO UPDATE SET last_used_at = excluded.last_used_at
""")
_AT_ONCE = 5_000


class CallUses:
    """Collects the uses of each recorded call."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], clock: DatabaseClock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._tokens: set[UUID] = set()
        self._noted: dict[tuple[int, int, str, str | None], _Noted] = {}
        self._many = asyncio.Event()
        self._lost = False

    def note(self, call: DecidedCall, *, runs: bool) -> None:
        """Record a recorded call; a call that does not run uses no grant."""
        self._tokens.add(call.token.id)
        server, action = call.server, call.action
        if not runs or server is None or action not in _PARTS:
            return
        # Keyed by object identity, which is fast; the objects are kept, so that no address is reused.
        key = (id(call.token), id(server), action, call.tool)
        if key in self._noted:
            return
        if len(self._noted) >= MAX_NOTED:
            self._many.set()
            if len(self._noted) >= 2 * MAX_NOTED:
                self._lost = True
                return
        self._noted[key] = (call.token, server, _PARTS[action], call.tool)

    def note_token(self, token_id: UUID) -> None:
        """Record the use of a token."""
        self._tokens.add(token_id)

    async def flush(self) -> None:
        """Write the collected uses. Raises database errors, and then keeps what was not written."""
        try:
            await self._flush_tokens()
        finally:
            await self._flush_grants()

    async def _flush_tokens(self) -> None:
        used, self._tokens = self._tokens, set()
        if not used:
            return
        try:
            async with self._sessions() as session:
                await session.execute(_WRITE_TOKENS, {"ids": sorted(used)})
                await session.execute(_FORGET_NOTES)
                await session.commit()
        except BaseException:
            self._tokens |= used
            raise

    async def _flush_grants(self) -> None:
        noted, self._noted = self._noted, {}
        self._many.clear()
        if not noted:
            return
        try:
            uses, users = await in_slices(self._rows(list(noted.values())))
            async with self._sessions() as session:
                await _write_batches(session, _WRITE_USES, ("grants", "servers", "parts", "tools"), uses)
                await _write_batches(session, _WRITE_USERS, ("grants", "identities"), users)
        except BaseException:
            self._noted = noted | self._noted
            raise
        if self._lost:
            self._lost = False
            log.warning("More uses than could be written: some uses of grants were not recorded.")

    def _rows(self, noted: list[_Noted]) -> Generator[None, None, tuple[set[Use], set[User]]]:
        uses: set[Use] = set()
        users: set[User] = set()
        now = self._clock.now()
        for token, server, part, tool in noted:
            yield
            name = None if part is not None else tool
            for link in token.chain():
                for grant_id in grants_giving(link.identity, server, name, part, now):
                    uses.add((grant_id, server.id, TOOLS if part is None else part.value, name or ""))
                    users.add((grant_id, link.identity.id))
        return uses, users

    async def run(self) -> None:
        """Flush once per minute, or after many uses, until cancelled."""
        await repeat("writing uses", self.flush, FLUSH_EVERY_S, wake=self._many)


async def _write_batches(
    session: AsyncSession, statement: TextClause, names: Sequence[str], rows: Collection[tuple[object, ...]]
) -> None:
    """Write rows in the order of their keys. Each batch has its own transaction."""
    ordered: list[Any] = sorted(rows)
    for start in range(0, len(ordered), _AT_ONCE):
        columns = zip(*ordered[start : start + _AT_ONCE], strict=True)
        await session.execute(statement, dict(zip(names, map(list, columns), strict=True)))
        await session.commit()


# Uses of ended grants are no longer reported.
_FORGET = """
DELETE FROM {table} u WHERE last_used_at < $1
    OR EXISTS (SELECT FROM grants g WHERE g.id = u.grant_id AND g.ended_at < $2)
"""
_ENDED_FOR = timedelta(days=31)


async def forget_uses(owner_url: str, *, now: datetime) -> int:
    """Delete the uses that no report needs: older than the longest window, or of an ended grant. Returns how many.

    Raises ``DRIVER_FAULTS``.
    """
    count = 0
    for table in ("grant_uses", "grant_users"):
        statement = _FORGET.format(table=table)
        count += await delete_rows(owner_url, statement, now - MAX_WINDOW, now - _ENDED_FOR)
    return count
