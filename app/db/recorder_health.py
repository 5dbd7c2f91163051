"""What keeps this worker from recording, in words, as its last attempts found it; and the log's lines of an outage."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from asyncpg.exceptions import TargetServerAttributeNotMatched

from app.db.connection import NotReplicated, OutOfReach

FRESH_S = 5.0
"""After so long an attempt says nothing any more: where no calls come, nobody finds out that it is over."""
REPEAT_S = 60.0
_log = logging.getLogger(__name__)
_UNKNOWN = "the database does not take the log's rows"
_WORDS = {
    "53100": "the disk of the database is full",
    "53200": "the database is out of memory",
    "53300": "the database has no connection left",
    "53400": "the database is at a limit of its configuration",
    "25006": "the database is read-only",
    "57P03": "the database is starting, stopping or recovering",
    "23514": "the log has no partition for this month; run: scopegate maintain",
    "23502": "the log has no epoch for this timeline of the database yet",
    "28000": "the database refuses this role",
    "28P01": "the database refuses this role's password",
    "3D000": "there is no such database",
    "42501": "the database refuses this role the log",
    "42P01": "the database is not migrated far enough; run: scopegate migrate",
    "42703": "the database is not migrated far enough; run: scopegate migrate",
}


def words_of(fault: BaseException) -> str:
    """What a fault of the database means, without a word of its own text, which may say what somebody sent."""
    if isinstance(fault, OutOfReach):
        return words_of(fault.__cause__) if isinstance(fault.__cause__, Exception) else str(fault)
    state = getattr(fault, "sqlstate", None)
    if isinstance(state, str):
        return _WORDS.get(state, f"{_UNKNOWN} (SQLSTATE {state})")
    if isinstance(fault, NotReplicated):
        return "the wait for the synchronous standby was cancelled"
    if isinstance(fault, TimeoutError):
        return "the database does not answer in time"
    if isinstance(fault, TargetServerAttributeNotMatched):
        return "no host of the database is a primary"
    return "the database cannot be reached"


@dataclass(slots=True)
class Trouble:
    """Kept by whoever writes the log."""

    _words: str | None = None
    _since: float = 0.0

    def found(self, fault: BaseException) -> None:
        """An attempt failed."""
        self._words, self._since = words_of(fault), time.monotonic()

    def over(self) -> None:
        """An attempt went well."""
        self._words = None

    def words(self) -> str | None:
        """Why nothing could be recorded a moment ago; ``None`` where it could, or nobody tried."""
        return self._words if time.monotonic() - self._since < FRESH_S else None


class OutageLog:
    """Writes one line when an outage of the database begins, one a minute while it lasts, and one when it ends.

    Fed by the one loop of a worker that asks the database all the time; the others keep silent about an outage.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began: float | None = None
        self._written = 0.0

    def found(self, fault: BaseException) -> None:
        """An attempt failed."""
        now = self._now()
        if self._began is None:
            self._began = self._written = now
            _log.warning(
                "the database is away (%s): requests are answered 503 until it is back", words_of(fault)
            )
        elif now - self._written >= REPEAT_S:
            self._written = now
            _log.warning("the database has been away for %.0f s (%s)", now - self._began, words_of(fault))

    def over(self) -> None:
        """An attempt went well."""
        if self._began is not None:
            _log.warning("the database is back after %.0f s", self._now() - self._began)
            self._began = None
