"""A worker detects that its database went backwards, on real databases."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.db import rewinds
from app.db.connection import GuardedConnection
from app.db.engine import make_engine, make_sessions
from app.db.rewinds import DatabaseRewound, RewindGuard
from app.features.audit.epochs import accept_restore
from app.features.audit.sealing.sealer import Sealing
from app.lib.ids import new_id
from app.worker.database import Connector
from tests.features.audit.sealing.sealed import SIGNER, seal, write
from tests.features.audit.sealing.test_verifying import tampering

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator["Connection"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewinds, "_CHECK_EVERY_S", 0.0)


async def opened(url: str, guard: RewindGuard) -> GuardedConnection:
    return await Connector(url, new_id(), rewinds=guard).named("test")()


async def look(url: str, guard: RewindGuard) -> str | None:
    """Open a connection as a worker does. Returns why it is refused."""
    try:
        await (await opened(url, guard)).close()
    except DatabaseRewound as fault:
        return str(fault)
    return None


async def sealed(owner: "Connection", events: int) -> None:
    await write(owner, events)
    await seal(owner, await owner.fetchval("SELECT count(*) FROM audit_events"))


async def cut_off(owner: "Connection", size: int) -> None:
    """Delete newer checkpoints, as in an older state."""
    async with tampering(owner):
        await owner.execute("DELETE FROM audit_checkpoints WHERE tree_size > $1", size)


async def test_a_database_that_lost_a_checkpoint_is_refused_until_the_restore_is_confirmed(
    owner: "Connection", database_url: str
) -> None:
    guard = RewindGuard()
    heard: list[str] = []
    guard.listeners.append(lambda: heard.append("confirmed"))
    await sealed(owner, 5)
    await sealed(owner, 5)
    assert await look(database_url, guard) is None
    await cut_off(owner, 5)
    refused = await look(database_url, guard)
    assert refused == guard.reason
    assert "the checkpoint of 10 events is not there any more" in (refused or "")
    assert "scopegate audit accept-restore" in (refused or "")
    # Another log with the same number of sealed events is still another log.
    await sealed(owner, 9)
    assert await look(database_url, guard) == refused
    assert heard == []
    epoch, size = await accept_restore(owner)
    assert (epoch, size) == (2, 19)
    assert await look(database_url, guard) is None
    assert (guard.reason, heard) == (None, ["confirmed"])
    event = await owner.fetchrow(
        "SELECT epoch, changes FROM audit_events WHERE action = 'audit.accept_restore'"
    )
    assert event is not None
    assert (event["epoch"], json.loads(event["changes"])) == (2, {"epoch": 2, "tree_size": 19})


async def test_a_lost_transaction_is_noticed_although_nothing_was_sealed_since(
    owner: "Connection", database_url: str
) -> None:
    guard = RewindGuard()
    assert await look(database_url, guard) is None
    later = await owner.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000")
    guard.transaction = (1, later)
    assert "transactions that were committed" in (await look(database_url, guard) or "")


async def test_an_older_checkpoint_or_version_is_noticed_by_whoever_reads_it(
    owner: "Connection", database_url: str
) -> None:
    await sealed(owner, 5)
    guard = RewindGuard()
    assert await look(database_url, guard) is None
    with pytest.raises(DatabaseRewound, match="4 events are sealed, and 5 were"):
        guard.record_checkpoint(4, b"r" * 32, guard.known)
    other = RewindGuard()
    assert await look(database_url, other) is None
    with pytest.raises(DatabaseRewound, match="another checkpoint of 5 events"):
        other.record_checkpoint(5, b"r" * 32, other.known)
    third = RewindGuard()
    with pytest.raises(DatabaseRewound, match="older version"):
        third.report_older_version()


async def test_a_checkpoint_that_was_read_before_a_newer_one_was_known_is_no_alarm(
    owner: "Connection", database_url: str
) -> None:
    await sealed(owner, 5)
    guard = RewindGuard()
    assert await look(database_url, guard) is None
    before = guard.known
    await sealed(owner, 5)
    assert await look(database_url, guard) is None
    guard.record_checkpoint(5, bytes.fromhex(before.root), before)
    assert (guard.reason, guard.known.size) == (None, 10)


async def test_what_was_known_before_a_restore_was_confirmed_is_no_alarm_after_it(
    owner: "Connection", database_url: str
) -> None:
    for _ in range(2):
        await sealed(owner, 5)
    guard = RewindGuard()
    assert await look(database_url, guard) is None
    # The sealer remembers this, and then waits for a connection.
    before = guard.known
    await cut_off(owner, 5)
    await accept_restore(owner)
    assert await look(database_url, guard) is None
    guard.record_checkpoint(5, bytes.fromhex(guard.known.root), before)
    assert guard.reason is None


async def test_a_file_that_cannot_be_written_is_tried_again_and_reported_once(
    owner: "Connection", database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "data" / "progress.json"
    file.parent.write_text("in the way")
    await sealed(owner, 5)
    guard = RewindGuard(file)
    assert await look(database_url, guard) is None
    for _ in range(2):
        await asyncio.to_thread(guard.save)
    [said] = [record.getMessage() for record in caplog.records if "cannot be saved" in record.getMessage()]
    assert f"{file} (File exists)" in said
    file.parent.unlink()
    await asyncio.to_thread(guard.save)
    assert RewindGuard(file).known == guard.known


async def test_the_reason_to_take_no_calls_is_kept_once_the_file_can_be_written(
    owner: "Connection", database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "data" / "progress.json"
    file.parent.write_text("in the way")
    await sealed(owner, 5)
    guard = RewindGuard(file)
    assert await look(database_url, guard) is None
    with pytest.raises(DatabaseRewound):
        guard.report_older_version()
    assert guard._saving is not None
    await guard._saving
    file.parent.unlink()
    engine = make_engine(database_url)
    await Sealing(lambda: opened(database_url, guard), make_sessions(engine), SIGNER, guard).turn()
    await engine.dispose()
    assert RewindGuard(file).reason == guard.reason


async def test_what_one_worker_finds_out_is_not_lost_while_another_writes_the_file(
    owner: "Connection", database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "progress.json"
    await sealed(owner, 5)
    finds, writes = RewindGuard(file), RewindGuard(file)
    for guard in (finds, writes):
        assert await look(database_url, guard) is None
    write = rewinds._write

    def interrupted(file: Path, state: rewinds._State) -> None:
        # It has already read the file, which has no reason yet.
        monkeypatch.setattr(rewinds, "_write", write)
        finds.reason, finds._is_final = "a right has an older version", True
        finds.save()
        write(file, state)

    monkeypatch.setattr(rewinds, "_write", interrupted)
    await asyncio.to_thread(writes.save)
    await asyncio.to_thread(finds.save)
    assert RewindGuard(file).reason == finds.reason


async def test_what_was_known_is_known_after_a_restart_of_every_worker(
    owner: "Connection", database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "data" / "progress.json"
    await sealed(owner, 5)
    first = RewindGuard(file)
    assert await look(database_url, first) is None
    await asyncio.to_thread(first.save)
    assert file.stat().st_mode & 0o777 == 0o600
    assert await look(database_url, RewindGuard(file)) is None
    await cut_off(owner, 0)
    again = RewindGuard(file)
    assert "the checkpoint of 5 events" in (await look(database_url, again) or "")
    # The older state does not overwrite the known progress.
    await asyncio.to_thread(again.save)
    assert await look(database_url, RewindGuard(file)) is not None
    # A worker without progress cannot detect it, as documented, and overwrites nothing either.
    assert await look(database_url, RewindGuard()) is None
    await accept_restore(owner)
    confirmed = RewindGuard(file)
    assert await look(database_url, confirmed) is None
    await asyncio.to_thread(confirmed.save)
    assert await look(database_url, RewindGuard(file)) is None


async def test_a_file_of_another_database_or_one_that_is_damaged_says_nothing(
    owner: "Connection", database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "progress.json"
    await sealed(owner, 5)
    guard = RewindGuard(file)
    assert await look(database_url, guard) is None
    await asyncio.to_thread(guard.save)
    said = json.loads(file.read_text())
    for text in (
        json.dumps(said | {"log": "another", "size": 900, "epoch": 9}),
        "{",
        "[]",
        json.dumps(said | {"size": "x"}),
        json.dumps(said | {"size": 2**63}),
        json.dumps(said | {"root": "no digits"}),
    ):
        file.write_text(text)
        assert await look(database_url, RewindGuard(file)) is None


async def test_a_restore_to_before_a_confirmed_one_is_noticed_and_confirmed_again(
    owner: "Connection", database_url: str
) -> None:
    guard = RewindGuard()
    assert await look(database_url, guard) is None
    for _ in range(2):
        await accept_restore(owner)
        assert await look(database_url, guard) is None
        async with tampering(owner):
            await owner.execute("DELETE FROM accepted_restores WHERE epoch > 1")
            await owner.execute("DELETE FROM log_epochs WHERE epoch > 1")
        assert "epoch 1" in (await look(database_url, guard) or "")
    await accept_restore(owner)
    assert await look(database_url, guard) is None


async def test_an_old_primary_is_not_used_and_the_right_one_is_when_it_is_back(
    owner: "Connection", database_url: str
) -> None:
    guard = RewindGuard()
    await owner.execute("UPDATE log_epochs SET epoch = 2")
    assert await look(database_url, guard) is None
    await owner.execute("UPDATE log_epochs SET epoch = 1")
    assert "it is at epoch 1, and was at 2" in (await look(database_url, guard) or "")
    await owner.execute("UPDATE log_epochs SET epoch = 2")
    assert await look(database_url, guard) is None
    assert guard.reason is None
