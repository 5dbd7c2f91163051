"""A loaded organization looks as if the service had written it, and each part is measured."""

import math
import os
from uuid import UUID

import asyncpg
import httpx2
import pytest

from app.crypto.keys import Peppers
from app.lib.ids import SERVER, TOKEN, format_id
from bench.processes import divide_cores
from bench.scale import everything
from bench.scale.loading import load
from bench.scale.rows import document, uuid7
from bench.scale.sizes import FULL, SMALL, Size
from bench.scale.worlds import serve
from tests.api import Account

CORES = divide_cores(os.sched_getaffinity(0))
TINY = Size(tokens=1_000, identities=100, servers=43, tools=220, events=2_000, called=900)
_UNCOUNTED = "SELECT (SELECT count(*) FROM audit_events) - (SELECT sum(events) FROM audit_hours)"
_WITHOUT_VERSION = """
SELECT count(*) FROM (
    SELECT id FROM tokens UNION ALL SELECT id FROM identities UNION ALL SELECT id FROM groups
    UNION ALL SELECT id FROM grants UNION ALL SELECT id FROM servers
) AS made WHERE NOT EXISTS (SELECT FROM access_versions v WHERE v.id = made.id)
"""


def test_ids_are_of_version_seven_and_sort_by_their_times() -> None:
    ids = [UUID(uuid7(1_700_000_000_000 + number, number * 64 + 5)) for number in range(2_000)]

    assert {id.version for id in ids} == {7}
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)


def test_a_document_that_copy_would_read_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match="backslashes"):
        document({"name": 'with "quotes"'})


def test_a_large_organisation_has_the_shape_of_the_small_one() -> None:
    for share in ("tokens", "servers", "tools", "events", "teams"):
        assert getattr(FULL, share) == getattr(SMALL, share) * 1_000


@pytest.mark.slow
async def test_what_is_loaded_is_what_the_service_would_have_left(
    database_url: str, api: httpx2.AsyncClient, owner: Account, peppers: Peppers
) -> None:
    loaded = await load(database_url, peppers, "http://127.0.0.1:9/mcp", TINY)

    connection = await asyncpg.connect(database_url)
    uncounted = await connection.fetchval(_UNCOUNTED)
    # The test inserted the account's owner without audit events.
    assert await connection.fetchval(_WITHOUT_VERSION) == 0
    await connection.close()
    assert uncounted == 0
    assert loaded.events >= TINY.events - 10
    token = await api.get(f"/api/v1/tokens/{format_id(TOKEN, loaded.tokens[0])}")
    assert token.json()["status"] == "active"
    server = await api.get(f"/api/v1/servers/{format_id(SERVER, loaded.server)}")
    assert (server.json()["slug"], server.json()["tool_count"]) == ("bench", 6)
    events = (await api.get("/api/v1/audit-events", params={"limit": 100})).json()["items"]
    assert {"success", "denied"} <= {event["outcome"] for event in events}
    assert all(event["actor"]["name"] for event in events if event["action"] == "tool.call")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_part_gives_its_figures() -> None:
    with serve(CORES, TINY) as small, serve(CORES, TINY) as large:
        for part in (part for part in everything.PARTS if part != everything.MEMORY):
            figures = everything.compare(part, small, large, 1)
            assert figures
            assert not any(math.isnan(figure.value) for figure in figures)
