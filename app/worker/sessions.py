"""What workers keep for each other of sessions on ``/mcp``: notes in PostgreSQL, and words on a channel of their own.

Words may be lost, and then something happens later or not at all; nothing that access rests on is told this way.
"""

import asyncio
import json
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.access.fresh_reads import READ_TIMEOUT_S
from app.admission.store import Notes, StoreUnavailable
from app.db.engine import commit
from app.gateway import Gateway
from app.lib.timeouts import in_time
from app.models.sessions import SessionNote
from app.worker.ports import AWAY

CHANNEL = "scopegate_sessions"
BATCH_S = 0.05
MAX_WAITING = 1_000

_NOTIFY = text("SELECT pg_notify(:channel, payload) FROM unnest(CAST(:payloads AS text[])) AS t(payload)")


class SessionNotesPort:
    """``admission.store.SessionNotes``: a row for each session that asked for something."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def read(self, session_id: UUID) -> Notes:
        try:
            return await in_time(READ_TIMEOUT_S, self._read(session_id))
        except AWAY as error:
            raise StoreUnavailable from error

    async def _read(self, session_id: UUID) -> Notes:
        async with self._sessions() as session:
            return _notes(await session.get(SessionNote, session_id))

    async def change(self, session_id: UUID, token_id: UUID, change: Callable[[Notes], Notes]) -> Notes:
        try:
            return await in_time(READ_TIMEOUT_S, self._change(session_id, token_id, change))
        except AWAY as error:
            raise StoreUnavailable from error

    async def _change(self, session_id: UUID, token_id: UUID, change: Callable[[Notes], Notes]) -> Notes:
        async with self._sessions() as session:
            row = insert(SessionNote).values(session_id=session_id, token_id=token_id, subscriptions=[])
            await session.execute(row.on_conflict_do_nothing())
            this = select(SessionNote).where(col(SessionNote.session_id) == session_id)
            note = (await session.execute(this.with_for_update())).scalar_one()
            before = _notes(note)
            notes = change(before)
            if notes == before:
                return notes
            note.log_level, note.subscriptions = notes.log_level, sorted(notes.subscriptions)
            payload = json.dumps([session_id.hex])
            await session.execute(_NOTIFY, {"channel": CHANNEL, "payloads": [payload]})
            await commit(session)
            return notes


def _notes(row: SessionNote | None) -> Notes:
    return Notes() if row is None else Notes(row.log_level, frozenset(row.subscriptions))


class NeighboursPort:
    """``admission.store.Neighbours``. Few and together: each NOTIFY makes commits wait for each other."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self.gateway: Gateway | None = None
        """Who hears what other workers say; set once there is one."""

    def tell_cancelled(self, session_id: UUID, request_id: str | int) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(json.dumps([session_id.hex, request_id]))

    def hear(self, payload: str | None) -> None:
        """Pass on what a worker said, this one too; ``None`` when something may have been missed."""
        if self.gateway is None:
            return
        if payload is None:
            self.gateway.notes_changed_elsewhere(None)
            return
        session, *request = json.loads(payload)
        if request:
            self.gateway.cancelled_elsewhere(UUID(hex=session), request[0])
        else:
            self.gateway.notes_changed_elsewhere(UUID(hex=session))

    async def run(self) -> None:
        """Say what is to be said until cancelled; what cannot be said is forgotten."""
        while True:
            payloads = [await self._waiting.get()]
            await asyncio.sleep(BATCH_S)
            while not self._waiting.empty():
                payloads.append(self._waiting.get_nowait())
            try:
                async with self._sessions() as session:
                    await session.execute(_NOTIFY, {"channel": CHANNEL, "payloads": payloads})
                    await session.commit()
            except AWAY:
                continue
