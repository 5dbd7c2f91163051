"""That a month was dropped, which whoever may insert into the trail can record, excuses no event that is gone."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from app.features.sealed_log.retention import DROP, record_drop
from app.features.sealed_log.verdict import Verdict
from tests.features.sealed_log.sealed import insert, seal, write
from tests.features.sealed_log.test_retention import MONTH, drops, maintained, old_months
from tests.features.sealed_log.test_verifying import named, row_at, tampering, verify

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
THIS_MONTH = f"audit_events_y{datetime.now(UTC):%Ym%m}"


async def made_up(connection: "Connection", partition: str, rows: int, first: int, last: int) -> None:
    changes = {"partition": partition, "rows": rows, "lowest_position": first, "highest_position": last}
    await insert(connection, action=DROP, changes=json.dumps(changes))


async def without_one(connection: "Connection", partition: str) -> Verdict:
    """What is said of a log whose event at position 310 was deleted, and a month with that one position "dropped"."""
    await write(connection, 300)
    await seal(connection, 300)
    await write(connection, 300)
    await seal(connection, 600)
    await made_up(connection, partition, 1, 310, 310)
    row = await row_at(connection, 310)
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_events WHERE id = $1", row["id"])
    await seal(connection, 601)
    return await verify(connection)


@pytest.mark.parametrize(
    ("partition", "opened"),
    [
        (THIS_MONTH, None),
        ("audit_events_y2025m09", None),
        ("audit_events_y2001m01", "2000-01-01"),
        ("audit_events_y9999m12", None),
        ("audit_events_y0000m13", None),
        ("x", None),
    ],
)
async def test_a_month_that_cannot_have_been_dropped_excuses_nothing(
    connection: "Connection", partition: str, opened: str | None
) -> None:
    if opened is not None:
        await connection.execute(f"UPDATE log_epochs SET opened_at = '{opened}'")
    verdict = await without_one(connection, partition)
    assert named(verdict) == [("missing", 310, 311, None)]
    assert verdict.dropped == 0


async def test_of_two_events_about_a_month_the_first_counts(
    connection: "Connection", database_url: str
) -> None:
    await old_months(connection, database_url, 255)
    await write(connection, 253)
    await seal(connection, 512)
    assert (await maintained(database_url))[0] == (MONTH,)
    await seal(connection, 513)
    await made_up(connection, MONTH, 256, 3, 300)
    row = await row_at(connection, 300 - 255)
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_events WHERE id = $1", row["id"])
    await seal(connection, 514)
    verdict = await verify(connection)
    assert ("missing", 300, 301, None) in named(verdict)
    assert any("more than once" in note for note in verdict.notes)


async def test_what_somebody_said_of_a_month_before_does_not_keep_the_truth_off_the_record(
    connection: "Connection", database_url: str
) -> None:
    await old_months(connection, database_url, 255)
    await write(connection, 253)
    await seal(connection, 512)
    await made_up(connection, MONTH, 1, 3, 3)
    assert await record_drop(connection, MONTH) is None
    said: list[Any] = [json.loads(event["changes"])["rows"] for event in await drops(connection)]
    assert sorted(said) == [1, 255]
    assert await record_drop(connection, MONTH) is None
    assert len(await drops(connection)) == 2
