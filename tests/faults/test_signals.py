"""Shared Signals at real replicas: revocations take effect immediately, and each event is processed once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.crypto.keys import Peppers
from app.db.engine import make_engine, make_sessions
from app.domain.security_events import EventType
from app.lib.ids import IDENTITY_PROVIDER, SERVICE_ACCOUNT, format_id, parse_id
from tests.adapters.ssf.transmitter import Transmitter, transmitter
from tests.api import KEY, make_account
from tests.faults.conftest import Pair
from tests.faults.harness import Gateway, Organization, administration, fetch, gateways, organize
from tests.faults.test_cut import _until_the_end
from tests.faults.upstream import ECHO, SLOW, Upstream, upstream
from tests.faults.wire import Connection

pytestmark = pytest.mark.slow
AT_MOST_S = 1.0
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SignalWorld:
    """A person with a right, and the provider whose transmitter tells of them."""

    api: httpx2.AsyncClient
    database_url: str
    here: Organization
    server: Upstream
    it: Transmitter
    secret: str
    subject: Json

    async def push(self, gateway: Gateway, event: str) -> httpx2.Response:
        """Push an event token to one of the replicas."""
        headers = {"Content-Type": "application/secevent+jwt", "Authorization": f"Bearer {self.secret}"}
        return await self.api.post(f"{gateway.url}/ssf/events", content=event, headers=headers)

    async def count(self, action: str) -> int:
        """How many events of this action are on record."""
        [row] = await fetch(self.database_url, "SELECT count(*) FROM audit_events WHERE action = $1", action)
        return int(row["count"])


@asynccontextmanager
async def signal_world(database_url: str, gateway: Gateway) -> AsyncIterator[SignalWorld]:
    """Register the provider of a transmitter, and link a person to it."""
    engine = make_engine(database_url, pool_size=1, name="test")
    account = await make_account(make_sessions(engine), Peppers([KEY.encode()]), "provisioner")
    await engine.dispose()
    async with upstream() as server, transmitter() as it, administration(database_url, gateway) as api:
        here = await organize(api, server.url)
        signals = it.settings | {"service_account_id": format_id(SERVICE_ACCOUNT, account.id)}
        issuer = f"https://{uuid4().hex}.example.com"
        body = {"name": "SSO", "issuer": issuer, "audiences": ["scopegate"], "signals": signals}
        answer = await api.post("/api/v1/identity-providers", json=body)
        assert answer.status_code == 201, answer.text
        await fetch(
            database_url,
            "INSERT INTO identity_links (id, identity_id, provider_id, kind, value) "
            "VALUES (gen_random_uuid(), $1, $2, 'oidc', 'ada')",
            parse_id("idn", here.person),
            parse_id(IDENTITY_PROVIDER, answer.json()["id"]),
        )
        subject = {"format": "iss_sub", "iss": issuer, "sub": "ada"}
        yield SignalWorld(api, database_url, here, server, it, account.secret, subject)


@pytest.mark.parametrize("type", [EventType.SESSION_REVOKED, EventType.ACCOUNT_DISABLED])
async def test_a_signed_event_revokes_within_a_second_and_cuts_what_runs(pair: Pair, type: EventType) -> None:
    near, far = pair.gateways
    async with signal_world(pair.database_url, near) as world:
        way, call = world.here.way, uuid4().hex
        with (
            closing(await Connection.open(far.port)) as running,
            closing(await Connection.open(far.port)) as next_one,
        ):
            running.send(way.call(SLOW, call))
            assert (await running.head())[0] == 200
            assert b"notifications/progress" in await running.chunk()
            assert (await next_one.exchange(way.call(ECHO, uuid4().hex))).status == 200
            # Keys are known as they are a moment after the provider is set.
            nothing = world.it.event(EventType.ACCOUNT_ENABLED, world.subject)
            assert (await world.push(near, nothing)).status_code == 202
            event = world.it.event(type, world.subject)
            begun = monotonic()
            answer = await world.push(near, event)
            assert (answer.status_code, answer.content) == (202, b"")
            refused = await next_one.exchange(way.call(ECHO, uuid4().hex))
            assert (refused.status, monotonic() - begun < AT_MOST_S) == (401, True)
            async with asyncio.timeout(2.0):
                assert b"access was withdrawn" in await _until_the_end(running)
                await world.server.streams_ended[call]


@pytest.mark.timeout(300)
async def test_one_event_has_one_effect_at_two_replicas_at_once_and_after_both_were_killed(
    database_url: str,
) -> None:
    with gateways(database_url, 2) as both:
        async with signal_world(database_url, both[0]) as world:
            event = world.it.event(EventType.CREDENTIAL_COMPROMISE, world.subject)
            answers = await asyncio.gather(*(world.push(one, event) for one in both * 3))
            assert {answer.status_code for answer in answers} == {202}
            assert (await world.count("token.revoke"), await world.count("signal.received")) == (1, 6)
            for one in both:
                one.kill()
            await asyncio.gather(*(one.start() for one in both))
            expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
            body = {"identity_id": world.here.person, "name": "new", "scope": {"kind": "grants"}}
            issued = await world.api.post("/api/v1/tokens", json=body | {"expires_at": expires_at})
            assert issued.status_code == 201, issued.text
            answers = await asyncio.gather(*(world.push(one, event) for one in both))
            assert {answer.status_code for answer in answers} == {202}
            assert (await world.count("token.revoke"), await world.count("signal.received")) == (1, 8)
            effects = await fetch(
                database_url,
                "SELECT changes FROM audit_events WHERE action = 'signal.received' AND NOT changes ? 'repeats'",
            )
            assert len(effects) == 1
            token = issued.json()["token"]["id"]
            assert (await world.api.get(f"/api/v1/tokens/{token}")).json()["status"] == "active"
