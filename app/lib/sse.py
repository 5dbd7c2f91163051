"""Server-sent events: an incremental parser that keeps the raw bytes, and an encoder.

Source: HTML Living Standard, section 9.2 (event stream format). The raw bytes of all events together are exactly the
bytes that were fed, so a proxy can inspect each event and forward it unchanged.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

_LINE_END = re.compile(rb"\r\n|\n|\r")
_ID_LINE = re.compile(rb"(?<![^\r\n])id(?::[^\r\n]*)?(?=[\r\n])")
_RETRY_DIGITS = 9
_BOM = b"\xef\xbb\xbf"
LINES_AT_A_TIME = 32
"""Lines between two yields, so that a flood of short lines does not block the event loop."""
MAX_SILENT_BYTES = 1024 * 1024
"""Bytes of blocks without data (comments, bare ids), in addition to ``SILENT_BYTES_A_SECOND``."""
SILENT_BYTES_A_SECOND = 1024


class SseLimitError(ValueError):
    """A line or an event is too long, or there are too many blocks without data."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One block of the stream, including its empty line.

    ``data`` is ``None`` when the block has no ``data`` field (a comment, a bare ``id`` or ``retry``): forward such a
    block, dispatch nothing. ``event`` is ``message`` by default. ``id`` is the block's own, if any. ``retry`` is the
    reconnection time in milliseconds, if the block sets it.
    """

    raw: bytes
    data: bytes | None
    event: str
    id: str | None
    retry: int | None = None


class SseParser:
    """An incremental parser. The limits are in bytes."""

    def __init__(
        self, *, max_line_bytes: int = 4 * 1024 * 1024, max_event_bytes: int = 4 * 1024 * 1024
    ) -> None:
        self._max_line = max_line_bytes
        self._max_event = max_event_bytes
        self._raw = bytearray()
        self._line_start = 0
        self._scanned = 0
        self._after_cr = False
        self._at_start = True
        self._data: list[bytes] = []
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None
        self._silent = 0
        self._begun = monotonic()

    @property
    def pending(self) -> bytes:
        """Bytes of the unfinished block. At the end of a stream they are dropped."""
        return bytes(self._raw)

    def feed(self, chunk: bytes) -> Iterator[SseEvent | None]:
        """The events that end in this chunk, and ``None`` every few lines, at which the caller must yield.

        Consume it completely before the next chunk. Raises ``SseLimitError``; do not use the parser after that.
        """
        self._raw += chunk
        if self._at_start and not self._skip_bom():
            return
        lines = 0
        while True:
            lines += 1
            if lines % LINES_AT_A_TIME == 0:
                yield None
            if self._after_cr and self._scanned < len(self._raw):
                # The line ended with CR, which can be the first half of a CRLF split between two chunks.
                self._after_cr = False
                if self._raw[self._scanned] == 0x0A:
                    self._scanned += 1
                    self._line_start = self._scanned
            line_end = _LINE_END.search(self._raw, self._scanned)
            if line_end is None:
                self._scanned = len(self._raw)
                self._check(len(self._raw))
                return
            self._check(line_end.start())
            line = bytes(self._raw[self._line_start : line_end.start()])
            end = line_end.end()
            self._after_cr = end == len(self._raw) and self._raw[end - 1] == 0x0D
            self._line_start = self._scanned = end
            if line:
                self._field(line)
            else:
                yield self._dispatch(end)

    def _skip_bom(self) -> bool:
        head = bytes(self._raw[:3])
        if len(head) < 3 and _BOM.startswith(head):
            return False
        self._at_start = False
        if head == _BOM:
            self._line_start = self._scanned = 3
        return True

    def _check(self, end: int) -> None:
        if end - self._line_start > self._max_line:
            raise SseLimitError("a line of the event stream is too long")
        if end > self._max_event:
            raise SseLimitError("an event of the stream is too long")

    def _field(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        if colon and value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self._retry = int(value)

    def _dispatch(self, end: int) -> SseEvent:
        event = SseEvent(
            raw=bytes(self._raw[:end]),
            data=b"\n".join(self._data) if self._data else None,
            event=self._event or "message",
            id=self._id,
            retry=self._retry,
        )
        if not event.data:
            self._silent += end
            over = self._silent - MAX_SILENT_BYTES
            if over > 0 and over > SILENT_BYTES_A_SECOND * (monotonic() - self._begun):
                raise SseLimitError("the stream has too many blocks without data")
        del self._raw[:end]
        self._line_start = self._scanned = 0
        self._data, self._event, self._id, self._retry = [], "", None, None
        return event


def encode_event(data: bytes, id: bytes | None = None, *, name: bytes | None = b"message") -> bytes:
    """Encode one event. Each line of ``data`` becomes a ``data`` line; ``id`` and ``name`` must be single lines."""
    head = b"" if name is None else b"event: " + name + b"\r\n"
    if id is not None:
        head += b"id: " + id + b"\r\n"
    if b"\n" not in data and b"\r" not in data:
        return head + b"data: " + data + b"\r\n\r\n"
    lines = b"".join(b"data: " + line + b"\r\n" for line in _LINE_END.split(data))
    return head + lines + b"\r\n"


def replace_id(raw: bytes, id: bytes) -> bytes:
    """Replace the id in the raw block of an event."""
    return _ID_LINE.sub(lambda _: b"id: " + id, raw)
