"""Log lines that stay one line each, whatever names they hold."""

import logging

from app.domain.names import escape_line


class LineRecord(logging.LogRecord):
    """A record whose message has control characters and bidirectional controls written out."""

    def getMessage(self) -> str:  # noqa: N802
        """The message, as one line."""
        return escape_line(super().getMessage())


def keep_lines() -> None:
    """Have every logger of this process write such lines."""
    logging.setLogRecordFactory(LineRecord)
