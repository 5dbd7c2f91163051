"""Leaves of the sealed log: what of an event is hashed, in the one form that it has.

A leaf is the stored row as JSON on one line of UTF-8. Keys are the names of columns, sorted; columns that are NULL are
left out, so that a column that comes later changes no leaf that was sealed before it. UUIDs are hyphenated and in lower
case, times are RFC 3339 in UTC with six digits of a second and ``Z``, bytes are hexadecimal in lower case, integers are
exact. There is no white space between tokens, and strings have only the escapes that JSON requires. ``changes`` is
written alike, its keys sorted by code point and its numbers digit for digit as they are stored.

The database writes all but ``changes``: of a worker's time a row then costs a fraction of what it would cost in Python.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from asyncpg import Connection, Record
from sqlalchemy.dialects import postgresql
from sqlmodel import SQLModel

from app.features.audit.queries import Position
from app.models.audit import AuditEvent

_TEXT = "to_json({0})::text"
_FORMS = {
    "VARCHAR": _TEXT,
    "UUID": "'\"' || {0}::text || '\"'",
    "UUID[]": _TEXT,
    "INTEGER": "{0}::text",
    "BIGINT": "{0}::text",
    "BYTEA": "'\"' || encode({0}, 'hex') || '\"'",
    "TIMESTAMP WITH TIME ZONE": (
        '\'"\' || to_char({0} AT TIME ZONE \'UTC\', \'YYYY-MM-DD"T"HH24":"MI":"SS.US"Z"\') || \'"\''
    ),
}
_CHANGES = "changes"
_FIRST = "action"
"""The first of the keys, which every event has: what follows it begins with a comma."""
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|[^\s\[\]{}",:]+')


def _part(name: str, type: str) -> str:
    """SQL for one column of a leaf; NULL where the column is."""
    before = "{" if name == _FIRST else ","
    return f"""'{before}"{name}":' || {_FORMS[type].format(name)}"""


def _columns() -> str:
    table, dialect = SQLModel.metadata.tables[str(AuditEvent.__tablename__)], postgresql.dialect()  # type: ignore[no-untyped-call]
    types = {column.name: column.type.compile(dialect) for column in table.columns}
    head = ", ".join(_part(name, types[name]) for name in sorted(types) if name < _CHANGES)
    tail = ", ".join(_part(name, types[name]) for name in sorted(types) if name > _CHANGES)
    return f"concat({head}) AS head, {_CHANGES}::text AS changes, concat({tail}, '}}') AS tail"


LEAF_COLUMNS = _columns()
"""SQL that selects of ``audit_events`` what ``leaf_of`` takes: columns ``head``, ``changes`` and ``tail``."""

_NO_END = 2**63 - 1
# The bound is a value and not a condition of its own, so that the index ends there: nothing beyond it is looked at.
# Only the newest epoch has transactions that are still open.
# mutation: leaves_read
_READ = f"""
SELECT xact, seq, {LEAF_COLUMNS}
FROM audit_events
WHERE epoch = $1 AND (xact, seq) > ($2, $3) AND (xact, seq) <= ($4, $5)
  AND xact < (SELECT CASE WHEN scopegate_epoch() IS DISTINCT FROM $1 THEN {_NO_END}
              ELSE pg_snapshot_xmin(pg_current_snapshot())::text::bigint END)
ORDER BY epoch, xact, seq
LIMIT $6
"""  # noqa: S608
_READ_BACK = f"""
SELECT xact, seq, {LEAF_COLUMNS}
FROM audit_events
WHERE epoch = $1 AND (xact, seq) <= ($2, $3)
ORDER BY epoch DESC, xact DESC, seq DESC
LIMIT $4
"""  # noqa: S608
# An epoch that nobody has opened yet holds nothing but what somebody made up, and nothing comes after the last of them:
# whoever followed it there would never come back.
_NEXT_EPOCH = """
SELECT min(epoch) FROM audit_events
WHERE epoch > $1 AND epoch <= (SELECT coalesce(scopegate_epoch(), max(epoch)) FROM log_epochs)
"""
_LAST_EPOCH = "SELECT max(epoch) FROM audit_events WHERE epoch < $1"


class Stretch(NamedTuple):
    """Rows of one epoch that follow each other in the order of commits, each with ``xact``, ``seq`` and what
    ``leaf_of`` takes."""

    epoch: int
    rows: list[Record]

    @property
    def end(self) -> Position:
        """The place of the last row."""
        last = self.rows[-1]
        return (self.epoch, last["xact"], last["seq"])


def leaf_of(row: Mapping[str, Any] | Record) -> bytes:
    """The leaf of a row that was read with ``LEAF_COLUMNS``."""
    changes = row[_CHANGES]
    if changes is None:
        return f"{row['head']}{row['tail']}".encode()
    return f'{row["head"]},"{_CHANGES}":{_sorted_json(changes)}{row["tail"]}'.encode()


async def read_stretch(
    connection: "Connection[Record]", after: Position, rows: int, until: Position | None = None
) -> Stretch:
    """At most ``rows`` rows that come next in the order of commits, none later than ``until``; none when there is
    nothing more.

    Nothing at or above the oldest transaction that still writes is read: it may yet commit a row that comes before.
    Older epochs are read whole.
    """
    epoch, xact, seq = after
    while True:
        last = (_NO_END, _NO_END) if until is None or epoch < until[0] else until[1:]
        found = await connection.fetch(_READ, epoch, xact, seq, *last, rows)
        if found or (until is not None and epoch >= until[0]):
            return Stretch(epoch, found)
        following = await connection.fetchval(_NEXT_EPOCH, epoch)
        if following is None or (until is not None and following > until[0]):
            return Stretch(epoch, [])
        epoch, xact, seq = following, -1, -1


async def read_back(connection: "Connection[Record]", place: Position, rows: int) -> list[Record]:
    """At most ``rows`` rows that end with the one at a place, in the order of commits, of whichever epochs."""
    epoch: int | None
    epoch, xact, seq = place
    found: list[Record] = []
    while epoch is not None and len(found) < rows:
        found += await connection.fetch(_READ_BACK, epoch, xact, seq, rows - len(found))
        epoch, xact, seq = await connection.fetchval(_LAST_EPOCH, epoch), _NO_END, _NO_END
    return found[::-1]


def _sorted_json(text: str) -> str:
    """JSON that PostgreSQL wrote, with its keys sorted and without white space.

    Numbers stay the digits that they are, and however deep it is nested, it is read: whatever somebody has put into a
    row, it can be sealed.
    """
    open_: list[list[str]] = [[]]
    for token in _TOKEN.findall(text):
        if token in {"{", "["}:
            open_.append([])
        elif token == "]":
            items = open_.pop()
            open_[-1].append(f"[{','.join(items)}]")
        elif token == "}":
            parts = open_.pop()
            pairs = sorted(zip(parts[::2], parts[1::2], strict=True), key=_key)
            open_[-1].append(f"{{{','.join(f'{name}:{value}' for name, value in pairs)}}}")
        else:
            open_[-1].append(token)
    return open_[0][0]


def _key(pair: tuple[str, str]) -> str:
    name = pair[0]
    return str(json.loads(name)) if "\\" in name else name[1:-1]
