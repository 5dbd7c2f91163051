"""Log lines that stay one line each, whatever names they hold."""

import logging

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
