"""Reading and hashing leaves does not block other work on the worker."""

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.domain.merkle import leaf_hash
from app.features.audit.sealing import proofs as leaf_export
from app.features.audit.sealing.proofs import leaves_between
from tests.features.audit.sealing.sealed import seal, write

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


async def test_others_go_on_while_leaves_are_looked_for_and_hashed(
    connection: "Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(connection, 200)
    await seal(connection, 200)
    since_last_turn, most = 0, 0

    def slow(leaf: bytes) -> bytes:
        """Slow, as for large events or on a slow machine."""
        nonlocal since_last_turn, most
        since_last_turn += 1
        most = max(most, since_last_turn)
        time.sleep(0.001)
        return leaf_hash(leaf)

    async def others() -> None:
        nonlocal since_last_turn
        while True:
            since_last_turn = 0
            await asyncio.sleep(0)

    monkeypatch.setattr(leaf_export, "leaf_hash", slow)
    async with asyncio.TaskGroup() as group:
        other = group.create_task(others())
        leaves = await leaves_between(connection, 199, 200)
        whole = await leaves_between(connection, 0, 200)
        assert len(await whole.next(connection)) == 200
        other.cancel()
    assert (leaves.first, leaves.end) == (199, 200)
    assert most < 20
