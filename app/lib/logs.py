"""Why what a provider signed was refused, told to whoever sets it up; who sends it is told nothing.

Log lines that stay one line each, whatever names they hold.

Telling of faults of ours: where they were, and never what was in hand, which somebody sent or we keep.
"""

import logging
import time
import traceback

from app.lib.names import escape_line


class Trace(str):
    """Where a fault was: lines of this service's own, for the end of a message."""

    __slots__ = ()


class LineRecord(logging.LogRecord):
    """A record whose message has control characters and bidirectional controls written out."""

    def getMessage(self) -> str:  # noqa: N802
        """The message as one line, and the lines of a trace at its end."""
        args = self.args
        if isinstance(args, tuple) and args and isinstance(trace := args[-1], Trace):
            return escape_line(str(self.msg) % (*args[:-1], "")) + trace
        return escape_line(super().getMessage())


def keep_lines() -> None:
    """Have every logger of this process write such lines."""
    logging.setLogRecordFactory(LineRecord)


def log_fault(log: logging.Logger, what: str, fault: BaseException, level: int = logging.ERROR) -> None:
    """Say that ``what`` failed, by the type and the place of the fault, without its message."""
    where = Trace("\n" + "".join(traceback.format_tb(fault.__traceback__)))
    log.log(level, "%s failed: %s%s", what, type(fault).__name__, where)


_EVERY_S = 60.0
_log = logging.getLogger(__name__)


class Reasons:
    """Each reason once in a minute, since anybody can send tokens. Reasons are few, and never quote one."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said_at: dict[str, float] = {}

    def say(self, reason: str, request_id: str | None) -> None:
        """Write it to the log, unless it stands there already."""
        now = time.monotonic()
        if now - self._said_at.get(reason, -_EVERY_S) >= _EVERY_S:
            self._said_at[reason] = now
            _log.warning("request %s: %s was refused: %s", request_id, self._what, reason)
