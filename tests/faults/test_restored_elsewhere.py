"""A database that is dumped, restored elsewhere, served and moved back keeps one order and one sealed log."""

from collections.abc import Iterator

import asyncpg
import pytest

from app.crypto.signed_notes import Checkpoint, Note
from app.db.migrations import upgrade
from app.features.audit.sealing.leaves import latest_checkpoint
from app.features.audit.sealing.verdict import ExternalCheckpoint
from app.features.audit.sealing.verifying import verify_log
from app.lib.ids import new_id
from app.worker.database import Connector
from tests.faults.replicas import Server, two_systems
from tests.features.audit.sealing.sealed import SIGNER, check, seal, size, write

pytestmark = pytest.mark.slow


@pytest.fixture
def two() -> Iterator[tuple[Server, Server]]:
    with two_systems() as both:
        yield both


async def serve(server: Server, events: int) -> ExternalCheckpoint:
    """Record and seal events, as a worker does that is started on a database; the last checkpoint."""
    connection = await Connector(server.url, new_id()).named("test")()
    try:
        await write(connection, events)
        await seal(connection, await size(connection) + events)
        await check(connection)
        latest = await latest_checkpoint(connection)
    finally:
        await connection.close()
    assert latest is not None
    return ExternalCheckpoint(f"{latest.size}.txt", Checkpoint.parse(Note.parse(latest.note).text))


async def test_a_database_that_was_elsewhere_and_comes_back_opens_an_epoch_and_is_sealed_further(
    two: tuple[Server, Server],
) -> None:
    here, elsewhere = two
    await upgrade(here.url)
    kept = [await serve(here, 300)]
    for origin, target in ((here, elsewhere), (elsewhere, here), (here, elsewhere)):
        origin.move_to(target)
        kept.append(await serve(target, 40))
    connection = await asyncpg.connect(elsewhere.url)
    try:
        rows = await connection.fetch("SELECT epoch, count(*) FROM audit_events GROUP BY 1 ORDER BY 1")
        assert [tuple(row) for row in rows] == [(1, 300), (2, 40), (3, 40), (4, 40)]
        verdict = await verify_log(connection, SIGNER.verifier_keys, kept)
        assert verdict.is_intact, verdict.faults
    finally:
        await connection.close()
