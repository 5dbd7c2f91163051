"""Every event is sealed once, in commit order, despite crashes and concurrent sealers; nothing else is signed."""

import asyncio
from random import Random
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.signed_notes import NoteSigner, open_checkpoint
from app.features.audit.sealing.leaves import (
    LEAF_COLUMNS,
    MAX_LEAVES,
    LogFault,
    SealedTree,
    latest_checkpoint,
    leaf_of,
    position_of,
)
from app.features.audit.sealing.sealer import ConcurrentCheckpoint, SealedLog, check_signed, rename_log
from app.features.audit.sealing.verifying import verify_log
from tests.features.audit.sealing.sealed import KEY, SIGNER, check, insert, leaves, seal, size, write

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
Sessions = async_sessionmaker[AsyncSession]
# Changes of an attacker with superuser rights, bypassing the triggers.
UNGUARDED = "SET session_replication_role = replica"
GUARDED = "SET session_replication_role = origin"


async def test_a_checkpoint_is_signed_for_the_tree_of_all_events_in_the_order_of_commits(
    connection: "Connection",
) -> None:
    for events in (1, 1, 253, 1, 1, 300, 42):
        await write(connection, events)
        await seal(connection, await size(connection) + events)
    await check(connection)
    last = await latest_checkpoint(connection)
    assert last is not None
    said, signed = open_checkpoint(last.note, SIGNER.verifier_keys())
    assert (said.origin, said.size, said.root) == ("gateway.example.com/audit", 599, last.root)
    assert len(signed) == 1
    check_signed(last, SIGNER)


async def test_a_log_that_has_events_already_is_sealed_from_its_beginning_in_bounded_steps(
    connection: "Connection",
) -> None:
    await write(connection, 2 * MAX_LEAVES + 10)
    await seal(connection, 2 * MAX_LEAVES + 10)
    sizes = [row[0] for row in await connection.fetch("SELECT tree_size FROM audit_checkpoints ORDER BY 1")]
    assert sizes == [MAX_LEAVES, 2 * MAX_LEAVES, 2 * MAX_LEAVES + 10]
    await check(connection)


async def test_changes_that_no_parser_takes_are_sealed_and_do_not_end_the_sealing(
    connection: "Connection",
) -> None:
    deep, wide = '{"a":' * 2_000 + "[" * 2_000, "]" * 2_000 + "}" * 2_000
    digits = ",".join(f'"{n}": {"7" * n}.{"7" * n}' for n in (400, 5_000, 16_000))
    odd = [f"{deep}{wide}", f"{{{digits}}}", "[]", "null", '"text"', "7" * 5_000, '{"\\n\\u0001": "\\\\\\""}']
    for changes in odd:
        await insert(connection, changes=changes)
        await write(connection)
    await seal(connection, 2 * len(odd))
    await check(connection)
    assert (await verify_log(connection, SIGNER.verifier_keys, ())).is_intact


@pytest.mark.slow
async def test_a_tree_of_three_levels_goes_on_after_a_restart(connection: "Connection") -> None:
    await write(connection, 65_536 + 300)
    await seal(connection, 65_536 + 300)
    await write(connection, 300)
    await seal(connection, 65_536 + 600)
    await check(connection)
    last = await latest_checkpoint(connection)
    assert last is not None
    tree = SealedTree(connection, last.size, last.place)
    assert await tree.subtree(16, 0) == await SealedTree(connection, 65_536, last.place).subtree(16, 0)


async def writes(url: str, seed: int) -> int:
    """Run slow and rolled-back transactions; return the number of events written."""
    connection, random, written = await asyncpg.connect(url), Random(seed), 0
    for _ in range(25):
        transaction, events = connection.transaction(), random.randint(1, 9)
        await transaction.start()
        await write(connection, events)
        await asyncio.sleep(random.choice((0, 0, 0.001, 0.01)))
        if random.random() < 0.8:
            await transaction.commit()
            written += events
        else:
            await transaction.rollback()
    await connection.close()
    return written


async def test_eight_writers_and_sealers_that_come_and_go_leave_no_gap_and_nothing_twice(
    connection: "Connection", database_url: str
) -> None:
    writing = asyncio.gather(*(writes(database_url, seed) for seed in range(8)))
    # Open transactions of other tests may delay sealing while these write.
    while not writing.done() or await size(connection) == 0:
        sealer = await asyncpg.connect(database_url)
        log = await SealedLog.open(sealer, SIGNER)
        for _ in range(4):
            await log.seal()
        sealer.terminate()
    await seal(connection, sum(await writing))
    await check(connection)


async def seal_for_ever(log: SealedLog) -> None:
    """Open transactions of other tests may delay it at first."""
    async with asyncio.timeout(50):
        while True:
            await log.seal()


async def test_two_that_seal_at_once_sign_one_tree(connection: "Connection", database_url: str) -> None:
    other = await asyncpg.connect(database_url)
    await write(connection, 3)
    first, second = await SealedLog.open(connection, SIGNER), await SealedLog.open(other, SIGNER)
    await seal(connection, 3)
    await write(connection, 3)
    for overtaken in (first, second):
        with pytest.raises(ConcurrentCheckpoint):
            await seal_for_ever(overtaken)
    await other.close()
    await seal(connection, 6)
    await check(connection)


async def test_epochs_are_sealed_one_after_the_other(connection: "Connection") -> None:
    """The older epochs have transaction ids far above the current ones, as after a failover or a restore."""
    await connection.execute("UPDATE log_epochs SET epoch = 3")
    for seq in range(300):
        await insert(connection, epoch=1, xact=2**60, seq=seq)
    await seal(connection, 300)
    await insert(connection, epoch=1, xact=2**60, seq=300)
    await insert(connection, epoch=2, xact=2**59, seq=7)
    await write(connection, 5)
    await seal(connection, 307)
    await write(connection, 5)
    await seal(connection, 312)
    await check(connection)


TAMPERED = {
    "an event of the edge": "UPDATE audit_events SET tool = 'another' WHERE tool = 'tool 299'",
    "an event of the edge deleted": "DELETE FROM audit_events WHERE tool = 'tool 299'",
    "two events of the edge": (
        "UPDATE audit_events AS e SET tool = o.tool FROM audit_events AS o "
        "WHERE e.tool IN ('tool 298', 'tool 299') AND o.tool IN ('tool 298', 'tool 299') AND o.tool <> e.tool"
    ),
    "a tile": "UPDATE audit_tiles SET hashes = set_byte(hashes, 5000, get_byte(hashes, 5000) # 1)",
    "a tile deleted": "DELETE FROM audit_tiles",
    "the root": "UPDATE audit_checkpoints SET root_hash = set_byte(root_hash, 3, get_byte(root_hash, 3) # 1)",
    "the size": "UPDATE audit_checkpoints SET tree_size = 299",
    "the signature": "UPDATE audit_checkpoints SET note = replace(note, E'300\\n', E'301\\n')",
    "the checkpoint": "DELETE FROM audit_checkpoints",
}


@pytest.mark.parametrize("what", TAMPERED)
async def test_no_tree_is_signed_that_does_not_go_on_from_the_last_checkpoint(
    connection: "Connection", what: str
) -> None:
    await write(connection, 300)
    await seal(connection, 300)
    await connection.execute(f"{UNGUARDED}; {TAMPERED[what]}; {GUARDED}")
    before = await connection.fetch("SELECT * FROM audit_checkpoints")
    await write(connection)
    with pytest.raises(LogFault):
        await SealedLog.open(connection, SIGNER)
    assert await connection.fetch("SELECT * FROM audit_checkpoints") == before


async def test_a_checkpoint_of_another_key_stops_the_sealing(connection: "Connection") -> None:
    await write(connection)
    await seal(connection, 1)
    with pytest.raises(LogFault, match="not ours"):
        await SealedLog.open(connection, NoteSigner([KEY[::-1]], SIGNER.name))


async def test_sealing_goes_on_with_another_key_and_under_another_name(connection: "Connection") -> None:
    await write(connection)
    await seal(connection, 1)
    moved = NoteSigner([KEY[::-1], KEY], "new.example.com/audit")
    await rename_log(connection, moved.name)
    await seal(connection, 2, moved)
    await check(connection)
    last = await latest_checkpoint(connection)
    assert last is not None
    assert open_checkpoint(last.note, moved.verifier_keys()[:1])[0].origin == "new.example.com/audit"


async def test_what_is_put_ahead_of_the_sealing_stops_it(connection: "Connection") -> None:
    """The service's role may insert into these tables, and so could an attacker who has it."""
    await connection.execute("INSERT INTO audit_tiles VALUES (0, 0, decode(repeat('00', 8192), 'hex'))")
    with pytest.raises(LogFault, match="no checkpoint"):
        await SealedLog.open(connection, SIGNER)
    await connection.execute(f"{UNGUARDED}; DELETE FROM audit_tiles; {GUARDED}")
    log = await SealedLog.open(connection, SIGNER)
    await connection.execute("INSERT INTO audit_tiles VALUES (0, 0, decode(repeat('00', 8192), 'hex'))")
    await write(connection, 300)
    with pytest.raises(LogFault, match="beyond"):
        await seal_for_ever(log)
    assert await size(connection) == 0


async def test_the_position_of_an_event_is_found_by_what_it_is(connection: "Connection") -> None:
    for events in (260, 3, 40):
        await write(connection, events)
        await seal(connection, await size(connection) + events)
    expected = await leaves(connection)
    rows = await connection.fetch(
        f"SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events ORDER BY epoch, xact, seq"
    )
    for position in (0, 255, 256, 259, 260, 302):
        row = rows[position]
        place = (row["epoch"], row["xact"], row["seq"])
        found = await position_of(connection, place, leaf_of(row))
        assert found is not None
        assert found[0] == position < found[1].size
        with pytest.raises(LogFault, match="none of positions"):
            await position_of(connection, place, leaf_of(row) + b" ")
    assert len(expected) == len(rows) == 303
    place = await insert(connection)
    assert await position_of(connection, place, b"") is None
