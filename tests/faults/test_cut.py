"""I4: what is in flight when its right ends is cut, both legs."""

import asyncio
from contextlib import closing, suppress
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from tests.faults.conftest import Pair
from tests.faults.harness import administration, organise
from tests.faults.upstream import SLOW, upstream
from tests.faults.wire import BROKEN, Connection

# I4: p99 500 ms, at most 2 s.
AT_MOST_S = 2.0


async def _until_the_end(connection: Connection) -> bytes:
    """What still comes of a stream, and then its end."""
    rest = b""
    # A connection that breaks off ends the stream as well as a last chunk does.
    with suppress(*BROKEN):
        while piece := await connection.chunk():
            rest += piece
    return rest


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("tokens/{token}/revoke", {"reason": "laptop lost"}),
        pytest.param("identities/{person}/suspend", None, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("gateway", [0, 1], ids=["same gateway", "other gateway"])
async def test_a_stream_ends_on_both_sides_soon_after_its_right(
    pair: Pair, path: str, body: dict[str, Any] | None, gateway: int
) -> None:
    async with upstream() as server, administration(pair.database_url, pair.gateways[0]) as api:
        organisation = await organise(api, server.url)
        with closing(await Connection.open(pair.ports[gateway])) as connection:
            call = uuid4().hex
            connection.send(organisation.way.call(SLOW, call))
            status, _ = await connection.head()
            assert status == 200
            assert b"notifications/progress" in await connection.chunk()
            ids = {"token": organisation.token, "person": organisation.person}
            answer = await api.post(f"/api/v1/{path.format(**ids)}", json=body)
            revoked_at = monotonic()
            assert answer.is_success, answer.text
            async with asyncio.timeout(AT_MOST_S):
                rest = await _until_the_end(connection)
                ended_at = await server.streams_ended[call]
        assert ended_at - revoked_at < AT_MOST_S
        # The client is told why instead of being left to guess.
        assert b"access was withdrawn" in rest
