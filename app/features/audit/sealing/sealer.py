"""Sealing: append settled events to the Merkle tree and sign a checkpoint. See ADR 22.

One worker at a time seals, the one that holds a lock on a database session. That it is one only saves work; the tree
stays consistent because the transaction that writes a checkpoint takes a lock of its own, and continues from the last
stored checkpoint or not at all.

The name of the log, which is part of each checkpoint, is stored in the database, independent of a replica's URL.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Self

from asyncpg import InterfaceError, PostgresError, UniqueViolationError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.signed_notes import Checkpoint, NoteSigner
from app.db.connection import Connection
from app.db.jobs import OUTAGES, repeat
from app.db.rewinds import DatabaseRewound, RewindGuard
from app.domain.merkle import leaf_hash
from app.features.audit.epochs import record_by_system
from app.features.audit.queries import Position
from app.features.audit.sealing import leaves
from app.features.audit.sealing.leaves import LogFault, PartialTree, StoredCheckpoint, leaf_of, place_of
from app.lib.ids import new_id
from app.lib.logs import log_fault

RENAME = "audit.rename_log"
_NAMES = "SELECT name FROM log_names ORDER BY id DESC"
_ADD = "INSERT INTO log_names (id, name) VALUES ($1, $2)"
_NAME_LOCK = 0x5C09E0A3E


class LogNameMismatch(Exception):
    """The log has another name than this replica would give it. The message says so, and what to do."""

    def __init__(self, name: str, own: str) -> None:
        super().__init__(
            f"the audit log is called {name}, and the public URL of this replica would have it called {own}: this "
            "replica seals nothing; give all replicas one SCOPEGATE_PUBLIC_URL, or rename the log: "
            "scopegate audit rename"
        )


async def read_log_names(connection: Connection) -> list[str]:
    """The names of the log, the current one first; none before anything was sealed."""
    return [row["name"] for row in await connection.fetch(_NAMES)]


async def check_name(connection: Connection, own: str) -> None:
    """Raise ``LogNameMismatch`` if the log has another name than this one."""
    names = await read_log_names(connection)
    if names and names[0] != own:
        raise LogNameMismatch(names[0], own)


async def rename_log(connection: Connection, own: str) -> str | None:
    """Rename the log from its next checkpoint on, and record that; return the old name, None if unchanged."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _NAME_LOCK)
        names = await read_log_names(connection)
        if names and names[0] == own:
            return None
        await connection.execute(_ADD, new_id(), own)
        before = names[0] if names else ""
        await record_by_system(connection, RENAME, "audit_log", {"name": {"from": before or None, "to": own}})
        return before


SEAL_EVERY_S = 4.0
BEHIND_S = 30.0
"""Delay of sealing, in seconds, that causes a warning."""
CHECK_AGAIN_S = 60.0
_AT_ONCE = 256

# The lock of the sealing session, and that of the writing transaction.
_LOCK, _WRITING = 0x5C09E5EA1, 0x5C09E5EA2
_OPENING_S, _ROUND_S = 60.0, 10.0

# The sealing worker is active every few seconds. When it stops or loses its network, its session ends and another
# worker takes over.
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
_AWAY = (PostgresError, InterfaceError, SQLAlchemyError, *OUTAGES)

_log = logging.getLogger(__name__)


class ConcurrentCheckpoint(Exception):
    """Another worker has written a checkpoint in between."""


class SealedLog:
    """The log as its sealing worker holds it: its sealed size, and its partial tree."""

    def __init__(
        self, connection: Connection, signer: NoteSigner, tree: PartialTree, place: Position
    ) -> None:
        self._connection, self._signer, self._tree, self._place = connection, signer, tree, place

    @classmethod
    async def open(cls, connection: Connection, signer: NoteSigner) -> Self:
        """Open the log at its last checkpoint.

        Raises ``LogFault`` unless its tiles and events still give the signed root: no other tree may ever be signed as
        its continuation.
        """
        # mutation: sealing_resumed
        last = await leaves.latest_checkpoint(connection)
        if last is None:
            if await connection.fetchval("SELECT EXISTS (SELECT FROM audit_tiles)"):
                raise LogFault("there are tiles, and no checkpoint that seals them")
            return cls(connection, signer, PartialTree(), leaves.BEGINNING)
        check_signed(last, signer)
        tree = await leaves.SealedTree(connection, last.size, last.place).partial_tree()
        if tree.root() != last.root:
            raise LogFault(
                f"events or tiles are not those that the checkpoint of {last.size} events was signed for"
            )
        return cls(connection, signer, tree, last.place)

    @property
    def size(self) -> int:
        """The number of sealed events."""
        return self._tree.size

    @property
    def root(self) -> bytes:
        """The root over the sealed events."""
        return self._tree.root()

    async def behind(self) -> float:
        """Age in seconds of the oldest event that could be sealed."""
        return await sealing_delay(self._connection, self._place)

    async def seal(self) -> bool:
        """Seal the next events and write one checkpoint; return whether there were any.

        After any error this object must not be used again. Raises ``ConcurrentCheckpoint``, ``LogFault``, asyncpg's
        errors and ``OSError``.
        """
        rows = await leaves.read_events(self._connection, self._place, leaves.MAX_LEAVES)
        if not rows:
            return False
        size, tiles = self._tree.size, []
        for begin in range(0, len(rows), _AT_ONCE):
            part = rows[begin : begin + _AT_ONCE]
            tiles += self._tree.extend([leaf_hash(leaf_of(row)) for row in part])
            await asyncio.sleep(0)
        self._place = place_of(rows[-1])
        await self._write(size, tiles)
        return True

    async def _write(self, before: int, tiles: list[leaves.Tile]) -> None:
        size, root = self._tree.size, self._tree.root()
        # The text names the previous checkpoint, so that a removed one is noticed.
        text = f"{Checkpoint(self._signer.name, size, root)}{leaves.PREVIOUS}{before}\n"
        note = self._signer.sign(text)
        async with self._connection.transaction():
            await self._connection.execute("SELECT pg_advisory_xact_lock($1)", _WRITING)
            await self._connection.execute("SELECT pg_advisory_xact_lock($1)", _NAME_LOCK)
            # Separate statements: they see what the last holders of the locks have committed.
            if not await read_log_names(self._connection):
                await self._connection.execute(_ADD, new_id(), self._signer.name)
            await check_name(self._connection, self._signer.name)
            last = await self._connection.fetchval("SELECT max(tree_size) FROM audit_checkpoints")
            if last != (before or None):
                raise ConcurrentCheckpoint
            try:
                if tiles:
                    await self._connection.execute(_ADD_TILES, *map(list, zip(*tiles, strict=True)))
                await self._connection.execute(_ADD_CHECKPOINT, size, *self._place, root, note)
            except UniqueViolationError:
                raise LogFault(
                    f"there are forged tiles or checkpoints beyond the {before} sealed events"
                ) from None

            # failpoint: before_checkpoint
        # failpoint: after_checkpoint


def check_signed(sealed: StoredCheckpoint, signer: NoteSigner) -> None:
    """Raise ``LogFault`` unless a stored checkpoint is signed by a key of this service for the content of its row."""
    fault = leaves.signature_fault(sealed, signer.verifier_keys)
    if fault is not None:
        raise LogFault(f"the checkpoint of {sealed.size} events is not ours: {fault}")


async def sealing_delay(connection: Connection, sealed: Position) -> float:
    """Age in seconds of the oldest event after a place that could be sealed; 0 if there is none."""
    rows = await leaves.read_events(connection, sealed, 1)
    if not rows:
        return 0.0
    age: float | None = await connection.fetchval(_AGE, *place_of(rows[0]))
    return max(0.0, age or 0.0)


class Sealing:
    """The sealing task of one worker: it seals when no other worker does, and knows the sealing delay."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        sessions: async_sessionmaker[AsyncSession],
        signer: NoteSigner,
        rewinds: RewindGuard | None = None,
    ) -> None:
        """``connect`` opens sessions of the database itself; ``sessions`` may use a pooler."""
        self._connect, self._sessions, self._signer = connect, sessions, signer
        self._rewinds = RewindGuard() if rewinds is None else rewinds
        self._connection: Connection | None = None
        self._sealed: SealedLog | None = None
        self._fault = self._logged = self._other_name = ""
        self._behind = self._not_before = 0.0
        self._seen = 0

    def warnings(self) -> list[str]:
        """The warnings for ``/readyz``."""
        warnings = [self._other_name] if self._other_name else []
        if self._fault:
            warnings.append(
                f"sealing of the audit log has stopped: {self._fault}; run scopegate audit verify for details"
            )
        if self._behind > BEHIND_S:
            warnings.append(f"sealing of the audit log is {self._behind:.0f} s behind")
        return warnings

    async def run(self) -> None:
        """Seal until cancelled; retry when the database is unavailable."""
        try:
            await repeat("sealing the audit log", self.turn, SEAL_EVERY_S)
        finally:
            self._drop()

    async def turn(self) -> None:
        """Seal all that can be sealed now, unless another worker does; obstacles are logged, not raised."""
        try:
            await self._turn()
            return
        except LogFault as fault:
            self._fault, self._not_before = str(fault), time.monotonic() + CHECK_AGAIN_S
            if self._fault != self._logged:
                self._logged = self._fault
                _log.critical("sealing of the audit log has stopped: %s", fault)
        except LogNameMismatch as fault:
            if str(fault) != self._other_name:
                self._other_name = str(fault)
                _log.error("%s", fault)
        except (ConcurrentCheckpoint, DatabaseRewound, *_AWAY):
            # Others report that the database is unavailable; unsealed events stay.
            pass
        except Exception as error:  # noqa: BLE001
            # No error may end the loop.
            log_fault(_log, "sealing the audit log", error, logging.WARNING)
        self._drop()

    async def _turn(self) -> None:
        await asyncio.to_thread(self._rewinds.save)
        if self._rewinds.reason is not None:
            # Nothing is signed for a database that was restored to an older state.
            self._drop()
            return
        if self._sealed is None:
            if not await self._look() or time.monotonic() < self._not_before:
                return
            async with asyncio.timeout(_OPENING_S):
                self._sealed = await self._open()
            if self._sealed is None:
                return
            self._fault = self._logged = ""
        self._behind = await self._sealed.behind()
        more = True
        while more:
            async with asyncio.timeout(_ROUND_S):
                more = await self._sealed.seal()
            self._seen = self._sealed.size
            if self._seen:
                self._rewinds.record_checkpoint(self._seen, self._sealed.root, self._rewinds.known)
        self._behind = 0.0

    async def _look(self) -> bool:
        """Measure the sealing delay without a session of its own; return whether no worker seals."""
        known = self._rewinds.known
        async with self._sessions() as session:
            raw = await leaves.connection_of(session)
            await check_name(raw, self._signer.name)
            self._other_name = ""
            last = await leaves.latest_checkpoint(raw)
            self._behind = await sealing_delay(raw, leaves.BEGINNING if last is None else last.place)
            free = bool(await session.scalar(_FREE, {"lock": _LOCK}))
        size = 0 if last is None else last.size
        self._rewinds.record_checkpoint(size, b"" if last is None else last.root, known)
        if size > self._seen:
            # The worker that has sealed more has checked the log itself.
            self._seen, self._fault = size, ""
        return free

    async def _open(self) -> SealedLog | None:
        self._connection = connection = await self._connect()
        await connection.execute(_SESSION)
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            self._drop()
            return None
        return await SealedLog.open(connection, self._signer)

    def _drop(self) -> None:
        self._sealed = None
        if self._connection is not None:
            # Ends the session, and its lock with it.
            self._connection.terminate()
            self._connection = None
