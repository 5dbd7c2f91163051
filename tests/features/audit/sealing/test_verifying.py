"""Every change of a superuser to the sealed log is found, classified and located."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from app.crypto.log_check import Follower
from app.crypto.signed_notes import Checkpoint, Note, NoteSigner
from app.features.audit.epochs import ensure_epoch
from app.features.audit.sealing import verifying
from app.features.audit.sealing.drops import record_drop
from app.features.audit.sealing.leaves import latest_checkpoint
from app.features.audit.sealing.sealer import SealedLog
from app.features.audit.sealing.verdict import ExternalCheckpoint, Verdict
from app.features.audit.sealing.verifying import verify_log
from app.lib.ids import EVENT, format_id
from tests.features.audit.sealing.sealed import SIGNER, leaves, seal, size, write
from tests.features.audit.sealing.test_retention import MONTH, NEXT_DAY, drops, maintained, old_months

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SIZES = (100, 150, 40, 210)
"""What is sealed at once; the last tile ends within the last of them."""
TOTAL = sum(SIZES)


async def sealed_log(connection: "Connection") -> None:
    for events in SIZES:
        await write(connection, events)
        await seal(connection, await size(connection) + events)


async def verify(connection: "Connection", *kept: ExternalCheckpoint, signer: NoteSigner = SIGNER) -> Verdict:
    return await verify_log(connection, signer.verifier_keys, kept)


@asynccontextmanager
async def tampering(connection: "Connection") -> AsyncIterator[None]:
    """Change data as a superuser, whom no trigger stops."""
    await connection.execute("SET session_replication_role = replica")
    yield
    await connection.execute("SET session_replication_role = origin")


async def row_at(connection: "Connection", position: int) -> asyncpg.Record:
    row = await connection.fetchrow(
        "SELECT id, time, epoch, xact, seq FROM audit_events ORDER BY epoch, xact, seq OFFSET $1 LIMIT 1",
        position,
    )
    assert row is not None
    return row


async def kept_checkpoint(connection: "Connection") -> ExternalCheckpoint:
    latest = await latest_checkpoint(connection)
    assert latest is not None
    return ExternalCheckpoint("kept.txt", Checkpoint.parse(Note.parse(latest.note).text))


async def next_epoch(connection: "Connection") -> None:
    """Open the next epoch, as a copy with its own timeline does."""
    await connection.execute("UPDATE log_epochs SET timeline = timeline + 1000")
    await ensure_epoch(connection)


def named(verdict: Verdict) -> list[tuple[str, int, int, str | None]]:
    return [(fault.kind, fault.first, fault.end, fault.event_id) for fault in verdict.faults]


async def test_a_log_as_it_was_sealed_is_well(connection: "Connection") -> None:
    nothing = await verify(connection)
    assert (nothing.is_intact, nothing.notes) == (True, ["nothing is sealed yet"])
    await write(connection, 10)
    await seal(connection, 10)
    early = await kept_checkpoint(connection)
    await write(connection, 600)
    await seal(connection, 610)
    await write(connection, 5)
    verdict = await verify(connection, early, await kept_checkpoint(connection))
    assert verdict.faults == []
    assert (verdict.first, verdict.end, verdict.events, verdict.checkpoints) == (0, 610, 610, 2)
    assert verdict.notes == [
        f"the checkpoint of {count} events in kept.txt is of this log" for count in (10, 610)
    ]
    assert (
        verdict.lines()[-1] == "The log is what was sealed: positions 0 to 609 (610 events, 2 checkpoints)."
    )


async def test_a_changed_event_is_found_and_named(connection: "Connection") -> None:
    await sealed_log(connection)
    row = await row_at(connection, 120)
    async with tampering(connection):
        await connection.execute("UPDATE audit_events SET tool = 'toool' WHERE id = $1", row["id"])
    verdict = await verify(connection)
    id = format_id(EVENT, row["id"])
    assert named(verdict) == [("changed", 120, 121, id)]
    bad = verdict.bad_range()
    assert bad is not None
    assert bad.after is not None
    assert bad.before is not None
    assert (bad.first, bad.end, bad.after.size, bad.before.size) == (120, 121, 100, 250)
    assert id in verdict.lines()[0]
    assert verdict.lines()[-2].startswith(
        "first bad range: position 120, between the checkpoints of so many events: 100, signed 2"
    )
    assert verdict.as_json()["first_bad_range"]["checkpoint_after"]["tree_size"] == 250


async def test_a_deleted_event_is_missed_where_it_was(connection: "Connection") -> None:
    await sealed_log(connection)
    for position in (249, 7):
        row = await row_at(connection, position)
        async with tampering(connection):
            await connection.execute("DELETE FROM audit_events WHERE id = $1", row["id"])
    assert named(await verify(connection)) == [("missing", 7, 8, None), ("missing", 249, 250, None)]


async def test_two_events_that_changed_places_are_not_taken_for_changed_ones(
    connection: "Connection",
) -> None:
    await sealed_log(connection)
    one, other = await row_at(connection, 30), await row_at(connection, 60)
    async with tampering(connection):
        for row, place in ((one, other), (other, one)):
            await connection.execute(
                "UPDATE audit_events SET epoch = $2, xact = $3, seq = $4 WHERE id = $1",
                row["id"], place["epoch"], place["xact"], place["seq"],
            )  # fmt: skip
    assert set(named(await verify(connection))) == {
        ("out_of_order", 30, 31, format_id(EVENT, one["id"])),
        ("out_of_order", 60, 61, format_id(EVENT, other["id"])),
    }


async def test_an_event_that_was_put_in_is_found(connection: "Connection") -> None:
    await sealed_log(connection)
    before, after = await row_at(connection, 99), await row_at(connection, 100)
    async with tampering(connection):
        id = await connection.fetchval(
            "INSERT INTO audit_events (id, epoch, xact, seq, action, actor_type) "
            "VALUES (gen_random_uuid(), $1, $2, $3, 'tool.call', 'identity') RETURNING id",
            before["epoch"], before["xact"], before["seq"] + 1_000_000,
        )  # fmt: skip
    assert before["xact"] < after["xact"]
    assert named(await verify(connection)) == [("inserted", 100, 100, format_id(EVENT, id))]


async def test_in_the_last_tile_the_range_between_two_checkpoints_is_named(connection: "Connection") -> None:
    """Only the root is kept for the newest events; each checkpoint limits the range before it."""
    for events in (256, 30, 20, 10):
        await write(connection, events)
        await seal(connection, await size(connection) + events)
    row = await row_at(connection, 290)
    async with tampering(connection):
        await connection.execute("UPDATE audit_events SET outcome = 'success' WHERE id = $1", row["id"])
    verdict = await verify(connection)
    assert named(verdict) == [("unexplained", 286, 306, None)]
    bad = verdict.bad_range()
    assert bad is not None
    assert (bad.first, bad.end) == (286, 306)


async def test_a_changed_tile_is_told_from_changed_events(connection: "Connection") -> None:
    await sealed_log(connection)
    async with tampering(connection):
        await connection.execute(
            "UPDATE audit_tiles SET hashes = set_byte(hashes, 160, 255 - get_byte(hashes, 160))"
        )
    assert named(await verify(connection)) == [("hashes", 5, 6, None)]
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_tiles")
    assert named(await verify(connection)) == [("hashes", 0, 256, None)]


async def test_an_event_and_its_tile_changed_alike_do_not_pass(connection: "Connection") -> None:
    await sealed_log(connection)
    row = await row_at(connection, 120)
    async with tampering(connection):
        await connection.execute("UPDATE audit_events SET tool = 'toool' WHERE id = $1", row["id"])
        changed = await leaves(connection)
        await connection.execute(
            "UPDATE audit_tiles SET hashes = overlay(hashes PLACING $1 FROM $2) WHERE number = 0",
            changed[120], 120 * 32 + 1,
        )  # fmt: skip
    verdict = await verify(connection)
    assert named(verdict) == [("unexplained", 100, 250, None)]


async def test_a_note_of_another_key_is_found(connection: "Connection") -> None:
    await sealed_log(connection)
    mallory = NoteSigner([b"m" * 40], SIGNER.name)
    async with tampering(connection):
        for count in (250, 290):
            note = await connection.fetchval("SELECT note FROM audit_checkpoints WHERE tree_size = $1", count)
            forged = mallory.sign(Note.parse(note).text)
            await connection.execute(
                "UPDATE audit_checkpoints SET note = $2 WHERE tree_size = $1", count, forged
            )
    verdict = await verify(connection)
    assert named(verdict) == [("signature", 250, TOTAL, None)]
    assert "none of the keys of gateway.example.com/audit has signed" in verdict.faults[0].words
    # An unsigned checkpoint proves nothing: the next signed one covers everything before it.
    row = await row_at(connection, 260)
    async with tampering(connection):
        await connection.execute(
            "UPDATE audit_checkpoints SET root_hash = $1 WHERE tree_size = 290", b"0" * 32
        )
        await connection.execute("UPDATE audit_events SET tool = 'toool' WHERE id = $1", row["id"])
    assert named(await verify(connection)) == [
        ("signature", 250, TOTAL, None),
        ("unexplained", 100, TOTAL, None),
    ]


async def test_a_tail_that_was_cut_off_is_missed_by_a_checkpoint_kept_elsewhere(
    connection: "Connection",
) -> None:
    await sealed_log(connection)
    kept = await kept_checkpoint(connection)
    place = await connection.fetchrow(
        "SELECT epoch, last_xact, last_seq FROM audit_checkpoints WHERE tree_size = 290"
    )
    assert place is not None
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_checkpoints WHERE tree_size > 290")
    # The events exist, but the checkpoint over them is gone.
    verdict = await verify(connection, kept)
    assert named(verdict) == [("cut_off", 290, TOTAL, None)]
    assert "its events are there" in verdict.faults[0].words
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_events WHERE (epoch, xact, seq) > ($1, $2, $3)", *place)
    assert (await verify(connection)).is_intact, "nothing inside of the database tells of it"
    verdict = await verify(connection, kept)
    assert named(verdict) == [("cut_off", 290, TOTAL, None)]
    assert (
        f"positions 290 to {TOTAL - 1} were sealed, as the checkpoint of {TOTAL}" in verdict.faults[0].words
    )
    # Other events are written in their place.
    await write(connection, 400)
    await seal(connection, 690)
    verdict = await verify(connection, kept)
    assert named(verdict) == [("rewritten", 0, TOTAL, None)]


async def test_a_restored_copy_says_which_tail_it_lost(connection: "Connection") -> None:
    """It opens its own epoch after its newest checkpoint, and continues from there."""
    await sealed_log(connection)
    kept, place = await kept_checkpoint(connection), await row_at(connection, 249)
    async with tampering(connection):
        await connection.execute(
            "DELETE FROM audit_events WHERE (epoch, xact, seq) > ($1, $2, $3)",
            place["epoch"], place["xact"], place["seq"],
        )  # fmt: skip
        await connection.execute("DELETE FROM audit_checkpoints WHERE tree_size > 250")
        await connection.execute("DELETE FROM audit_tiles")
    await next_epoch(connection)
    verdict = await verify(connection, kept)
    assert named(verdict) == [("cut_off", 250, TOTAL, None)]
    assert "epoch 2 was opened" in verdict.faults[0].words
    await write(connection, 400)
    await seal(connection, 650)
    assert (await verify(connection)).is_intact, "two epochs are one log"
    verdict = await verify(connection, kept)
    assert named(verdict) == [("cut_off", 250, TOTAL, None)]
    assert f"positions 250 to {TOTAL - 1} were sealed" in verdict.faults[0].words
    assert "epoch 2 was opened" in verdict.faults[0].words


async def test_months_that_were_dropped_may_be_missing_and_not_one_event_more(
    connection: "Connection", database_url: str
) -> None:
    await old_months(connection, database_url, 255)
    await write(connection, 253)
    await seal(connection, 512)
    assert (await maintained(database_url))[0] == (MONTH,)
    verdict = await verify(connection)
    assert verdict.faults == []
    assert verdict.dropped == 255
    assert verdict.notes[0] == "a month was dropped just now: the event that says so is not sealed yet"
    await write(connection, 40)
    await seal(connection, 553)
    verdict = await verify(connection)
    [row] = await drops(connection)
    note = (
        f"{MONTH} with 255 events among positions 3 to 258 is recorded as dropped on {row['time']:%Y-%m-%d}"
    )
    assert (verdict.faults, verdict.notes, verdict.dropped, verdict.events) == ([], [note], 255, 298)
    assert (
        "positions 0 to 552, 255 of them past the retention and dropped (298 events, 2 checkp"
        in verdict.lines()[-1]
    )
    # One of another month, between those that were dropped.
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_events WHERE time = $1", NEXT_DAY)
    verdict = await verify(connection)
    assert named(verdict) == [("missing", 3, 259, None)]
    assert "256 are missing, which are not the 255 that are recorded as dropped" in verdict.faults[0].words
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_events WHERE tool = 'tool 2'")
    assert ("missing", 1, 2, None) in named(await verify(connection))


async def test_a_month_that_is_on_record_and_not_dropped_yet_has_all_of_its_events(
    connection: "Connection", database_url: str
) -> None:
    await old_months(connection, database_url, 255)
    await write(connection, 253)
    await seal(connection, 512)
    assert await record_drop(connection, MONTH) is None
    await seal(connection, 513)
    assert (await verify(connection)).is_intact
    async with tampering(connection):
        await connection.execute(
            "DELETE FROM audit_events_y2001m01 WHERE seq = (SELECT min(seq) FROM audit_events_y2001m01)"
        )
    assert named(await verify(connection)) == [("missing", 3, 4, None)]


async def writing(url: str, number: int, stop: asyncio.Event) -> int:
    """Write until stopped; return the number of events."""
    own, written = await asyncpg.connect(url), 0
    while not stop.is_set():
        async with own.transaction():
            for _ in range(number % 3 + 1):
                await write(own, number + 1)
                written += number + 1
    await own.close()
    return written


async def sealing(url: str, stop: asyncio.Event) -> None:
    """Seal, reopening the log every few rounds, as another worker does."""
    own = await asyncpg.connect(url)
    while not stop.is_set():
        log = await SealedLog.open(own, SIGNER)
        for _ in range(5):
            await log.seal()
    await own.close()


@pytest.mark.slow
async def test_no_alarm_while_eight_write_across_restarts_and_epochs(
    connection: "Connection", database_url: str
) -> None:
    kept: list[ExternalCheckpoint] = []
    total = 0
    for sizes in (2, 4):
        stop = asyncio.Event()
        tasks = [asyncio.create_task(writing(database_url, number, stop)) for number in range(8)]
        sealer = asyncio.create_task(sealing(database_url, stop))
        looks = 0
        async with asyncio.timeout(60):
            # Open transactions of other tests delay sealing: until it continued, there is nothing to verify.
            while looks < 15 or len({one.checkpoint.size for one in kept}) < sizes:
                looks += 1
                if await latest_checkpoint(connection) is not None:
                    kept.append(await kept_checkpoint(connection))
                verdict = await verify(connection, *kept)
                assert verdict.faults == [], verdict.lines()
        stop.set()
        total += sum(await asyncio.gather(*tasks))
        await sealer
        # The writers have stopped when a copy takes over; it seals what they committed last.
        await next_epoch(connection)
    await seal(connection, total)
    verdict = await verify(connection, *kept)
    assert (verdict.faults, verdict.events) == ([], total)
    assert await connection.fetchval("SELECT count(DISTINCT epoch) FROM audit_events") == 2


async def test_far_apart_checkpoints_are_gone_between_in_steps(
    connection: "Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_GAP", 100)
    monkeypatch.setattr(verifying, "_AT_ONCE", 50)
    await write(connection, 600)
    await seal(connection, 600)
    kept = await kept_checkpoint(connection)
    steps: list[int] = []
    advance = Follower.advance

    def seen(follower: Follower, *arguments: Any) -> bool:
        steps.append(follower.size)
        return advance(follower, *arguments)

    monkeypatch.setattr(Follower, "advance", seen)
    assert (await verify(connection, kept)).notes == [
        "the checkpoint of 600 events in kept.txt is of this log"
    ]
    assert steps == list(range(0, 500, 50))
    row = await row_at(connection, 120)
    async with tampering(connection):
        await connection.execute("UPDATE audit_events SET tool = 'toool' WHERE id = $1", row["id"])
    assert named(await verify(connection)) == [("changed", 120, 121, format_id(EVENT, row["id"]))]


@pytest.mark.slow
async def test_a_changed_tile_of_a_higher_level_is_found(connection: "Connection") -> None:
    await write(connection, 65_536 + 10)
    await seal(connection, 65_536 + 10)
    assert (await verify(connection)).is_intact
    async with tampering(connection):
        await connection.execute(
            "UPDATE audit_tiles SET hashes = set_byte(hashes, 160, 255 - get_byte(hashes, 160)) WHERE level = 1"
        )
    assert named(await verify(connection)) == [("hashes", 0, 65_536, None)]


async def test_a_checkpoint_that_was_removed_is_missed_by_the_next_one(connection: "Connection") -> None:
    await sealed_log(connection)
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_checkpoints WHERE tree_size = 250")
    verdict = await verify(connection)
    assert named(verdict) == [("checkpoint", 100, 290, None)]
    assert "a checkpoint is missing between those of 100 and of 290 events" in verdict.faults[0].words


async def test_tiles_above_a_tail_that_was_cut_off_are_found(connection: "Connection") -> None:
    await sealed_log(connection)
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_checkpoints WHERE tree_size > 100")
        await connection.execute(
            "DELETE FROM audit_events WHERE id IN (SELECT id FROM audit_events ORDER BY epoch, xact, seq OFFSET 100)"
        )
    assert named(await verify(connection)) == [("cut_off", 100, 256, None)]
    async with tampering(connection):
        await connection.execute("DELETE FROM audit_checkpoints")
    assert ("cut_off", 0, 256, None) in named(await verify(connection))
