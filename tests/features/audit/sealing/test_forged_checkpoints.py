"""An unsigned checkpoint, which an attacker with the right to insert can write, misleads no verifier."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.crypto.log_check import Entry, Follower
from app.domain.errors import Unavailable
from app.features.audit.sealing import verifying
from app.features.audit.sealing.proofs import prove_event
from app.features.audit.sealing.verifying import by_positions, verify_log
from tests.features.audit.sealing.sealed import SIGNER, seal, settled, write
from tests.features.audit.sealing.test_verifying import named, row_at, verify

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


async def make_up(connection: "Connection", size: int, place: tuple[int, int, int] = (1, 2**62, 1)) -> None:
    await connection.execute(
        "INSERT INTO audit_checkpoints (tree_size, epoch, last_xact, last_seq, root_hash, note) "
        "VALUES ($1, $2, $3, $4, $5, 'x')",
        size, *place, b"0" * 32,
    )  # fmt: skip


@pytest.mark.parametrize("size", [2**62, 2**63 - 1, 601])
async def test_what_is_unsigned_is_named_and_the_log_is_read_by_what_is_signed(
    connection: "Connection", size: int
) -> None:
    await write(connection, 600)
    await seal(connection, 600)
    await write(connection, 900)
    await make_up(connection, size)
    verdict = await verify(connection)
    assert named(verdict) == [("signature", size, size, None)]
    assert (verdict.end, verdict.events) == (600, 600)


async def test_a_part_is_read_by_what_is_signed(connection: "Connection") -> None:
    await write(connection, 300)
    await seal(connection, 300)
    await write(connection, 300)
    await seal(connection, 600)
    await make_up(connection, 2**62)
    verdict = await verify_log(connection, SIGNER.verifier_keys, (), partial(by_positions, 300, 600))
    assert named(verdict) == [("signature", 2**62, 2**62, None)]
    assert (verdict.first, verdict.end, verdict.events) == (300, 600, 300)


async def test_what_is_larger_than_can_be_is_not_gone_along_at_once(
    connection: "Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verifying a log without a known signature uses no more memory than any other."""
    await write(connection, 600)
    await settled(connection)
    await make_up(connection, 2**62)
    monkeypatch.setattr(verifying, "_AT_ONCE", 100)
    glides: list[int] = []
    advance = Follower.advance

    def counted(self: Follower, entries: Sequence[Entry], kept: Sequence[bytes]) -> bool:
        glides.append(len(entries))
        return advance(self, entries, kept)

    monkeypatch.setattr(Follower, "advance", counted)
    assert ("signature", 2**62, 2**62, None) in named(await verify(connection))
    assert glides == [100] * 6


async def test_no_more_is_looked_through_for_an_event_than_lies_between_two_checkpoints(
    connection: "Connection",
) -> None:
    await write(connection, 600)
    await seal(connection, 600)
    await write(connection, 1)
    await make_up(connection, 2**62)
    sealed, unsealed = await row_at(connection, 3), await row_at(connection, 600)
    assert (await prove_event(connection, sealed["id"])).position == 3
    with pytest.raises(Unavailable, match="there is no checkpoint"):
        await prove_event(connection, unsealed["id"])
