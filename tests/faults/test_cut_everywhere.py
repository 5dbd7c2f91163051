"""I4 on three replicas: every kind of withdrawal ends every kind of stream on both connections."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import time
from typing import Any

import httpx2
import pytest

from tests import database
from tests.faults.conftest import Pair
from tests.faults.endless import KINDS, SILENT, Endless, Stream, closing_all, endless, every_kind
from tests.faults.harness import Organization, administration, gateways, organize
from tests.faults.test_revocation_is_never_overtaken import ROUTES, drafted
from tests.faults.upstream import ECHO, SLOW
from tests.faults.wire import Way

pytestmark = pytest.mark.slow
AT_MOST_S = 2.0
# Of what a client hears there, these take one server away and leave the token what else it has.
OF_ONE_SERVER = {
    "grant of a person", "grant of a group", "membership", "end of a group", "disabled server", "end of a server",
    "policy",
}  # fmt: skip
OF_ALL = {"token", "suspension", "offboarding"}
_THROUGH_GROUP = {"grant of a group", "membership", "end of a group"}


@pytest.fixture(scope="module")
def trio() -> Iterator[Pair]:
    """Three gateways that share a database."""
    with database.temporary_database() as url, gateways(url, 3) as running:
        yield Pair(url, running)


async def prepared(api: httpx2.AsyncClient, server: Endless, *, through_group: bool = False) -> Organization:
    """A person who may call and hear everything of the upstream."""
    return await organize(api, server.url, through_group=through_group, tools=(ECHO, SLOW, SILENT))


async def opened(trio: Pair, server: Endless, way: Way) -> list[Stream]:
    """Every kind of stream at every replica, with the upstream's leg of each."""
    streams = [stream for port in trio.ports for stream in await every_kind(port, way)]
    await server.opened(len(streams))
    return streams


async def all_cut(server: Endless, streams: list[Stream], since: float, *, spared: str = "") -> None:
    """Check that both connections of each stream end in time with a reason, except clients' ones of one kind."""
    async with asyncio.timeout(AT_MOST_S + since - time()):
        ends = [await leg for leg in server.legs]
        for stream in streams:
            if stream.kind != spared:
                at, said = await stream.ended()
                ends.append(at)
                assert (b"access was withdrawn" in said) is (stream.kind != "legacy listen"), stream.kind
    assert max(ends) - since < AT_MOST_S


def test_every_way_to_withdraw_access_is_tested() -> None:
    assert OF_ONE_SERVER | OF_ALL | {"quarantined tool"} == set(ROUTES)


@pytest.mark.parametrize("route", sorted(OF_ONE_SERVER | OF_ALL))
async def test_every_kind_of_stream_ends_at_every_replica(trio: Pair, route: str) -> None:
    async with endless() as server, administration(trio.database_url, trio.gateways[0]) as api:
        organization = await prepared(api, server, through_group=route in _THROUGH_GROUP)
        draft = await drafted(api, organization)
        names = ("token", "grant", "group", "person", "server", "echo")
        ids = {name: getattr(organization, name) for name in names} | {"policy": draft.json()["id"]}
        method, path, body = ROUTES[route]
        with closing_all(await opened(trio, server, organization.way)) as streams:
            asked_at = time()
            seen = {"If-Match": draft.headers["etag"]} if route == "policy" else None
            answer = await api.request(method, f"/api/v1/{path.format(**ids)}", json=body, headers=seen)
            assert answer.is_success, answer.text
            spared = KINDS[-1] if route in OF_ONE_SERVER else ""
            await all_cut(server, streams, asked_at, spared=spared)
            # What a client hears of all its servers goes on without this one.
            assert [stream.is_open for stream in streams if stream.kind == spared] == [True] * (
                3 if spared else 0
            )


async def test_every_kind_of_stream_ends_when_its_token_expires(trio: Pair) -> None:
    async with endless() as server, administration(trio.database_url, trio.gateways[0]) as api:
        organization = await prepared(api, server)
        ends = datetime.now(UTC) + timedelta(seconds=4)
        token = {"identity_id": organization.person, "name": "short", "scope": {"kind": "grants"}}
        issued = await api.post("/api/v1/tokens", json={**token, "expires_at": ends.isoformat()})
        way = Way(organization.way.slug, issued.json()["secret"])
        with closing_all(await opened(trio, server, way)) as streams:
            assert all(stream.is_open for stream in streams)
            await all_cut(server, streams, ends.timestamp())
            # By the clock, and not by the next look at it.
            assert max(leg.result() for leg in server.legs) < ends.timestamp() + 0.5


async def test_every_kind_of_stream_ends_when_the_window_of_its_grant_does(trio: Pair) -> None:
    async with endless() as server, administration(trio.database_url, trio.gateways[0]) as api:
        organization = await prepared(api, server)
        grant = f"/api/v1/grants/{organization.grant}"
        ends = datetime.now(UTC) + timedelta(seconds=4)
        seen = {"If-Match": (await api.get(grant)).headers["etag"]}
        shortened = await api.patch(grant, json={"expires_at": ends.isoformat()}, headers=seen)
        assert shortened.is_success, shortened.text
        with closing_all(await opened(trio, server, organization.way)) as streams:
            assert all(stream.is_open for stream in streams)
            await all_cut(server, streams, ends.timestamp(), spared=KINDS[-1])
            assert max(leg.result() for leg in server.legs) < ends.timestamp() + 0.5


async def test_a_tool_that_is_quarantined_ends_its_calls_and_no_others(trio: Pair) -> None:
    async with endless() as server, administration(trio.database_url, trio.gateways[0]) as api:
        organization = await prepared(api, server)
        found: dict[str, Any] = (
            await api.get("/api/v1/tools", params={"server_id": organization.server})
        ).json()
        [slow] = [tool["id"] for tool in found["items"] if tool["name"] == SLOW]
        with closing_all(await opened(trio, server, organization.way)) as streams:
            answer = await api.patch(f"/api/v1/tools/{slow}", json={"state": "quarantined"})
            assert answer.is_success, answer.text
            async with asyncio.timeout(AT_MOST_S):
                for stream in streams:
                    if stream.kind == "streaming call":
                        assert b"access was withdrawn" in (await stream.ended())[1]
                # The upstream may see its end a moment after the client has seen its own.
                for leg in islice(asyncio.as_completed(server.legs), len(trio.ports)):
                    await leg
            others = [stream for stream in streams if stream.kind != "streaming call"]
            assert all(stream.is_open for stream in others)
            assert sum(leg.done() for leg in server.legs) == len(trio.ports)
