"""Rows in the text format of COPY, one per line, with cells that need no escaping."""

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

NULL = r"\N"
TRUE, FALSE = "t", "f"
_LINES = 4_000
_FIRST, _SECOND = 0x7 << 76, 0x2 << 62
_SPREAD = 0x9E3779B97F4A7C15
"""Odd, so that multiples are unique modulo a power of two."""
_LOW = (1 << 62) - 1


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of one table; ``lines`` are without line ends."""

    table: str
    columns: tuple[str, ...]
    lines: Iterable[str]

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the lines in chunks for a connection."""
        lines = iter(self.lines)
        while some := list(islice(lines, _LINES)):
            yield ("\n".join(some) + "\n").encode()


def uuid7(ms: int, number: int) -> str:
    """Return the hex of a UUIDv7 (RFC 9562) from a time in Unix milliseconds and a number."""
    return f"{ms << 80 | _FIRST | (number & 0xFFF) << 64 | _SECOND | number * _SPREAD & _LOW:032x}"


def uuid7s(count: int, begins: float, ends: float, kind: int) -> list[tuple[str, str]]:
    """Return this many ids with creation times, as cells, evenly between two times in Unix seconds.

    ``kind`` makes the ids of different tables differ.
    """
    step = (ends - begins) / max(1, count)
    times = (begins + step * number for number in range(count))
    return [(uuid7(int(at * 1000), number * 64 + kind), moment(at)) for number, at in enumerate(times)]


def moment(at: float) -> str:
    """Return a time in Unix seconds as a cell."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def document(value: Any) -> str:
    """Return JSON as a cell. Raises ``ValueError`` if COPY would need escapes."""
    text = json.dumps(value, separators=(",", ":"))
    if "\\" in text:
        raise ValueError("COPY reads backslashes in its own way")
    return text


def octets(digits: str) -> str:
    """Return bytes, given as hex, as a cell."""
    return rf"\\x{digits}"


def hyphened(id: str) -> str:
    """Return the hex of an id with hyphens, as in documents."""
    return f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}"


def lines(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Join cells to lines."""
    return ("\t".join(row) for row in rows)
