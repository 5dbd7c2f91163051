"""A sealed log for tests: write events, seal them, and check the result."""

import asyncio
import hmac
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg

from app.crypto.client_ids import Parts
from app.crypto.signed_notes import NoteSigner, log_name
from app.domain.merkle import leaf_hash
from app.features.audit.queries import Position
from app.features.audit.sealing.leaves import (
    BEGINNING,
    SealedTree,
    latest_checkpoint,
    leaf_of,
    place_of,
    read_events,
)
from app.features.audit.sealing.sealer import SealedLog
from tests.merkle_proofs import root_of

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

KEY = b"signing key of a test, with enough characters"
SIGNER = NoteSigner([KEY], log_name("https://gateway.example.com"))
_WRITE = """
INSERT INTO audit_events (id, action, actor_type, tool, changes)
SELECT gen_random_uuid(), 'tool.call', 'identity', 'tool ' || n, CASE WHEN n % 7 = 0 THEN '{"n": 1.50}'::jsonb END
FROM generate_series(1, $1::int) AS n
"""
_NEXT = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_OLDEST = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


def unsalted_client(key: bytes, parts: Parts) -> UUID:
    """The id of a client from older versions."""
    digest = bytearray(hmac.digest(key, repr(parts).encode(), "sha256")[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


async def write(connection: "Connection", events: int = 1) -> None:
    """Record events, in one transaction."""
    await connection.execute(_WRITE, events)


async def insert(connection: "Connection", **columns: Any) -> Position:
    """Record one event as given; return its place in commit order."""
    columns = {"id": uuid4(), "action": "x", "actor_type": "system", **columns}
    names, values = ", ".join(columns), ", ".join(f"${place}" for place in range(1, len(columns) + 1))
    row = await connection.fetchrow(
        f"INSERT INTO audit_events ({names}) VALUES ({values}) RETURNING epoch, xact, seq", *columns.values()
    )
    assert row is not None
    return (row["epoch"], row["xact"], row["seq"])


async def seal(connection: "Connection", events: int, signer: NoteSigner = SIGNER) -> SealedLog:
    """Seal until this many events are sealed in total, in as few steps as without other tests."""
    log = await SealedLog.open(connection, signer)
    # Open transactions of other tests delay sealing, and a partial seal would be an unexpected checkpoint.
    await settled(connection)
    async with asyncio.timeout(50):
        while await size(connection) < events:
            await log.seal()
    return log


async def settled(connection: "Connection") -> None:
    """Wait until every transaction that is open now has ended, including those of parallel tests."""
    async with asyncio.timeout(50):
        following = await connection.fetchval(_NEXT)
        while await connection.fetchval(_OLDEST) < following:  # noqa: ASYNC110  # There is no event for their ends.
            await asyncio.sleep(0.01)


async def size(connection: "Connection") -> int:
    """The number of sealed events."""
    last = await latest_checkpoint(connection)
    return 0 if last is None else last.size


async def leaves(connection: "Connection") -> list[bytes]:
    """The hashes of all stored events, in commit order."""
    found: list[bytes] = []
    after = BEGINNING
    while True:
        rows = await read_events(connection, after, 5_000)
        if not rows:
            return found
        found += [leaf_hash(leaf_of(row)) for row in rows]
        after = place_of(rows[-1])


async def check(connection: "Connection") -> None:
    """Check that each event is sealed once, in commit order, and that each checkpoint matches the tree of its size."""
    expected = await leaves(connection)
    last = await latest_checkpoint(connection)
    assert last is not None
    assert last.size == len(expected)
    assert await SealedTree(connection, last.size, last.place).leaf_hashes(0, last.size) == expected
    for row in await connection.fetch("SELECT tree_size, root_hash FROM audit_checkpoints"):
        assert row["root_hash"] == root_of(expected[: row["tree_size"]])
