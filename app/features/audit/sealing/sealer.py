"""Sealing: the events that nothing can precede any more become leaves of a tree, and a signed checkpoint says so.

One worker at a time seals, the one that has a lock on a session of the database. That it is one spares work; that the
tree stays one tree rests on the transaction that writes a checkpoint: it takes a lock of its own, and goes on from the
last checkpoint that is there or not at all.

The name of the log, which stands in each checkpoint: kept in the database, whatever the address of a replica.

See ADR 22.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import Self

from asyncpg import Connection, InterfaceError, PostgresError, Record, UniqueViolationError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.signed_notes import Checkpoint, Note, NoteFault, NoteSigner, open_checkpoint
from app.db.engine import OUT_OF_REACH
from app.db.rewinds import RewindGuard, WentBack
from app.domain.errors import Unavailable
from app.domain.merkle import leaf_hash
from app.features.audit.epochs import record_by_system
from app.features.audit.queries import Position
from app.features.audit.sealing.leaves import (
    BEGINNING,
    MOST_LEAVES,
    PREVIOUS,
    Edge,
    LogFault,
    Sealed,
    SealedTree,
    Tile,
    connection_of,
    latest_checkpoint,
    leaf_of,
    read_stretch,
)
from app.lib.ids import new_id
from app.lib.logs import log_fault

RENAME = "audit.rename_log"
_NAMES = "SELECT name FROM log_names ORDER BY id DESC"
_ADD = "INSERT INTO log_names (id, name) VALUES ($1, $2)"
_NAME_LOCK = 0x5C09E0A3E


class OtherName(Exception):
    """The log has another name than this replica would give it. The text says so, and what to do."""

    def __init__(self, name: str, own: str) -> None:
        super().__init__(
            f"the audit log is called {name}, and the public URL of this replica would have it called {own}: this "
            "replica seals nothing; give all replicas one SCOPEGATE_PUBLIC_URL, or rename the log: "
            "scopegate audit rename"
        )


async def names_of(connection: "Connection[Record]") -> list[str]:
    """The names that the log has had, the one that it has now first; none before anything was sealed."""
    return [row["name"] for row in await connection.fetch(_NAMES)]


async def check_name(connection: "Connection[Record]", own: str) -> None:
    """Raise ``OtherName`` where the log has another name than this one."""
    names = await names_of(connection)
    if names and names[0] != own:
        raise OtherName(names[0], own)


async def keep_name(connection: "Connection[Record]", own: str) -> None:
    """``check_name``, and give the log this name if it has none, in the transaction that is open."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _NAME_LOCK)
    # A statement of its own: it sees what was committed while this one waited.
    if not await names_of(connection):
        await connection.execute(_ADD, new_id(), own)
    await check_name(connection, own)


async def rename_log(connection: "Connection[Record]", own: str) -> str | None:
    """Call the log by this name from its next checkpoint on, on record; the name that it had, None if it was this."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _NAME_LOCK)
        names = await names_of(connection)
        if names and names[0] == own:
            return None
        await connection.execute(_ADD, new_id(), own)
        before = names[0] if names else ""
        await record_by_system(connection, RENAME, "audit_log", {"name": {"from": before or None, "to": own}})
        return before


SEAL_EVERY_S = 4.0
BEHIND_S = 30.0
"""Seconds that an event may wait before that is worth a warning."""
CHECK_AGAIN_S = 60.0
_AT_ONCE = 256

# The session that has the lock, and the transaction that writes.
_LOCK, _WRITING = 0x5C09E5EA1, 0x5C09E5EA2
_OPENING_S, _ROUND_S = 60.0, 10.0

# Who seals looks every few seconds. When it is stopped, or the network between has gone silent, its session ends and
# another takes over.
_SESSION = """
SET idle_session_timeout = '15s'; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 2; SET enable_seqscan = off; SET enable_bitmapscan = off
"""
_FREE = text("SELECT pg_try_advisory_xact_lock_shared(:lock)")
_AGE = """
SELECT extract(epoch FROM clock_timestamp() - time)::float8 FROM audit_events
WHERE epoch = $1 AND xact = $2 AND seq = $3
"""
_ADD_TILES = """
INSERT INTO audit_tiles (level, number, hashes)
SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
"""
_ADD_CHECKPOINT = """
INSERT INTO audit_checkpoints (tree_size, epoch, last_xact, last_seq, root_hash, note)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_AWAY = (PostgresError, InterfaceError, SQLAlchemyError, Unavailable, *OUT_OF_REACH)


_log = logging.getLogger(__name__)

# Of its own: a generator that others seed would bring workers together again.
_spread = SystemRandom()


class Overtaken(Exception):
    """Somebody else has written a checkpoint meanwhile."""


class SealedLog:
    """The log as the one has it who seals it: how far it is sealed, and the edge of its tree."""

    def __init__(
        self, connection: "Connection[Record]", signer: NoteSigner, edge: Edge, place: Position
    ) -> None:
        self._connection = connection
        self._signer = signer
        self._edge = edge
        self._place = place

    @classmethod
    async def open(cls, connection: "Connection[Record]", signer: NoteSigner) -> Self:
        """Take the log up where it is sealed to.

        Raises ``LogFault`` unless its tiles and events still make the tree that the last checkpoint was signed for: no
        other tree may ever be signed as its continuation.
        """
        # mutation: sealing_resumed
        last = await latest_checkpoint(connection)
        if last is None:
            if await connection.fetchval("SELECT EXISTS (SELECT FROM audit_tiles)"):
                raise LogFault("there are tiles, and no checkpoint that seals them")
            return cls(connection, signer, Edge(), BEGINNING)
        check_signed(last, signer)
        edge = await SealedTree(connection, last.size, last.place).edge()
        if edge.root() != last.root:
            raise LogFault(
                f"events or tiles are not those that the checkpoint of {last.size} events was signed for"
            )
        return cls(connection, signer, edge, last.place)

    @property
    def size(self) -> int:
        """How many events are sealed."""
        return self._edge.size

    @property
    def root(self) -> bytes:
        """The root over them."""
        return self._edge.root()

    async def behind(self) -> float:
        """Seconds for which the next event waits that could be sealed."""
        return await waiting(self._connection, self._place)

    async def seal(self) -> bool:
        """Seal the next events and write one checkpoint; whether there were any.

        After any error this object is of no use any more. Raises ``Overtaken``, ``LogFault``, asyncpg's errors and
        ``OSError``.
        """
        stretch = await read_stretch(self._connection, self._place, MOST_LEAVES)
        if not stretch.rows:
            return False
        size, tiles = self._edge.size, []
        for begin in range(0, len(stretch.rows), _AT_ONCE):
            rows = stretch.rows[begin : begin + _AT_ONCE]
            tiles += self._edge.extend([leaf_hash(leaf_of(row)) for row in rows])
            await asyncio.sleep(0)
        self._place = stretch.end
        await self._write(size, tiles)
        return True

    async def _write(self, before: int, tiles: list[Tile]) -> None:
        size, root = self._edge.size, self._edge.root()
        # That there is one before it stands in the text: a checkpoint that is removed is missed.
        text = f"{Checkpoint(self._signer.name, size, root)}{PREVIOUS}{before}\n"
        note = self._signer.sign(text)
        async with self._connection.transaction():
            await self._connection.execute("SELECT pg_advisory_xact_lock($1)", _WRITING)
            await keep_name(self._connection, self._signer.name)
            # A statement of its own: it sees what whoever had the lock has committed.
            last = await self._connection.fetchval("SELECT max(tree_size) FROM audit_checkpoints")
            if last != (before or None):
                raise Overtaken
            try:
                if tiles:
                    await self._connection.execute(_ADD_TILES, *map(list, zip(*tiles, strict=True)))
                await self._connection.execute(_ADD_CHECKPOINT, size, *self._place, root, note)
            except UniqueViolationError:
                raise LogFault(
                    f"somebody has put tiles or checkpoints beyond the {before} events sealed"
                ) from None

            # failpoint: before_checkpoint
        # failpoint: after_checkpoint


def check_signed(sealed: Sealed, signer: NoteSigner) -> None:
    """Raise ``LogFault`` unless a stored checkpoint is signed by a key of this service for what its row says, under
    whichever name the log had then."""
    try:
        origin = Checkpoint.parse(Note.parse(sealed.note).text).origin
        said, _ = open_checkpoint(sealed.note, signer.verifier_keys(origin))
    except NoteFault as fault:
        raise LogFault(f"the checkpoint of {sealed.size} events is not ours: {fault}") from None
    if (said.size, said.root) != (sealed.size, sealed.root):
        raise LogFault(f"the checkpoint of {sealed.size} events was signed for another size or root")


async def waiting(connection: "Connection[Record]", sealed: Position) -> float:
    """Seconds for which the next event after a place waits that could be sealed; 0 where there is none."""
    stretch = await read_stretch(connection, sealed, 1)
    if not stretch.rows:
        return 0.0
    age: float | None = await connection.fetchval(_AGE, *stretch.end)
    return max(0.0, age or 0.0)


async def sealing_standing(connection: "Connection[Record]", signer: NoteSigner) -> tuple[int, float]:
    """How many events are sealed, and for how many seconds the next waits that could be.

    Raises ``LogFault`` where sealing could not go on.
    """
    log = await SealedLog.open(connection, signer)
    return log.size, await log.behind()


class Sealing:
    """One worker's share: it seals when nobody else does, and knows how far behind the sealing is."""

    def __init__(
        self,
        connect: Callable[[], Awaitable["Connection[Record]"]],
        sessions: async_sessionmaker[AsyncSession],
        signer: NoteSigner,
        rewinds: RewindGuard | None = None,
    ) -> None:
        """``connect`` opens sessions of the database itself, ``sessions`` may go through a pooler."""
        self._connect = connect
        self._sessions = sessions
        self._signer = signer
        self._rewinds = RewindGuard() if rewinds is None else rewinds
        self._connection: Connection[Record] | None = None
        self._sealed: SealedLog | None = None
        self._behind = 0.0
        self._fault = ""
        self._told = ""
        self._other_name = ""
        self._not_before = 0.0
        self._seen = 0

    def warnings(self) -> list[str]:
        """What the operator should know, for ``/readyz``."""
        found = [self._other_name] if self._other_name else []
        if self._fault:
            found.append(
                f"the audit trail is not sealed any more: {self._fault}; scopegate audit verify says where"
            )
        if self._behind > BEHIND_S:
            found.append(f"the sealing of the audit trail is {self._behind:.0f} s behind")
        return found

    async def run(self) -> None:
        """Seal until cancelled; a database that is away is tried again."""
        try:
            while True:
                await asyncio.sleep(SEAL_EVERY_S * _spread.uniform(0.5, 1.0))
                await self.turn()
        finally:
            self._drop()

    async def turn(self) -> None:
        """Seal all that can be sealed now, if nobody else is at it; what stands in the way is told, not raised."""
        try:
            await self._turn()
        except LogFault as fault:
            self._drop()
            self._stopped(str(fault))
        except OtherName as fault:
            self._drop()
            self._disagree(str(fault))
        except (Overtaken, WentBack, *_AWAY):
            # Others say that the database is away; what is not sealed stays so.
            self._drop()
        except Exception as error:  # noqa: BLE001
            # Whatever it is, it must not end the loop.
            self._drop()
            log_fault(_log, "sealing the audit trail", error, logging.WARNING)

    async def _turn(self) -> None:
        await asyncio.to_thread(self._rewinds.keep)
        if self._rewinds.reason is not None:
            # Nothing is signed of a database that went backwards.
            self._drop()
            return
        if self._sealed is None:
            if not await self._look() or time.monotonic() < self._not_before:
                return
            async with asyncio.timeout(_OPENING_S):
                self._sealed = await self._open()
            if self._sealed is None:
                return
            self._fault = self._told = ""
        self._behind = await self._sealed.behind()
        more = True
        while more:
            async with asyncio.timeout(_ROUND_S):
                more = await self._sealed.seal()
            self._seen = self._sealed.size
            if self._seen:
                self._rewinds.sealed(self._seen, self._sealed.root, self._rewinds.known)
        self._behind = 0.0

    async def _look(self) -> bool:
        """See how far behind the sealing is, without a session of one's own; whether nobody seals."""
        known = self._rewinds.known
        async with self._sessions() as session:
            raw = await connection_of(session)
            await check_name(raw, self._signer.name)
            self._other_name = ""
            last = await latest_checkpoint(raw)
            self._behind = await waiting(raw, BEGINNING if last is None else last.place)
            free = bool(await session.scalar(_FREE, {"lock": _LOCK}))
        size = 0 if last is None else last.size
        self._rewinds.sealed(size, b"" if last is None else last.root, known)
        if size > self._seen:
            # Whoever has sealed more meanwhile has looked at the log itself.
            self._seen, self._fault = size, ""
        return free

    async def _open(self) -> SealedLog | None:
        self._connection = connection = await self._connect()
        await connection.execute(_SESSION)
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            self._drop()
            return None
        return await SealedLog.open(connection, self._signer)

    def _stopped(self, fault: str) -> None:
        self._fault = fault
        self._not_before = time.monotonic() + CHECK_AGAIN_S
        if fault != self._told:
            self._told = fault
            _log.critical("the audit trail is not sealed any more: %s", fault)

    def _disagree(self, what: str) -> None:
        if what != self._other_name:
            self._other_name = what
            _log.error("%s", what)

    def _drop(self) -> None:
        self._sealed = None
        if self._connection is not None:
            # Ends the session, and the lock with it.
            self._connection.terminate()
            self._connection = None
