"""Log lines: always one line per message, faults without their data, and throttled reasons for rejections."""

import logging
import time
import traceback

from app.lib.names import escape_line


class Trace(str):
    """A stack trace without messages, to append to a log message."""

    __slots__ = ()


class LineRecord(logging.LogRecord):
    """A log record that escapes control characters and bidirectional controls in its message."""

    def getMessage(self) -> str:  # noqa: N802
        """The message as one line, followed by its trace, if any."""
        args = self.args
        if isinstance(args, tuple) and args and isinstance(trace := args[-1], Trace):
            return escape_line(str(self.msg) % (*args[:-1], "")) + trace
        return escape_line(super().getMessage())


def use_line_records() -> None:
    """Use ``LineRecord`` for every logger of this process."""
    logging.setLogRecordFactory(LineRecord)


def log_fault(log: logging.Logger, what: str, fault: BaseException, level: int = logging.ERROR) -> None:
    """Log that ``what`` failed, with the type and the trace of the fault but without its message."""
    where = Trace("\n" + "".join(traceback.format_tb(fault.__traceback__)))
    log.log(level, "%s failed: %s%s", what, type(fault).__name__, where)


_EVERY_S = 60.0
_log = logging.getLogger(__name__)


class ThrottledReasons:
    """Logs each reason for a rejection at most once a minute, since anyone can send invalid tokens.

    Callers do not see the reasons. There are few, and they never quote a token.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._said_at: dict[str, float] = {}

    def say(self, reason: str, request_id: str | None) -> None:
        """Log a reason, unless it was logged within the last minute."""
        now = time.monotonic()
        if now - self._said_at.get(reason, -_EVERY_S) >= _EVERY_S:
            self._said_at[reason] = now
            _log.warning("request %s: %s was refused: %s", request_id, self._what, reason)
