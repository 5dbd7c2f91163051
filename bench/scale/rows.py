"""Rows as COPY takes them, in its text format: a line each, with cells that need no escaping."""

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
"""Odd, so that counting by it comes to every number before it comes to one again."""
_LOW = (1 << 62) - 1


@dataclass(frozen=True, slots=True)
class TableRows:
    """What goes into one table: ``lines`` without their ends."""

    table: str
    columns: tuple[str, ...]
    lines: Iterable[str]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The lines as a connection takes them."""
        lines = iter(self.lines)
        while some := list(islice(lines, _LINES)):
            yield ("\n".join(some) + "\n").encode()


def uuid7(ms: int, number: int) -> str:
    """The hex of a UUIDv7 (RFC 9562) of a time in Unix milliseconds; those of one number differ by the time alone."""
    return f"{ms << 80 | _FIRST | (number & 0xFFF) << 64 | _SECOND | number * _SPREAD & _LOW:032x}"


def uuid7s(count: int, begins: float, ends: float, kind: int) -> list[tuple[str, str]]:
    """So many ids with the times that they were made at, as cells, evenly between two times in Unix seconds.

    ``kind`` keeps those of one table from being those of another.
    """
    step = (ends - begins) / max(1, count)
    times = (begins + step * number for number in range(count))
    return [(uuid7(int(at * 1000), number * 64 + kind), moment(at)) for number, at in enumerate(times)]


def moment(at: float) -> str:
    """A time in Unix seconds."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def document(value: Any) -> str:
    """JSON. Raises ``ValueError`` for one that COPY would read otherwise."""
    text = json.dumps(value, separators=(",", ":"))
    if "\\" in text:
        raise ValueError("COPY reads backslashes in its own way")
    return text


def octets(digits: str) -> str:
    """Bytes, from their hex."""
    return rf"\\x{digits}"


def hyphened(id: str) -> str:
    """The hex of an id as documents hold it."""
    return f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}"


def lines(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows of cells as lines."""
    return ("\t".join(row) for row in rows)
