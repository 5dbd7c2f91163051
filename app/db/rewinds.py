"""Whether the database went backwards: a restore of an older state revives tokens that were revoked after it.

A worker knows how far the database had come: the newest epoch of the log, the last transaction of its own, the newest
checkpoint. A database that is behind that, or a version that fell, was restored to an older state. The worker takes no
calls then, until an administrator confirms the restore. What it knows is also kept in a file, for workers after it.

All of it rides on what a worker reads anyway, and on one look at each connection that it opens. See ADR 23.
"""

import asyncio
import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import UUID

from asyncpg import Connection, Record

from app.db.connection import PrimaryUnavailable

PROGRESS_FILE = "database-progress.json"
"""In the data directory of whoever serves."""
_LOOK = """
SELECT (SELECT to_char(opened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || system_identifier
        FROM log_epochs ORDER BY epoch LIMIT 1) AS log,
    (SELECT id FROM accepted_restores ORDER BY id DESC LIMIT 1) AS accepted,
    (SELECT system_identifier FROM pg_control_system()) AS system, scopegate_epoch() AS epoch,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next,
    newest.tree_size AS size, newest.root_hash AS root,
    EXISTS (SELECT FROM audit_checkpoints WHERE tree_size = $1 AND root_hash = $2) AS holds
FROM (SELECT) AS one LEFT JOIN (
    SELECT tree_size, root_hash FROM audit_checkpoints ORDER BY tree_size DESC LIMIT 1
) AS newest ON true
"""
_LOOK_EVERY_S = 1.0
_MAX_SIZE = 2**63 - 1
# So long after a confirmation there may be calls that were decided before it.
_GRACE_S = 15.0
_ADVICE = (
    "the database went backwards ({what}); an administrator has to confirm it: scopegate audit accept-restore"
)

_log = logging.getLogger(__name__)


class DatabaseRewound(PrimaryUnavailable):
    """The database is behind what this worker knew. The text says by what, and what to do."""


class Progress(NamedTuple):
    """How far a database had come. A later one compares as greater."""

    accepted: str = ""
    """The last restore that was confirmed, by its id."""
    epoch: int = 0
    size: int = 0
    """Events in the newest checkpoint; ``root`` is its root hash."""
    root: str = ""
    xact: int = 0
    """A transaction that was committed on that system: a standby that is promoted goes on from what it received."""
    system: int = 0

    @classmethod
    def of(cls, row: Record) -> Self:
        root = row["root"]
        epoch, size = row["epoch"] or 0, row["size"] or 0
        return cls(
            _text(row["accepted"]), epoch, size, "" if root is None else root.hex(), system=row["system"]
        )


class _State(NamedTuple):
    """What is kept in the file: of which log, why no calls are taken, and the progress."""

    log: str = ""
    reason: str = ""
    known: Progress = Progress()


class RewindGuard:
    """What one worker knows of its database's progress, and whether the database is behind it."""

    def __init__(self, file: Path | None = None) -> None:
        """``file``: where it is kept for the workers after this one."""
        self.reason: str | None = None
        """Why no calls are taken; ``None`` while they are."""
        self.listeners: list[Callable[[], None]] = []
        """Called when a restore was confirmed: nothing that was read before it counts any more."""
        self._file = file
        self._keeping: asyncio.Future[None] | None = None
        self._log = ""
        self._known = Progress()
        self._kept = _State()
        self._is_unkept_logged = False
        self._has_looked = self._is_final = False
        self._looked_at = self._accepted_at = -_GRACE_S
        if file is not None:
            self._load(file)

    def wrote(self, epoch: int | None, xact: int | None) -> None:
        """Know a transaction that was committed and answered."""
        if epoch is not None and xact is not None and (epoch, xact) > (self._known.epoch, self._known.xact):
            self._known = self._known._replace(epoch=epoch, xact=xact)

    @property
    def known(self) -> Progress:
        """How far the database had come."""
        return self._known

    def sealed(self, size: int, root: bytes, known: Progress) -> None:
        """Know the newest checkpoint, or find that it is older than the one that was ``known`` before it was read.
        Raises ``DatabaseRewound``."""
        if known.accepted != self._known.accepted:
            # A restore was confirmed in between: what was known before it counts no more.
            return
        if size < known.size:
            self._went_back(f"{size} events are sealed, and {known.size} were")
        elif size == known.size and root.hex() != known.root:
            self._went_back(f"another checkpoint of {size} events is there")
        elif size > self._known.size:
            self._known = self._known._replace(size=size, root=root.hex())

    def fell(self) -> None:
        """A version is lower than it was. Raises ``DatabaseRewound``, but for what was decided before a confirmed restore."""
        if time.monotonic() - self._accepted_at > _GRACE_S:
            self._went_back("a right has an older version than it had")

    def pause(self) -> None:
        """Raise ``DatabaseRewound`` where a look a moment ago found it, before another connection is opened."""
        if self.reason is not None and time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            raise DatabaseRewound(self.reason)

    async def look(self, connection: "Connection[Record]") -> None:
        """Compare the database behind a new connection with what is known. Raises ``DatabaseRewound``."""
        known, is_confirmed = self._known, False
        [row] = await connection.fetch(_LOOK, known.size, bytes.fromhex(known.root))
        self._looked_at = time.monotonic()
        found = Progress.of(row)
        if row["epoch"] is None:
            # It is not open yet: whoever writes opens one, and looks again.
            found = found._replace(epoch=known.epoch)
        if not self._has_looked and self._log != (row["log"] or ""):
            # Nothing is known yet, or only a file, of the workers of another database.
            known, self.reason, self._is_final = Progress(), None, False
        if found.accepted > known.accepted and known.epoch:
            is_confirmed = True
            self._take_over()
        elif self._is_final and self.reason is not None:
            raise DatabaseRewound(self.reason)
        elif found.epoch < known.epoch:
            # Perhaps an old primary, in place of which the right one may come again.
            self._went_back(f"it is at epoch {found.epoch}, and was at {known.epoch}", is_final=False)
        elif known.size and not row["holds"]:
            self._went_back(f"the checkpoint of {known.size} events is not there any more")
        elif found.system == known.system and row["next"] <= known.xact:
            self._went_back("transactions that were committed are not there any more")
        elif found.accepted < known.accepted:
            self._went_back("a restore that was confirmed is not")
        self.reason, self._is_final, self._has_looked = None, False, True
        self._log = row["log"] or ""
        if found.system == known.system and not is_confirmed:
            found = found._replace(xact=known.xact)
        # Others may have learned more since.
        self._known = found if is_confirmed or not known.epoch else max(found, self._known)

    def keep(self) -> None:
        """Write what is known to the file, with what others have written. It blocks.

        Where the file cannot be written, as on a full disk, the next call tries again.
        """
        state = _State(self._log, self._reason_kept(), self._known)
        if self._file is None or state == self._kept or not state.log:
            return
        try:
            _update(self._file, state)
        except BlockingIOError:
            # Another worker writes at this moment.
            return
        except OSError as error:
            if not self._is_unkept_logged:
                self._is_unkept_logged = True
                _log.warning(
                    "What this worker knows of the database cannot be kept in %s (%s): after a restart it does not "
                    "notice that the database went backwards.", self._file, error.strerror,
                )  # fmt: skip
            return
        self._kept, self._is_unkept_logged = state, False

    def _load(self, file: Path) -> None:
        try:
            state = _read(file)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _log.warning("%s cannot be read: %s", file, error)
            return
        self._log, self._known = state.log, state.known
        self._is_final, self.reason = bool(state.reason), state.reason or None

    def _reason_kept(self) -> str:
        return (self.reason or "") if self._is_final else ""

    def _take_over(self) -> None:
        self._accepted_at = time.monotonic()
        for listener in self.listeners:
            listener()
        if self.reason is not None:
            _log.warning("The restore of the database was confirmed: calls are taken again.")

    def _went_back(self, what: str, *, is_final: bool = True) -> None:
        reason = _ADVICE.format(what=what)
        is_new = self.reason is None
        # mutation: rewind_noted
        self.reason = reason
        self._is_final = self._is_final or is_final
        if is_new:
            _log.critical("No calls are taken: %s", reason)
            # At once, for a worker that is started now.
            self._keeping = asyncio.get_running_loop().run_in_executor(None, self.keep)
        self._looked_at = time.monotonic()
        # mutation: rewind_refused
        raise DatabaseRewound(reason)


def _text(id: UUID | None) -> str:
    return "" if id is None else id.hex


def _merged(state: _State, kept: _State) -> _State:
    """What two workers know together."""
    if state.log != kept.log:
        return state
    later = max(state, kept, key=lambda one: one.known)
    if state.known.accepted != kept.known.accepted:
        return later
    return later._replace(reason=state.reason or kept.reason)


def _read(file: Path) -> _State:
    """Raises ``OSError``, ``ValueError``."""
    said: Any = json.loads(file.read_text(encoding="utf-8"))
    shape = {"log": "", "reason": "", **Progress()._asdict()}
    if not isinstance(said, dict) or {key: type(said.get(key)) for key in said | shape} != {
        key: type(value) for key, value in shape.items()
    }:
        raise ValueError("it is not what this service writes")
    state = _State(said.pop("log"), said.pop("reason"), Progress(**said))
    # Both are asked of the database.
    bytes.fromhex(state.known.root)
    if not 0 <= state.known.size <= _MAX_SIZE:
        raise ValueError("no log has as many events")
    return state


def _update(file: Path, state: _State) -> None:
    """Write what one worker knows together with what others wrote. Raises ``OSError``, of which ``BlockingIOError``
    while another worker does this: neither may write over what the other has found out."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError, ValueError):
            state = _merged(state, _read(file))
        _write(file, state)
    finally:
        os.close(lock)


def _write(file: Path, state: _State) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump({"log": state.log, "reason": state.reason, **state.known._asdict()}, out)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
