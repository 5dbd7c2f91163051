"""A forged record of a dropped month, by an attacker with the right to insert, explains no missing event."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from app.crypto.signed_notes import open_checkpoint
from app.features.audit.sealing.drops import DROP, record_drop
from app.features.audit.sealing.leaves import BEGINNING, leaf_of, read_events
from app.features.audit.sealing.proofs import prove_range
from app.features.audit.sealing.verdict import ExternalCheckpoint, RangeProof, Verdict, verify_range
from tests.features.audit.sealing.sealed import SIGNER, insert, seal, write
from tests.features.audit.sealing.test_retention import MONTH, drops, maintained, old_months
from tests.features.audit.sealing.test_verifying import kept_checkpoint, named, row_at, tampering, verify

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
THIS_MONTH = f"audit_events_y{datetime.now(UTC):%Ym%m}"


async def made_up(connection: "Connection", partition: str, rows: int, first: int, last: int) -> None:
    changes = {"partition": partition, "rows": rows, "lowest_position": first, "highest_position": last}
    await insert(connection, action=DROP, changes=json.dumps(changes))


async def without_one(connection: "Connection", partition: str) -> Verdict:
    """The verdict on a log without its event at position 310, and with a "dropped" month of only that position."""
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


async def test_a_month_that_its_owner_dropped_before_its_time_is_noted_and_an_older_export_of_it_still_proven(
    connection: "Connection", database_url: str
) -> None:
    await old_months(connection, database_url, 255)
    await write(connection, 253)
    await seal(connection, 512)
    before = await kept_checkpoint(connection)
    exported = [leaf_of(row) for row in await read_events(connection, BEGINNING, 259)]
    await made_up(connection, MONTH, 255, 3, 258)
    async with tampering(connection):
        await connection.execute(f"DROP TABLE {MONTH}")
    await seal(connection, 513)
    # It is indistinguishable from a month that the service dropped, and the hashes still match the checkpoint.
    verdict = await verify(connection, before)
    assert (verdict.faults, verdict.dropped) == ([], 255)
    [row] = await drops(connection)
    assert [note for note in verdict.notes if MONTH in note and f"dropped on {row['time']:%Y-%m-%d}" in note]
    # A copy proves what was there, to anyone with a checkpoint.
    for size in (512, 513):
        checkpoint, siblings = await prove_range(connection, 0, 259, size)
        said, _ = open_checkpoint(checkpoint.note, SIGNER.verifier_keys())
        proof = RangeProof(
            0, 259, ExternalCheckpoint("a checkpoint", said), tuple(map(bytes.fromhex, siblings))
        )
        assert verify_range(exported, proof).is_intact
        assert not verify_range([*exported[:4], exported[3], *exported[5:]], proof).is_intact
