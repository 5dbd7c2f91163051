"""An event that the service would not have written does not block the delivery of later ones."""

import csv
import io
import json
from typing import Any

import httpx2
import pytest

from app.lib.ids import EVENT, format_id, new_id
from tests.features.audit_sinks.conftest import World, ids_of, items_of
from tests.features.webhooks.receiver import receiver


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


ODD: list[dict[str, Any]] = [
    {"decision": "perhaps"},
    {"outcome": "odd"},
    {"changes": ["a"]},
    {"changes": "text"},
    {"changes": nested(500)},
    {"policy_ids": [None]},
    {"observed_policy_ids": [[new_id(), new_id()]]},
]


@pytest.mark.parametrize(
    "odd", ODD, ids=["decision", "outcome", "list", "text", "nested", "no policy", "table"]
)
async def test_what_no_service_wrote_is_delivered_and_listed_as_far_as_it_can_be(
    world: World, api: httpx2.AsyncClient, odd: dict[str, Any]
) -> None:
    async with receiver() as endpoint:
        for name in ("ndjson", "ocsf"):
            await world.sink(f"{endpoint.url}&{name}", format=name)
        written = await world.record(**odd)
        written += await world.record()
        await world.given()
        lines = {request.line.split("&")[1].split(" ")[0]: request for request in endpoint.arrived}
    assert ids_of(lines["ndjson"]) == written
    assert [item["metadata"]["uid"] for item in items_of(lines["ocsf"])] == written
    page = await api.get("/api/v1/audit-events", params={"id": written})
    assert {item["id"] for item in page.json()["items"]} == set(written)


DEEP = '{"a":' * 2_000 + "1" + "}" * 2_000
ODD_EVENT = """
INSERT INTO audit_events (id, action, actor_type, changes)
VALUES (gen_random_uuid(), 'tool.call', 'identity', CAST(:changes AS jsonb)) RETURNING id
"""
UNREADABLE = {
    "deep object": DEEP,
    "deep list": f'{{"a": {"[" * 2_000}{"]" * 2_000}}}',
    "long integer": f'{{"a": {"7" * 5_000}}}',
    "large number": f'{{"a": {"7" * 399}.5}}',
}


@pytest.mark.parametrize("changes", UNREADABLE.values(), ids=list(UNREADABLE))
async def test_changes_that_no_parser_takes_keep_no_event_from_readers_of_the_log(
    world: World, api: httpx2.AsyncClient, changes: str
) -> None:
    async with receiver() as endpoint:
        for name in ("ndjson", "ocsf"):
            await world.sink(f"{endpoint.url}&{name}", format=name)
        [odd] = await world.execute(ODD_EVENT, changes=changes)
        written = [format_id(EVENT, odd.id), *await world.record()]
        await world.given()
        lines = {request.line.split("&")[1].split(" ")[0]: request for request in endpoint.arrived}
    assert ids_of(lines["ndjson"]) == written
    assert items_of(lines["ndjson"])[0]["changes"] == {}
    assert [item["metadata"]["uid"] for item in items_of(lines["ocsf"])] == written

    page = await api.get("/api/v1/audit-events", params={"id": written})
    assert {item["id"]: item["changes"] for item in page.json()["items"]} == {
        written[0]: {},
        written[1]: None,
    }
    polled = await api.get("/api/v1/audit-events", params={"after": "", "action": "tool.call"})
    assert [item["id"] for item in polled.json()["items"]] == written
    one = await api.get(f"/api/v1/audit-events/{written[0]}")
    assert (one.status_code, one.json()["changes"]) == (200, {})
    exports = {
        name: (
            await api.get("/api/v1/audit-events/export", params={"format": name, "action": "tool.call"})
        ).text
        for name in ("ndjson", "csv", "ocsf")
    }
    assert [json.loads(line)["id"] for line in exports["ndjson"].splitlines()] == written
    assert [row["id"] for row in csv.DictReader(io.StringIO(exports["csv"]))] == written
    assert [json.loads(line)["metadata"]["uid"] for line in exports["ocsf"].splitlines()] == written
