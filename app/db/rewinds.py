"""Detection of a database that went backwards: restoring an older state revives tokens that were revoked after it.

A worker remembers the progress of the database: the newest epoch, its own last transaction and the newest checkpoint.
A database behind this progress, or an access version that decreased, was restored to an older state. The worker then
rejects all calls until an administrator confirms the restore. A file keeps the progress for later workers.

The check uses data that a worker reads anyway, and one query on each connection that it opens. See ADR 23.
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

from asyncpg import Connection, Record

from app.db.connection import PrimaryUnavailable

PROGRESS_FILE = "database-progress.json"
"""A file in the data directory."""
_CHECK = """
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
_CHECK_EVERY_S = 1.0
_MAX_SIZE = 2**63 - 1
# For this long after a confirmation, there can be calls that were decided before it.
_GRACE_S = 15.0
_ADVICE = (
    "the database went backwards ({what}); an administrator has to confirm it: scopegate audit accept-restore"
)

_log = logging.getLogger(__name__)


class DatabaseRewound(PrimaryUnavailable):
    """The database is behind the progress that this worker knew. The text says why, and what to do."""


class Progress(NamedTuple):
    """The progress of a database. Later progress compares as greater."""

    accepted: str = ""
    """The id of the last confirmed restore."""
    epoch: int = 0
    size: int = 0
    """The number of events in the newest checkpoint; ``root`` is its root hash."""
    root: str = ""
    xact: int = 0
    """A committed transaction on ``system``. A promoted standby continues from the transactions that it received."""
    system: int = 0

    @classmethod
    def of(cls, row: Record) -> Self:
        accepted = "" if row["accepted"] is None else row["accepted"].hex
        root = "" if row["root"] is None else row["root"].hex()
        return cls(accepted, row["epoch"] or 0, row["size"] or 0, root, system=row["system"])


class _State(NamedTuple):
    """The content of the file: the log, the reason for rejecting calls, and the progress."""

    log: str = ""
    reason: str = ""
    known: Progress = Progress()


class RewindGuard:
    """Tracks the progress of one worker's database, and detects a database that is behind it."""

    def __init__(self, file: Path | None = None) -> None:
        """``file`` keeps the progress for later workers."""
        self.reason: str | None = None
        """Why calls are rejected; ``None`` while they are accepted."""
        self.listeners: list[Callable[[], None]] = []
        """Called when a restore was confirmed, which invalidates everything that was read before it."""
        self._file = file
        self._saving: asyncio.Future[None] | None = None
        self._log = ""
        self._known = Progress()
        self.transaction = (0, 0)
        """The epoch and id of the last transaction whose commit was answered: a part of the known progress. Writers set
        it themselves, because each call commits one."""
        self._saved = _State()
        self._is_unsaved_logged = False
        self._has_checked = self._is_final = False
        self._checked_at = self._accepted_at = -_GRACE_S
        if file is not None:
            self._load(file)

    @property
    def known(self) -> Progress:
        """The known progress of the database."""
        # Nothing is stored: ``save`` reads it in a thread.
        known, (epoch, xact) = self._known, self.transaction
        return known._replace(epoch=epoch, xact=xact) if (epoch, xact) > (known.epoch, known.xact) else known

    def record_checkpoint(self, size: int, root: bytes, known: Progress) -> None:
        """Record the newest checkpoint. ``known`` is the progress from before it was read. Raises ``DatabaseRewound``
        if it is older."""
        if known.accepted != self.known.accepted:
            # A restore was confirmed in between, so the earlier progress no longer counts.
            return
        if size < known.size:
            self._report_rewind(f"{size} events are sealed, and {known.size} were")
        elif size == known.size and root.hex() != known.root:
            self._report_rewind(f"another checkpoint of {size} events is there")
        elif size > self.known.size:
            self._known = self._known._replace(size=size, root=root.hex())

    def report_older_version(self) -> None:
        """Report an access version that decreased. Raises ``DatabaseRewound``.

        Ignored shortly after a confirmed restore, when calls from before it can still arrive.
        """
        if time.monotonic() - self._accepted_at > _GRACE_S:
            self._report_rewind("a right has an older version than it had")

    def pause(self) -> None:
        """Raise ``DatabaseRewound`` again shortly after a check found it, instead of opening another connection."""
        if self.reason is not None and time.monotonic() - self._checked_at < _CHECK_EVERY_S:
            raise DatabaseRewound(self.reason)

    async def check(self, connection: "Connection[Record]") -> None:
        """Compare the database behind a new connection with the known progress. Raises ``DatabaseRewound``."""
        known, is_confirmed = self.known, False
        [row] = await connection.fetch(_CHECK, known.size, bytes.fromhex(known.root))
        self._checked_at = time.monotonic()
        present = Progress.of(row)
        if row["epoch"] is None:
            # No epoch is open yet; the next writer opens one and checks again.
            present = present._replace(epoch=known.epoch)
        if not self._has_checked and self._log != (row["log"] or ""):
            # Nothing is known yet, or the file belongs to another database.
            known, self.reason, self._is_final = Progress(), None, False
        if present.accepted > known.accepted and known.epoch:
            is_confirmed = True
            self._accept_restore()
        elif self._is_final and self.reason is not None:
            raise DatabaseRewound(self.reason)
        elif present.epoch < known.epoch:
            # This can be an old primary; the right one may come back.
            self._report_rewind(f"it is at epoch {present.epoch}, and was at {known.epoch}", is_final=False)
        elif known.size and not row["holds"]:
            self._report_rewind(f"the checkpoint of {known.size} events is not there any more")
        elif present.system == known.system and row["next"] <= known.xact:
            self._report_rewind("transactions that were committed are not there any more")
        elif present.accepted < known.accepted:
            self._report_rewind("a restore that was confirmed is not")
        self.reason, self._is_final, self._has_checked = None, False, True
        self._log = row["log"] or ""
        if present.system == known.system and not is_confirmed:
            present = present._replace(xact=known.xact)
        # Other connections can have recorded later progress since.
        latest = present if is_confirmed or not known.epoch else max(present, self.known)
        self._known, self.transaction = latest, (latest.epoch, latest.xact)

    def save(self) -> None:
        """Merge the known progress into the file. Blocks.

        If the file cannot be written, as on a full disk, the next call tries again.
        """
        state = _State(self._log, (self.reason or "") if self._is_final else "", self.known)
        if self._file is None or state == self._saved or not state.log:
            return
        try:
            _update(self._file, state)
        except BlockingIOError:
            # Another worker is writing.
            return
        except OSError as error:
            if not self._is_unsaved_logged:
                self._is_unsaved_logged = True
                _log.warning(
                    "The database progress cannot be saved in %s (%s): after a restart, this worker does not "
                    "detect that the database went backwards.", self._file, error.strerror,
                )  # fmt: skip
            return
        self._saved, self._is_unsaved_logged = state, False

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

    def _accept_restore(self) -> None:
        self._accepted_at = time.monotonic()
        for listener in self.listeners:
            listener()
        if self.reason is not None:
            _log.warning("The restore of the database was confirmed: calls are accepted again.")

    def _report_rewind(self, what: str, *, is_final: bool = True) -> None:
        reason = _ADVICE.format(what=what)
        is_new = self.reason is None
        # mutation: rewind_noted
        self.reason = reason
        self._is_final = self._is_final or is_final
        if is_new:
            _log.critical("All calls are rejected: %s", reason)
            # Saved at once, for workers that start now.
            self._saving = asyncio.get_running_loop().run_in_executor(None, self.save)
        self._checked_at = time.monotonic()
        # mutation: rewind_refused
        raise DatabaseRewound(reason)


def _merge(state: _State, saved: _State) -> _State:
    """The combined knowledge of two workers."""
    if state.log != saved.log:
        return state
    later = max(state, saved, key=lambda one: one.known)
    if state.known.accepted != saved.known.accepted:
        return later
    return later._replace(reason=state.reason or saved.reason)


def _read(file: Path) -> _State:
    """Raises ``OSError``, ``ValueError``."""
    content: Any = json.loads(file.read_text(encoding="utf-8"))
    shape = {"log": "", "reason": "", **Progress()._asdict()}
    if not isinstance(content, dict) or {key: type(content.get(key)) for key in content | shape} != {
        key: type(value) for key, value in shape.items()
    }:
        raise ValueError("it was not written by this service")
    state = _State(content.pop("log"), content.pop("reason"), Progress(**content))
    # Both are parameters of a query.
    bytes.fromhex(state.known.root)
    if not 0 <= state.known.size <= _MAX_SIZE:
        raise ValueError("the number of events is out of range")
    return state


def _update(file: Path, state: _State) -> None:
    """Merge a state into the file. Raises ``OSError``, and ``BlockingIOError`` while another worker holds the lock."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError, ValueError):
            state = _merge(state, _read(file))
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
