"""The state that workers share in PostgreSQL: ended sessions, session settings, and approvals that clients wait for.

Workers send each other messages on channels. Messages may be lost, which delays or omits an effect; access never
depends on them. NOTIFY serializes commits, so messages are few and batched.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine, Mapping
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.access.fresh_reads import READ_TIMEOUT_S
from app.admission.store import SessionSettings, StoreUnavailable, WorkerMessages
from app.db.engine import DATABASE_FAULTS, commit, plain_connection
from app.db.jobs import repeat
from app.db.versions import APPROVALS_CHANNEL, move_versions
from app.lib.event_loop import with_timeout
from app.models.tokens import EndedSession, SessionNote

SESSIONS_CHANNEL = "scopegate_sessions"
BATCH_S = 0.05
MAX_WAITING = 1_000
_NOTIFY = text("SELECT pg_notify(:channel, payload) FROM unnest(CAST(:payloads AS text[])) AS t(payload)")

LOOK_EVERY_S = 2.0
"""The interval of the queries: a withdrawn right ends its approvals, which must end the wait for them."""
MAX_DECIDED = 1_000
"""The maximum of decisions that are kept until the next look."""
# Approvals that are missing, expired, or of a person who may no longer call do not count.
_STANDING = text("""
SELECT a.id, a.state = 'pending' AS waits
FROM approvals a JOIN identities i ON i.id = a.identity_id LEFT JOIN identities o ON o.id = i.owner_id
WHERE a.id = ANY(CAST(:ids AS uuid[])) AND a.state IN ('pending', 'approved') AND a.expires_at > clock_timestamp()
  AND i.status = 'active' AND coalesce(o.status, 'active') = 'active'
""")
_WHOSE = text(
    "SELECT id, token_id FROM approvals WHERE id = ANY(CAST(:ids AS uuid[])) AND token_id IS NOT NULL"
)

Result = TypeVar("Result")
Row = TypeVar("Row", EndedSession, SessionNote)


class SharedState:
    """The part of ``PostgresStore`` that workers share."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._cancels: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self._waits: dict[asyncio.Future[None], frozenset[UUID]] = {}
        self._news = asyncio.Event()
        self._decided: set[UUID] = set()
        self.worker: WorkerMessages | None = None
        """The receiver of messages; set once it exists."""

    async def end_session(self, session_id: UUID, token_id: UUID) -> None:
        await _in_time(self._end_session(session_id, token_id))

    async def _end_session(self, session_id: UUID, token_id: UUID) -> None:
        async with self._sessions() as session:
            statement = insert(EndedSession).values(session_id=session_id, token_id=token_id)
            await session.execute(statement.on_conflict_do_nothing())
            await session.execute(delete(SessionNote).where(col(SessionNote.session_id) == session_id))
            # Calls of the session depend on its version being 0, which this commit changes.
            await move_versions(session, [session_id], narrows=True)
            await commit(session)

    async def has_session_ended(self, session_id: UUID) -> bool:
        return await _in_time(self._read(EndedSession, session_id)) is not None

    async def read_session_settings(self, session_id: UUID) -> SessionSettings:
        return _settings(await _in_time(self._read(SessionNote, session_id)))

    async def _read(self, table: type[Row], session_id: UUID) -> Row | None:
        async with self._sessions() as session:
            return await session.get(table, session_id)

    async def change_session_settings(
        self, session_id: UUID, token_id: UUID, change: Callable[[SessionSettings], SessionSettings]
    ) -> SessionSettings:
        return await _in_time(self._change_settings(session_id, token_id, change))

    async def _change_settings(
        self, session_id: UUID, token_id: UUID, change: Callable[[SessionSettings], SessionSettings]
    ) -> SessionSettings:
        async with self._sessions() as session:
            row = insert(SessionNote).values(session_id=session_id, token_id=token_id, subscriptions=[])
            await session.execute(row.on_conflict_do_nothing())
            this = select(SessionNote).where(col(SessionNote.session_id) == session_id)
            note = (await session.execute(this.with_for_update())).scalar_one()
            before = _settings(note)
            settings = change(before)
            if settings == before:
                return settings
            note.log_level, note.subscriptions = settings.log_level, sorted(settings.subscriptions)
            await _notify(session, [json.dumps([session_id.hex])])
            await commit(session)
            return settings

    def broadcast_cancel(self, session_id: UUID, request_id: str | int) -> None:
        if not self._cancels.full():
            self._cancels.put_nowait(json.dumps([session_id.hex, request_id]))

    async def wait_for_approvals(self, ids: Collection[UUID]) -> None:
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits[settled] = frozenset(ids)
        # It may have been decided before this wait began.
        self._news.set()
        try:
            await settled
        finally:
            del self._waits[settled]

    def receivers(self) -> Mapping[str, Callable[[str | None], None]]:
        """The handlers of the channels. Each gets the payload of a message; ``None`` if some may have been missed."""
        return {SESSIONS_CHANNEL: self.receive_session, APPROVALS_CHANNEL: self.receive_approval}

    def receive_session(self, payload: str | None) -> None:
        """Forward a message of a worker, including this one."""
        if self.worker is None:
            return
        if payload is None:
            self.worker.forget_session_settings(None)
            return
        session, *request = json.loads(payload)
        if request:
            self.worker.cancel_call(UUID(hex=session), request[0])
        else:
            self.worker.forget_session_settings(UUID(hex=session))

    def receive_approval(self, payload: str | None) -> None:
        """Handle a decided approval."""
        if payload is not None and self.worker is not None and self.worker.has_approval_listeners:
            if len(self._decided) < MAX_DECIDED:
                self._decided.add(UUID(hex=payload))
            self._news.set()
        if self._waits:
            self._news.set()

    async def run(self) -> None:
        """Send cancellations and query approvals until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_cancels())
            tasks.create_task(
                repeat("reading approvals", self._query_approvals, LOOK_EVERY_S, wake=self._news)
            )

    async def _send_cancels(self) -> None:
        """Messages that cannot be sent are dropped."""
        while True:
            payloads = [await self._cancels.get()]
            await asyncio.sleep(BATCH_S)
            while not self._cancels.empty():
                payloads.append(self._cancels.get_nowait())
            try:
                async with self._sessions() as session:
                    await _notify(session, payloads)
                    await session.commit()
            except DATABASE_FAULTS:
                continue

    async def _query_approvals(self) -> None:
        """One statement queries all approvals that requests wait for, so that a wait holds no connection."""
        wanted = {id for ids in self._waits.values() for id in ids}
        decided, self._decided = self._decided, set()
        if not wanted and not decided:
            return
        async with self._sessions() as session:
            standing = {row.id: row.waits for row in await session.execute(_STANDING, {"ids": list(wanted)})}
            whose = list(await session.execute(_WHOSE, {"ids": list(decided)})) if decided else []
        for id, token_id in whose:
            if self.worker is not None:
                self.worker.announce_approval(id, token_id)
        for settled, ids in list(self._waits.items()):
            if not settled.done() and not (ids <= standing.keys() and any(standing[id] for id in ids)):
                settled.set_result(None)


async def _in_time(work: Coroutine[None, None, Result]) -> Result:
    """Run a short transaction. Raises ``StoreUnavailable``, also when it takes too long."""
    try:
        return await with_timeout(READ_TIMEOUT_S, work)
    except DATABASE_FAULTS as error:
        raise StoreUnavailable from error


async def _notify(session: AsyncSession, payloads: list[str]) -> None:
    await session.execute(_NOTIFY, {"channel": SESSIONS_CHANNEL, "payloads": payloads})


def _settings(row: SessionNote | None) -> SessionSettings:
    return SessionSettings() if row is None else SessionSettings(row.log_level, frozenset(row.subscriptions))


OVER_FOR = timedelta(days=31)
"""Far longer than any decision is cached and than the clocks of two primaries differ."""
AT_ONCE = 5_000
# Each session is read once, in the order of ids. The database's clock decides, as for calls.
_FORGET = """
WITH looked AS (
    SELECT session_id, token_id FROM ended_sessions WHERE session_id > $1 ORDER BY session_id LIMIT $2
), over AS (
    SELECT l.session_id FROM looked l JOIN tokens t ON t.id = l.token_id
    WHERE least(t.expires_at, t.revoked_at) < clock_timestamp() - $3::interval
), ends AS (
    DELETE FROM ended_sessions e USING over o WHERE e.session_id = o.session_id
), versions AS (
    DELETE FROM access_versions v USING over o WHERE v.id = o.session_id
)
SELECT (SELECT session_id FROM looked ORDER BY session_id DESC LIMIT 1) AS last, (SELECT count(*) FROM over) AS gone
"""
_BEFORE_ALL = UUID(int=0)


async def forget_ended_sessions(owner_url: str, *, at_once: int = AT_ONCE) -> int:
    """Delete the ended sessions whose token has been over for ``OVER_FOR``, in batches. Returns how many.

    The version of an ended session blocks its calls, which depend on version 0. They also depend on the session's
    token, which blocks them for good once it has expired or was revoked. Versions of other objects are never deleted: a
    worker that remembers one could mistake a restarted count for it.

    Raises ``DRIVER_FAULTS``.
    """
    async with plain_connection(owner_url) as connection:
        count, last = 0, _BEFORE_ALL
        while True:
            row = await connection.fetchrow(_FORGET, last, at_once, OVER_FOR)
            if row is None or row["last"] is None:
                return count
            count, last = count + row["gone"], row["last"]
