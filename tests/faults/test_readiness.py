"""``/readyz`` of a gateway whose PostgreSQL is read-only or silent: 503 in time with a reason, then 200."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx2
import pytest

from app.db.migrations import upgrade_sync
from tests.faults.harness import gateways
from tests.faults.replicas import Server

ANSWER_WITHIN_S, READY_WITHIN_S = 2.0, 5.0
_AGAIN_S = 0.1


@pytest.fixture
def postgres() -> Iterator[Server]:
    """A server of one's own, migrated."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="sg-one-", dir=memory if memory.is_dir() else "/tmp"))
    place.chmod(0o711)
    server = Server(place / "a")
    try:
        server.create()
        upgrade_sync(server.url)
        yield server
    finally:
        server.stop()
        shutil.rmtree(place, ignore_errors=True)


class Probe:
    """Asks as a load balancer does, and holds each answer to its time."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def ask(self) -> httpx2.Response:
        """One answer."""
        asked = monotonic()
        answer = await self._client.get("/readyz")
        assert monotonic() - asked < ANSWER_WITHIN_S
        return answer

    async def until_reason(self, reason: str, within: float) -> httpx2.Response:
        """The first answer that names a reason, within so many seconds."""
        async with asyncio.timeout(within):
            while True:
                answer = await self.ask()
                if any(each.startswith(reason) for each in answer.json().get("reasons", ())):
                    return answer
                await asyncio.sleep(_AGAIN_S)

    async def until(self, status: int, within: float) -> httpx2.Response:
        """The first answer of this status, within so many seconds."""
        async with asyncio.timeout(within):
            while True:
                answer = await self.ask()
                if answer.status_code == status:
                    return answer
                await asyncio.sleep(_AGAIN_S)


@pytest.mark.slow
async def test_readiness_says_in_time_and_in_words_that_the_database_does_not_serve(postgres: Server) -> None:
    with gateways(postgres.url, 1) as [gateway]:
        async with httpx2.AsyncClient(base_url=gateway.url, timeout=30) as client:
            probe = Probe(client)
            assert (await probe.ask()).status_code == 200

            await asyncio.to_thread(postgres.set, "default_transaction_read_only", "on")
            refused = await probe.until(503, ANSWER_WITHIN_S)
            assert (refused.json()["reasons"], refused.json()["recording"]) == (
                ["the database is read-only"],
                False,
            )
            assert "retry-after" in refused.headers
            await asyncio.to_thread(postgres.set, "default_transaction_read_only", "off")
            await probe.until(200, READY_WITHIN_S)

            await asyncio.to_thread(postgres.freeze)
            for _ in range(3):
                refused = await probe.ask()
                assert refused.status_code == 503
                assert refused.json()["reasons"] == ["the database does not answer in time"]
                assert "retry-after" in refused.headers
            await asyncio.to_thread(postgres.thaw)
            await probe.until(200, READY_WITHIN_S)
