"""I3 and I4 with SCIM: after deprovisioning, a leaver starts no calls on any gateway, and running ones are cut."""

import asyncio
from contextlib import closing
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.faults.conftest import Pair
from tests.faults.harness import administration, organize
from tests.faults.load import load
from tests.faults.test_cut import AT_MOST_S, _until_the_end
from tests.faults.upstream import SLOW, upstream
from tests.faults.wire import Connection, Way
from tests.features.tokens.world import in_days
from tests.story.provisioning import client_of_directory, make_directory

CALLS = 150
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
OPERATION = {"op": "Replace", "path": "active", "value": "False"}
WAYS: dict[str, Any] = {
    "PATCH": {"schemas": [PATCH], "Operations": [OPERATION]},
    "PUT": {"schemas": [USER], "active": False},
    "DELETE": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("method", WAYS)
async def test_a_leaver_is_cut_off_and_calls_no_more_on_any_gateway(pair: Pair, method: str) -> None:
    async with upstream() as server, administration(pair.database_url, pair.gateways[0]) as api:
        slug = (await organize(api, server.url)).way.slug
        directory = await make_directory(api, f"https://{uuid4().hex}.example.com")
        async with client_of_directory(pair.gateways[0].url, directory) as scim:
            name = uuid4().hex
            user = await scim.post("/Users", json={"schemas": [USER], "userName": name})
            assert user.status_code == 201, user.text
            way = Way(slug, await _token(api, user.json()["id"]))
            body = None if WAYS[method] is None else {"userName": name} | WAYS[method]
            with closing(await Connection.open(pair.ports[1])) as connection:
                call = uuid4().hex
                connection.send(way.call(SLOW, call))
                assert (await connection.head())[0] == 200
                assert b"notifications/progress" in await connection.chunk()
                begun = monotonic()
                async with load(way, pair.ports) as running:
                    await running.answered(pair.ports, CALLS, since=begun)
                    answer = await scim.request(method, f"/Users/{user.json()['id']}", json=body)
                    ended_at = monotonic()
                    assert answer.is_success, answer.text
                    async with asyncio.timeout(AT_MOST_S):
                        assert b"access was withdrawn" in await _until_the_end(connection)
                        cut_at = await server.streams_ended[call]
                    await running.answered(pair.ports, CALLS, since=ended_at)
            assert cut_at - ended_at < AT_MOST_S
            late = [one for one in running.history if one.started > ended_at]
            assert len(late) >= CALLS
            assert [one for one in late if one.id in server.received] == []


async def _token(api: httpx2.AsyncClient, identity_id: str) -> str:
    """The secret of a token that reaches everything."""
    principal = {"type": "identity", "id": identity_id}
    grant = {"principal": principal, "servers": {"kind": "all"}, "tools": {"kind": "all"}}
    assert (await api.post("/api/v1/grants", json=grant)).status_code == 201
    token = {"identity_id": identity_id, "name": "job", "scope": {"kind": "grants"}, "expires_at": in_days(1)}
    issued = await api.post("/api/v1/tokens", json=token)
    assert issued.status_code == 201, issued.text
    return str(issued.json()["secret"])
