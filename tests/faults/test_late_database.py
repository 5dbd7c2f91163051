"""A service that starts before its database serves 503 until it is available, with few log lines."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.db.migrations import upgrade
from app.lib.ids import SERVICE_ACCOUNT, format_id
from tests.faults.harness import Gateway, owners_account
from tests.faults.replicas import Server

SERVING_WITHIN_S, BACK_WITHIN_S = 60.0, 30.0
_AGAIN_S = 0.1


@pytest.fixture
def stopped() -> Iterator[Server]:
    """A server with an empty database, not running."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="sg-late-", dir=memory if memory.is_dir() else "/tmp"))
    place.chmod(0o711)
    server = Server(place / "a")
    try:
        server.create()
        server.shut_down()
        yield server
    finally:
        server.stop()
        shutil.rmtree(place, ignore_errors=True)


async def ready(client: httpx2.AsyncClient, words: str | None, within: float) -> None:
    """Wait until ``/readyz`` gives this reason for not being ready, or none."""
    reasons: list[str] = ["refused"]
    async with asyncio.timeout(within):
        while not (not reasons if words is None else any(words in reason for reason in reasons)):
            await asyncio.sleep(_AGAIN_S)
            try:
                answer = await client.get("/readyz")
            except httpx2.ConnectError:
                # Its port is open once it can answer.
                continue
            reasons = answer.json()["reasons"]
            assert (answer.status_code == 200) == (not reasons)


async def until_back(gateway: Gateway, workers: int) -> None:
    """Wait until each worker has said that its database is back."""
    async with asyncio.timeout(BACK_WITHIN_S):
        while gateway.said().count("the database is back") < workers:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(_AGAIN_S)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_service_starts_before_its_database_and_serves_once_it_is_there_and_migrated(
    stopped: Server, workers: int, tmp_path: Path
) -> None:
    gateway = Gateway(stopped.url, tmp_path, SCOPEGATE_WORKERS=str(workers))
    gateway.launch()
    try:
        async with httpx2.AsyncClient(base_url=gateway.url, timeout=30) as client:
            await ready(client, "the database cannot be reached", SERVING_WITHIN_S)
            assert (await client.get("/livez")).status_code == 200

            await asyncio.to_thread(stopped.start)
            await ready(client, "run: scopegate migrate", BACK_WITHIN_S)
            # Nothing is served on a schema that is not the code's.
            bearer = {"Authorization": f"Bearer sga_{'0' * 60}"}
            assert (await client.get("/api/v1/servers", headers=bearer)).status_code in {401, 503}
            await upgrade(stopped.url)
            await ready(client, None, BACK_WITHIN_S)
            await until_back(gateway, workers)
    finally:
        gateway.stop()
    said = gateway.said()
    assert said.count("Serving http://") == 1
    assert said.count("the database is away") == said.count("the database is back") == workers
    assert "Traceback" not in said


@pytest.mark.slow
async def test_an_outage_makes_two_log_lines_per_worker(stopped: Server, tmp_path: Path) -> None:
    await asyncio.to_thread(stopped.start)
    await upgrade(stopped.url)
    gateway = Gateway(stopped.url, tmp_path)
    await gateway.start()
    try:
        async with httpx2.AsyncClient(base_url=gateway.url, timeout=30) as client:
            account = await owners_account(stopped.url)
            await asyncio.to_thread(stopped.shut_down)
            await ready(client, "the database cannot be reached", BACK_WITHIN_S)
            secret = (format_id(SERVICE_ACCOUNT, account.id), account.secret)
            signed_in = await client.post(
                "/oauth/token", data={"grant_type": "client_credentials"}, auth=secret
            )
            assert signed_in.json()["error"] == "temporarily_unavailable"
            headers = {"Authorization": f"Bearer {account.bearer}"}
            for path in ("/api/v1/groups", "/scim/v2/Groups"):
                answer = await client.post(path, headers=headers, json={"displayName": "engineers"})
                assert (path, answer.status_code) == (path, 503)
            await asyncio.to_thread(stopped.start)
            await ready(client, None, BACK_WITHIN_S)
            await until_back(gateway, 1)
    finally:
        gateway.stop()
    lines = gateway.said().splitlines()
    assert [line.split(" after")[0].split(" (")[0] for line in lines if not line.startswith("Serving")] == [
        "the database is away",
        "the database is back",
    ]
