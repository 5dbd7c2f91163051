"""A leaf is the stored row in one canonical form; rows are read in commit order, and none is skipped."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from app.features.audit.queries import Position
from app.features.audit.sealing.leaves import LEAF_COLUMNS, leaf_of, place_of, read_events
from app.models.audit import AuditEvent

BEGINNING: Position = (0, 0, 0)
AWKWARD = 'quo"te \\ back, \n\r\t\b\f \x01\x1f\x7f \u2028 é 漢 😀 </script> %s :name $1 {0}'
CHANGES = {
    "b": AWKWARD,
    "a": [1, -2, True, None, "x", [], {}, [[{"z": 1, "y": {"é": 2, "e": 3, 'q"': 4, "\n": 5}}]]],
    "longer": 2**70,
    "Z": {"10": 1, "9": 2},
    AWKWARD: "",
}


def number(value: int) -> UUID:
    return UUID(int=value << 64 | 0xABCDEF)


def full() -> dict[str, Any]:
    """A row with a difficult value in every column."""
    made: dict[str, Any] = {}
    for place, (name, field) in enumerate(AuditEvent.model_fields.items()):
        kind = str(field.annotation)
        if "list" in kind:
            made[name] = [number(place), number(place + 100)]
        elif "UUID" in kind:
            made[name] = number(place)
        elif "bytes" in kind:
            made[name] = bytes(range(256))
        elif "int" in kind:
            made[name] = place
        elif "dict" in kind:
            made[name] = json.dumps(CHANGES)
        elif "datetime" in kind:
            made[name] = datetime.now(UTC).replace(microsecond=40)
        else:
            made[name] = AWKWARD
    return made | {"epoch": 1, "xact": 2**62, "policy_version": -(2**63)}


def expected(row: dict[str, Any]) -> bytes:
    """The documented form, computed without the database."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if isinstance(value, bytes):
            return value.hex()
        return [plain(each) for each in value] if isinstance(value, list) else value

    said = {name: plain(value) for name, value in row.items() if value is not None}
    if "changes" in said:
        said["changes"] = json.loads(said["changes"])
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()


async def insert(connection: "asyncpg.Connection[asyncpg.Record]", row: dict[str, Any]) -> bytes:
    """Store a row and return its leaf."""
    values = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO audit_events ({', '.join(row)}) VALUES ({values})", *row.values())
    read = await connection.fetchrow(f"SELECT {LEAF_COLUMNS} FROM audit_events WHERE id = $1", row["id"])
    assert read is not None
    return leaf_of(read)


async def test_a_leaf_has_every_column_in_the_one_form_that_is_documented(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    row = full()
    assert len(row) == len(AuditEvent.model_fields)
    leaf = await insert(connection, row)
    assert leaf == expected(row)
    assert b"\n" not in leaf


async def test_what_is_null_is_left_out(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    row = {"id": number(1), "time": datetime.now(UTC), "epoch": 1, "xact": 5, "seq": 6}
    row |= {"action": "x", "actor_type": "system"}
    assert await insert(connection, row) == expected(row)


async def test_numbers_are_sealed_digit_for_digit_and_nesting_has_no_end(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """No JSON parser preserves these numbers, but a tampered row may contain any of them."""
    digits = "0.10000000000000000000000000000000000010"
    deep = "[" * 2_000 + "]" * 2_000
    row = {"id": number(1), "action": "x", "actor_type": "system"}
    row |= {"changes": f'{{"n":{digits},"i":{"7" * 5_000},"deep":{deep}}}'}
    leaf = await insert(connection, row)
    assert f'"changes":{{"deep":{deep},"i":{"7" * 5_000},"n":{digits}}},"epoch"'.encode() in leaf


async def write(connection: "asyncpg.Connection[asyncpg.Record]", **columns: Any) -> Position:
    """Write one event and return its place in commit order."""
    columns = {"id": number(0), "action": "x", "actor_type": "system", **columns}
    names, values = ", ".join(columns), ", ".join(f"${place}" for place in range(1, len(columns) + 1))
    row = await connection.fetchrow(
        f"INSERT INTO audit_events ({names}) VALUES ({values}) RETURNING epoch, xact, seq", *columns.values()
    )
    assert row is not None
    return (row["epoch"], row["xact"], row["seq"])


def places(rows: list[asyncpg.Record]) -> list[Position]:
    return [place_of(row) for row in rows]


async def test_rows_are_read_on_in_the_order_of_commits_over_epochs(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """An older epoch has transaction ids far above the current ones, as after a restore."""
    await connection.execute("UPDATE log_epochs SET epoch = 3")
    written = [
        await write(connection, epoch=1, xact=2**61, seq=8),
        await write(connection, epoch=1, xact=2**61, seq=9),
        await write(connection, epoch=2, xact=2**60, seq=1),
        await write(connection),
        await write(connection),
    ]
    assert written[-1][0] == 3
    found: list[Position] = []
    after = BEGINNING
    while True:
        stretch = await settled(connection, after, 2, more=len(found) < len(written))
        if not stretch:
            break
        found += places(stretch)
        after = place_of(stretch[-1])
    assert found == written
    first = await read_events(connection, BEGINNING, 9, until=written[0])
    assert places(first) == written[:1]
    assert (await read_events(connection, written[1], 9, until=written[1])) == []
    assert places(await read_events(connection, written[1], 9, until=written[2])) == [written[2]]


async def settled(
    connection: "asyncpg.Connection[asyncpg.Record]", after: Position, rows: int, *, more: bool
) -> list[asyncpg.Record]:
    """Wait for open transactions of the cluster, which delay readers, including those of other tests."""
    while True:
        stretch = await read_events(connection, after, rows)
        if stretch or not more:
            return stretch


async def test_nothing_is_read_that_an_open_transaction_may_yet_precede(
    connection: "asyncpg.Connection[asyncpg.Record]", database_url: str
) -> None:
    slow = await asyncpg.connect(database_url)
    transaction = slow.transaction()
    await transaction.start()
    late = await write(slow)
    early = await write(connection)
    assert (await read_events(connection, BEGINNING, 9)) == []
    await transaction.commit()
    await slow.close()
    found: list[Position] = []
    while len(found) < 2:
        found = places(await read_events(connection, BEGINNING, 9))
    assert found == [late, early]
