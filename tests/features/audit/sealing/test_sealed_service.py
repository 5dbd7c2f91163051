"""A running service seals what it records, and warns when it cannot."""

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr

from app.cli import doctor
from app.crypto.signed_notes import NoteSigner, log_name, open_checkpoint
from app.features.audit.sealing import sealer
from app.features.audit.sealing.leaves import latest_checkpoint
from app.settings import Settings
from tests.api import BASE_URL, KEY
from tests.features.audit.sealing.sealed import check, seal, size, write

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
SIGNER = NoteSigner([KEY.encode()], log_name(BASE_URL))
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'scopegate-sealing-%'"
)
BREAK = (
    "SET session_replication_role = replica; UPDATE audit_events SET action = 'another';"
    "SET session_replication_role = origin"
)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "SEAL_EVERY_S", 0.02)


async def test_a_service_seals_what_it_records_under_its_own_name(
    api: httpx2.AsyncClient, connection: "Connection"
) -> None:
    made = await api.post("/api/v1/identities", json={"kind": "person", "user_name": "ann"})
    assert made.status_code == 201
    recorded = await connection.fetchval("SELECT count(*) FROM audit_events")
    assert recorded > 0
    async with asyncio.timeout(50):
        while await size(connection) < recorded:
            pass
    await check(connection)
    last = await latest_checkpoint(connection)
    assert last is not None
    said, _ = open_checkpoint(last.note, SIGNER.verifier_keys())
    assert said.origin == "127.0.0.1:8080/audit"
    assert (await api.get("/readyz")).json()["warnings"] == []


async def test_readiness_tells_of_a_trail_that_cannot_be_sealed_any_more(
    anonymous: httpx2.AsyncClient, connection: "Connection"
) -> None:
    await write(connection)
    async with asyncio.timeout(50):
        while await size(connection) < 1:
            pass
        await connection.execute(BREAK)
        # Until then the sealing worker has the tree in memory, regardless of the events.
        await connection.execute(CUT)
        warnings: list[str] = []
        while not warnings:
            answer = await anonymous.get("/readyz")
            warnings = answer.json()["warnings"]
    assert "sealing of the audit log has stopped" in warnings[0]
    assert answer.status_code == 200


async def test_the_doctor_says_how_much_is_sealed_and_finds_what_cannot_be(
    connection: "Connection", database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = SecretStr(KEY)
    settings = Settings(
        database_url=SecretStr(database_url), token_pepper=key, encryption_key=key, signing_key=key
    )
    await write(connection, 3)
    await seal(connection, 3, SIGNER)
    assert await asyncio.to_thread(doctor._audit_log, settings)
    assert "ok    audit log 3 events are sealed" in capsys.readouterr().out
    await connection.execute(BREAK)
    assert not await asyncio.to_thread(doctor._audit_log, settings)
    assert (
        "FAIL  audit log it cannot be sealed any more: events or tiles are not those"
        in capsys.readouterr().out
    )
