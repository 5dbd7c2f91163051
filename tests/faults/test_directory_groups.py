"""I3 and I4 with SCIM: grants of a group follow its membership immediately, on every gateway."""

import asyncio
from contextlib import closing
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.faults.conftest import Pair
from tests.faults.harness import administration, organize
from tests.faults.test_cut import AT_MOST_S, _until_the_end
from tests.faults.upstream import ECHO, SLOW, upstream
from tests.faults.wire import Connection, Way
from tests.features.tokens.world import in_days
from tests.story.provisioning import client_of_directory, make_directory

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@pytest.mark.slow
async def test_who_leaves_a_directorys_group_is_cut_off_and_calls_no_more(pair: Pair) -> None:
    async with upstream() as server, administration(pair.database_url, pair.gateways[0]) as api:
        organization = await organize(api, server.url)
        directory = await make_directory(api, f"https://{uuid4().hex}.example.com")
        async with client_of_directory(pair.gateways[0].url, directory) as scim:
            user, group = await _provisioned(scim)
            principal = {"type": "group", "id": group}
            await _made(api, "grants", principal=principal, servers={"kind": "all"}, tools={"kind": "all"})
            token = {"identity_id": user, "name": "job", "scope": {"kind": "grants"}}
            secret = (await _made(api, "tokens", **token, expires_at=in_days(1)))["secret"]
            way = Way(organization.way.slug, secret)

            async def echoed() -> list[bool]:
                """Whether a call comes through, by each gateway."""
                calls = [uuid4().hex for _ in pair.ports]
                for port, call in zip(pair.ports, calls, strict=True):
                    with closing(await Connection.open(port)) as connection:
                        connection.send(way.call(ECHO, call))
                        await connection.head()
                return [call in server.received for call in calls]

            assert await echoed() == [False, False]
            await _patch(scim, group, {"op": "add", "path": "members", "value": [{"value": user}]})
            assert await echoed() == [True, True]
            with closing(await Connection.open(pair.ports[1])) as connection:
                call = uuid4().hex
                connection.send(way.call(SLOW, call))
                status, _ = await connection.head()
                assert status == 200
                assert b"notifications/progress" in await connection.chunk()
                await _patch(scim, group, {"op": "Remove", "path": f'members[value eq "{user}"]'})
                removed_at = monotonic()
                assert await echoed() == [False, False]
                async with asyncio.timeout(AT_MOST_S):
                    assert b"access was withdrawn" in await _until_the_end(connection)
                    ended_at = await server.streams_ended[call]
            assert ended_at - removed_at < AT_MOST_S


async def _provisioned(scim: httpx2.AsyncClient) -> tuple[str, str]:
    """The ids of a new user and of an empty group."""
    user = await scim.post("/Users", json={"userName": uuid4().hex})
    group = await scim.post("/Groups", json={"displayName": uuid4().hex})
    assert (user.status_code, group.status_code) == (201, 201), (user.text, group.text)
    return user.json()["id"], group.json()["id"]


async def _patch(scim: httpx2.AsyncClient, group: str, operation: dict[str, Any]) -> None:
    answer = await scim.patch(f"/Groups/{group}", json={"schemas": [PATCH], "Operations": [operation]})
    assert answer.status_code == 204, answer.text


async def _made(api: httpx2.AsyncClient, plural: str, **body: Any) -> dict[str, Any]:
    answer = await api.post(f"/api/v1/{plural}", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made
