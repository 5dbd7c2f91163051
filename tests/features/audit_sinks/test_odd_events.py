"""An event that the service would not have written keeps none of those that follow from anybody."""

from typing import Any

import httpx2
import pytest

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
]


@pytest.mark.parametrize("odd", ODD, ids=["decision", "outcome", "list", "text", "nested"])
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
