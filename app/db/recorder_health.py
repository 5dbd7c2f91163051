"""Health of the audit writers, and the log lines of a database outage."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from asyncpg.exceptions import TargetServerAttributeNotMatched

from app.db.connection import NotReplicated, PrimaryUnavailable

FRESH_S = 5.0
"""A failure older than this is not reported: without new calls, no attempt shows that the outage is over."""
REPEAT_S = 60.0
_log = logging.getLogger(__name__)
_UNKNOWN = "the database does not take the log's rows"
_REASONS = {
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


def describe_fault(fault: BaseException) -> str:
    """Describe a database fault without its own text, which can contain caller data."""
    if isinstance(fault, PrimaryUnavailable):
        return describe_fault(fault.__cause__) if isinstance(fault.__cause__, Exception) else str(fault)
    state = getattr(fault, "sqlstate", None)
    if isinstance(state, str):
        return _REASONS.get(state, f"{_UNKNOWN} (SQLSTATE {state})")
    if isinstance(fault, NotReplicated):
        return "the wait for the synchronous standby was cancelled"
    if isinstance(fault, TimeoutError):
        return "the database does not answer in time"
    if isinstance(fault, TargetServerAttributeNotMatched):
        return "no host of the database is a primary"
    return "the database cannot be reached"


@dataclass(slots=True)
class RecorderHealth:
    """The result of the last attempt to write to the audit log."""

    failure: str | None = None
    """Why the last attempt failed, however long ago; ``None`` when it succeeded."""
    _since: float = 0.0

    def record_failure(self, fault: BaseException) -> None:
        """Record a failed attempt."""
        self.failure, self._since = describe_fault(fault), time.monotonic()

    def record_success(self) -> None:
        """Record a successful attempt."""
        self.failure = None

    def reason(self) -> str | None:
        """Why the last attempt failed; ``None`` when it succeeded or is older than ``FRESH_S``."""
        return self.failure if time.monotonic() - self._since < FRESH_S else None


class OutageLog:
    """Writes one line when an outage of the database begins, one a minute while it lasts, and one when it ends.

    Only the loop of a worker that queries the database continuously feeds it, so that an outage is logged once.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began: float | None = None
        self._written = 0.0

    def record_failure(self, fault: BaseException) -> None:
        """Record a failed attempt."""
        now = self._now()
        if self._began is None:
            self._began = self._written = now
            _log.warning(
                "the database is away (%s): requests are answered 503 until it is back", describe_fault(fault)
            )
        elif now - self._written >= REPEAT_S:
            self._written = now
            _log.warning(
                "the database has been away for %.0f s (%s)", now - self._began, describe_fault(fault)
            )

    def record_success(self) -> None:
        """Record a successful attempt."""
        if self._began is not None:
            _log.warning("the database is back after %.0f s", self._now() - self._began)
            self._began = None
