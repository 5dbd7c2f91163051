"""Parts of the sealed log: the checkpoints around positions, or around what happened in a span of time."""

from datetime import datetime

from asyncpg import Connection, Record

from app.features.audit.queries import Position
from app.features.audit.sealing.tiles import Sealed, checkpoint_before, checkpoint_holding
from app.features.audit.sealing.verifying import FindSpan, Span

_COLUMNS = "tree_size, epoch, last_xact, last_seq, root_hash, note, created_at"
_UP_TO = f"SELECT {_COLUMNS} FROM audit_checkpoints WHERE tree_size <= $1 ORDER BY tree_size DESC LIMIT 1"  # noqa: S608
_FROM = f"SELECT {_COLUMNS} FROM audit_checkpoints WHERE tree_size >= $1 ORDER BY tree_size LIMIT 1"  # noqa: S608
# Checkpoints are made in the order of their sizes, and their times may lie a little wrong where clocks do.
_SIGNED_BEFORE = "SELECT max(tree_size) FROM audit_checkpoints WHERE created_at < $1"
_SIGNED_FROM = "SELECT min(tree_size) FROM audit_checkpoints WHERE created_at >= $1"
_SIGNED_WITHIN = """
SELECT EXISTS (
    SELECT FROM audit_checkpoints
    WHERE ($1::timestamptz IS NULL OR created_at >= $1) AND ($2::timestamptz IS NULL OR created_at < $2)
)
"""
_FIRST = """
SELECT epoch, xact, seq FROM audit_events
WHERE ($1::timestamptz IS NULL OR time >= $1) AND ($2::timestamptz IS NULL OR time < $2)
ORDER BY epoch, xact, seq LIMIT 1
"""
_LAST = _FIRST.replace("ORDER BY epoch, xact, seq", "ORDER BY epoch DESC, xact DESC, seq DESC")


class NoSuchPart(ValueError):
    """The log has no such part. The message says why, for people."""


def by_positions(first: int, end: int | None) -> FindSpan:
    """The part with the positions ``first`` up to, but without, ``end``; to the newest checkpoint without one.

    It raises ``NoSuchPart``.
    """

    async def find(connection: "Connection[Record]", latest: Sealed) -> Span:
        to = latest.size if end is None else end
        if not 0 <= first < to <= latest.size:
            raise NoSuchPart(
                f"the log has sealed positions 0 to {latest.size - 1}; give --from and --to within these"
            )
        return Span(await _one(connection, _UP_TO, first), await _one(connection, _FROM, to) or latest)

    return find


def by_time(since: datetime | None, until: datetime | None) -> FindSpan:
    """The part with all that was sealed of a span of time: what is there of it, and what was signed meanwhile."""

    async def find(connection: "Connection[Record]", latest: Sealed) -> Span:
        is_signed = await connection.fetchval(_SIGNED_WITHIN, since, until)
        if not is_signed and await connection.fetchrow(_FIRST, since, until) is None:
            raise NoSuchPart("there is no event of that time, and no checkpoint")
        start = None if since is None else await _start(connection, since, until)
        end = latest if until is None else await _end(connection, since, until, latest)
        if start is not None and start.size >= end.size:
            raise NoSuchPart("nothing of that time is sealed")
        return Span(start, end)

    return find


async def _start(connection: "Connection[Record]", since: datetime, until: datetime | None) -> Sealed | None:
    signed = await _one(connection, _UP_TO, await connection.fetchval(_SIGNED_BEFORE, since) or 0)
    first = _place(await connection.fetchrow(_FIRST, since, until))
    before = signed if first is None else await checkpoint_before(connection, first)
    return min((signed, before), key=lambda sealed: 0 if sealed is None else sealed.size)


async def _end(
    connection: "Connection[Record]", since: datetime | None, until: datetime, latest: Sealed
) -> Sealed:
    size = await connection.fetchval(_SIGNED_FROM, until)
    signed = latest if size is None else await _one(connection, _FROM, size) or latest
    last = _place(await connection.fetchrow(_LAST, since, until))
    holding = signed if last is None else await checkpoint_holding(connection, last) or latest
    return max(signed, holding, key=lambda sealed: sealed.size)


async def _one(connection: "Connection[Record]", statement: str, size: int) -> Sealed | None:
    row = await connection.fetchrow(statement, size)
    if row is None:
        return None
    tree_size, epoch, xact, seq, root, note, at = row
    return Sealed(tree_size, (epoch, xact, seq), root, note, at)


def _place(row: Record | None) -> Position | None:
    return None if row is None else (row["epoch"], row["xact"], row["seq"])
