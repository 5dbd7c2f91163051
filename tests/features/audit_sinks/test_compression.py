"""Batches are compressed on demand, with the same content."""

import pytest

from tests.features.audit_sinks.conftest import World, ids_of
from tests.features.webhooks.receiver import receiver


@pytest.mark.parametrize("written_as", ["ndjson", "json", "ocsf", "splunk_hec"])
async def test_a_compressed_batch_says_so_and_holds_what_it_holds_uncompressed(
    world: World, written_as: str
) -> None:
    async with receiver() as plain, receiver() as compressed:
        await world.sink(plain.url, format=written_as)
        await world.sink(compressed.url, format=written_as, compression="gzip")
        await world.record(100)
        await world.given()
    [as_it_is], [encoded] = plain.arrived, compressed.arrived
    assert encoded.body == as_it_is.body
    assert encoded.headers["content-type"] == as_it_is.headers["content-type"]
    assert "content-encoding" not in as_it_is.headers
    assert encoded.headers["content-encoding"] == "gzip"
    assert int(encoded.headers["content-length"]) < int(as_it_is.headers["content-length"]) / 4


async def test_a_batch_that_is_sent_again_is_the_same_to_the_byte_and_may_come_uncompressed_then(
    world: World,
) -> None:
    async with receiver("500 Broken", "500 Broken") as endpoint:
        sink_id = await world.sink(endpoint.url, compression="gzip")
        written = await world.record(10)
        await world.given()
        await world.given()
        await world.execute(
            "UPDATE audit_sinks SET compression = 'none', revision = revision + 1 WHERE id = :id", id=sink_id
        )
        await world.given()
    first, again, plain = endpoint.arrived
    assert first == again
    assert "content-encoding" not in plain.headers
    assert ids_of(first) == ids_of(plain) == written
    assert plain.headers["scopegate-batch-id"] == first.headers["scopegate-batch-id"]
