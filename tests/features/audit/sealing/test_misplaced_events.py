"""An attacker with the right to insert can choose a row's place in the order; verifiers notice it."""

from typing import TYPE_CHECKING

import asyncpg
import httpx2
import pytest

from app.features.audit.sealing.verifying import verify_log
from app.lib.ids import EVENT, format_id
from tests.features.audit.sealing.sealed import SIGNER, insert, seal, size, write
from tests.features.audit.test_polling import Sessions, commit, drain, shown

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
LATEST = 2**31 - 1


async def test_an_event_of_an_epoch_that_was_never_opened_does_not_end_the_sealing(
    connection: "Connection",
) -> None:
    await write(connection, 5)
    await insert(connection, epoch=LATEST, xact=1, seq=1)
    log = await seal(connection, 5)
    await write(connection, 5)
    while await log.seal():
        pass
    await seal(connection, 10)
    assert await size(connection) == 10


async def test_an_event_of_an_epoch_that_was_never_opened_does_not_end_a_poll(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    first = await commit(sessions)
    await commit(sessions, epoch=LATEST, xact=1, seq=1)
    items, cursor = await drain(api, "", 1)
    assert [item["id"] for item in items] == shown(first)
    second = await commit(sessions)
    items, _ = await drain(api, cursor, 1)
    assert [item["id"] for item in items] == shown(second)


@pytest.mark.parametrize(
    "place",
    [
        {"epoch": LATEST, "xact": 1, "seq": 1},
        {"xact": 2**62},
        {"xact": -(2**63), "seq": -(2**63)},
        {"epoch": 0, "xact": 0, "seq": 0},
        {"epoch": -7, "xact": 900, "seq": 1},
    ],
)
async def test_an_event_in_a_place_that_no_transaction_gives_is_found(
    connection: "Connection", place: dict[str, int]
) -> None:
    await write(connection, 5)
    await seal(connection, 5)
    epoch, xact, seq = await insert(connection, **place)
    id = await connection.fetchval(
        "SELECT id FROM audit_events WHERE (epoch, xact, seq) = ($1, $2, $3)", epoch, xact, seq
    )
    verdict = await verify_log(connection, SIGNER.verifier_keys, ())
    assert [(fault.kind, fault.event_id) for fault in verdict.faults] == [("inserted", format_id(EVENT, id))]
