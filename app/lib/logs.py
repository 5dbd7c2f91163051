"""Log lines: always one line per message, faults without their data, and throttled reasons for rejections."""

import asyncio
import logging
import time
import traceback
from types import TracebackType
from typing import Any

from app.lib.names import escape_line


class Trace(str):
    """A stack trace without messages, to append to a log message."""

    __slots__ = ()


class LineRecord(logging.LogRecord):
    """A log record that escapes control characters and bidirectional controls in its message, and shows no message of
    an exception, which could contain client data, whoever logs it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0] is not None:
            # Formatters take this text instead of making one that ends in the message.
            self.exc_text = self.exc_info[0].__name__ + _trace(self.exc_info[2])

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
    log.log(level, "%s failed: %s%s", what, type(fault).__name__, _trace(fault.__traceback__))


def _trace(tb: TracebackType | None) -> Trace:
    return Trace("\n" + "".join(traceback.format_tb(tb)))


def log_stray_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's exception handler, for faults that nobody awaited. The default one logs their messages."""
    fault = context.get("exception")
    if fault is None:
        loop.default_exception_handler(context)
    else:
        log_fault(_log, f"the event loop ({context.get('message')})", fault)


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
