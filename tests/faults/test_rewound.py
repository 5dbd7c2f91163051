"""A database that returns to an older state under running replicas: no revocation is silently undone."""

import asyncio
from contextlib import closing, suppress
from time import monotonic
from uuid import uuid4

import httpx2
import pytest

from tests.faults.harness import Organization, administration, fetch, gateways, organize
from tests.faults.replicas import Server
from tests.faults.rig.probes import scopegate, verify
from tests.faults.test_readiness import Probe, postgres
from tests.faults.upstream import ECHO, upstream
from tests.faults.wire import Answer, Connection

__all__ = ["postgres"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
NOTICED_WITHIN_S, RESUMED_WITHIN_S = 10.0, 10.0
_CONFIRMED = "SELECT epoch, actor_type FROM audit_events WHERE action = 'audit.accept_restore'"
REASON = "the database went backwards"


async def call(port: int, here: Organization) -> Answer:
    with closing(await Connection.open(port)) as connection:
        return await connection.exchange(here.way.call(ECHO, uuid4().hex))


async def statuses(port: int, here: Organization, within: float, until: int | None = None) -> set[int]:
    """What calls are answered for so many seconds, or until one is answered so."""
    ends, found = monotonic() + within, set[int]()
    while monotonic() < ends and until not in found:
        found.add((await call(port, here)).status)
    return found


async def first_answer(client: httpx2.AsyncClient) -> httpx2.Response:
    """What a replica that is being started says first that names a reason."""
    async with asyncio.timeout(30):
        while True:
            with suppress(httpx2.TransportError):
                answer = await client.get("/readyz")
                if answer.json()["reasons"]:
                    return answer
            await asyncio.sleep(0.1)


async def test_no_replica_serves_an_older_database_before_a_restore_is_confirmed(postgres: Server) -> None:
    async with upstream() as server:
        with gateways(postgres.url, 2) as replicas:
            async with administration(postgres.url, replicas[0]) as api:
                here, other = await organize(api, server.url), await organize(api, server.url)
                ports = [replica.port for replica in replicas]
                assert [(await call(port, here)).status for port in ports] == [200, 200]
                await asyncio.to_thread(_with_copy, postgres)
                async with httpx2.AsyncClient(base_url=replicas[0].url) as client:
                    await Probe(client).until(200, RESUMED_WITHIN_S)
                for port in ports:
                    assert 200 in await statuses(port, here, RESUMED_WITHIN_S, until=200)
                answer = await api.post(f"/api/v1/tokens/{here.token}/revoke", json={"reason": "lost"})
                assert answer.is_success, answer.text
                assert [(await call(port, here)).status for port in ports] == [401, 401]
            ran = len(server.received)
            await asyncio.to_thread(_rewound, postgres)
            for port in ports:
                assert await statuses(port, here, 3) <= {401, 503}
            async with httpx2.AsyncClient(base_url=replicas[0].url) as client:
                said = (await Probe(client).until(503, NOTICED_WITHIN_S)).json()
                assert REASON in " ".join(said["reasons"])
                assert said["recording"] is False
            refused = await call(ports[0], other)
            assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")
            assert REASON.encode() in refused.body
            # A worker after this one knows it of the file, although the database it is started on is whole.
            replicas[1].kill()
            replicas[1].launch()
            async with httpx2.AsyncClient(base_url=replicas[1].url) as client:
                said = (await first_answer(client)).json()
                assert REASON in " ".join(said["reasons"])
                assert await statuses(ports[1], here, 2) == {503}
            assert len(server.received) == ran
            done = await asyncio.to_thread(scopegate, "audit", "accept-restore", DATABASE_URL=postgres.url)
            assert done.returncode == 0, done.stderr
            assert b"epoch 2 of the audit log begins" in done.stdout
            # The older state is the state now: the revocation is to be repeated, as the command says.
            for port in ports:
                assert 200 in await statuses(port, here, RESUMED_WITHIN_S, until=200)
            assert b"Repeat what was revoked" in done.stderr
    [event] = await fetch(postgres.url, _CONFIRMED)
    assert tuple(event) == (2, "system")
    verified = await asyncio.to_thread(verify, postgres.url)
    assert verified.returncode == 0, verified.stdout


def _with_copy(postgres: Server) -> None:
    postgres.shut_down()
    postgres.save()
    postgres.start()


def _rewound(postgres: Server) -> None:
    postgres.shut_down()
    postgres.put_back()
    postgres.start()
