"""The log arrives complete and in order, despite failing endpoints and concurrent writers and workers."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from app.crypto.keys import Sealer
from app.features.audit_sinks import batches, deliver
from app.features.audit_sinks.batches import MAX_BYTES
from app.features.audit_sinks.deliver import FIRST_PAUSE, MAX_PAUSE, pause_after
from app.features.audit_sinks.queue import BatchEnd, begin, claim, record_accepted
from app.lib.ids import new_id
from app.models.audit import MAX_BATCH_EVENTS, AuditEvent
from app.outbound.http import AddressPolicy, OutboundClient
from tests.features.audit_sinks.conftest import TOKEN, World, ids_of, items_of
from tests.features.webhooks.conftest import connections_in_use
from tests.features.webhooks.receiver import CUT, Arrived, receiver
from tests.settling import settled


async def test_events_arrive_as_the_api_shows_them_with_the_credential_and_the_id_of_the_batch(
    world: World,
) -> None:
    async with receiver() as endpoint:
        sink_id = await world.sink(endpoint.url)
        written = await world.record(3, decision="deny")
        await world.given()
        [request], sink = endpoint.arrived, await world.read(sink_id)
    assert request.line == "POST /hook?for=gate HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.headers["scopegate-batch-id"].startswith("bat_")
    assert ids_of(request) == written
    assert items_of(request)[0]["outcome"] == "denied"
    assert (sink.failures, sink.error, sink.status_code, sink.lease, sink.revision) == (0, None, 204, None, 1)
    assert sink.delivered_at is not None
    assert sink.batch_xact is None


async def test_each_format_is_what_its_receivers_take(world: World) -> None:
    async with receiver() as endpoint:
        for name in ("json", "ocsf", "splunk_hec"):
            await world.sink(f"{endpoint.url}&{name}", format=name)
        written = await world.record(2)
        await world.given()
        found = {request.line.split("&")[1].split(" ")[0]: request for request in endpoint.arrived}
    assert [one["id"] for one in json.loads(found["json"].body)] == written
    assert found["json"].headers["content-type"] == "application/json"
    lines = [json.loads(line) for line in found["ocsf"].body.splitlines()]
    assert [line["metadata"]["uid"] for line in lines] == written
    splunk = [json.loads(line) for line in found["splunk_hec"].body.splitlines()]
    assert [one["event"]["id"] for one in splunk] == written
    assert splunk[0].keys() == {"time", "source", "sourcetype", "event"}
    assert abs(splunk[0]["time"] - splunk[1]["time"]) < 60


@pytest.mark.parametrize("answer", ["500 Broken", "307 Go\r\nLocation: http://127.0.0.1:1/", CUT, None])
async def test_a_batch_that_was_not_taken_comes_again_as_it_was_and_then_the_rest(
    world: World, answer: str | None
) -> None:
    errors = {"500 Broken": ("status", 500), CUT: ("closed", None), None: ("timeout", None)}
    async with receiver("200 OK", answer, answer) as endpoint:
        sink_id = await world.sink(endpoint.url)
        written = await world.record()
        await world.given()
        for attempt in (1, 2):
            # Later events go to the next batch: this one is repeated unchanged.
            written += await world.record(2)
            await world.given()
            sink = await world.read(sink_id)
            assert (sink.error, sink.status_code) == errors.get(answer, ("redirect", 307))
            assert (sink.failures, sink.failing_since is None) == (attempt, False)
        await world.given()
        first, *repeated, last = endpoint.arrived
        sink = await world.read(sink_id)
    assert (sink.failures, sink.failing_since, sink.error) == (0, None, None)
    assert {(one.body, one.headers["scopegate-batch-id"]) for one in repeated} == {
        (repeated[0].body, repeated[0].headers["scopegate-batch-id"])
    }
    assert len(repeated) == 3
    assert len({one.headers["scopegate-batch-id"] for one in endpoint.arrived}) == 3
    assert ids_of(first, repeated[0], last) == written


async def test_what_a_lost_worker_had_sent_is_sent_again_by_the_next_under_the_same_id(world: World) -> None:
    async with receiver() as endpoint:
        await world.sink(endpoint.url)
        written = await world.record(2)
        worker = world.worker()

        async def lose(*_: Any, **__: Any) -> None:
            raise ConnectionError("the database is gone before it is noted")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deliver, "record_accepted", lose)
            assert await worker.round() == 1
            await worker.idle()
        written += await world.record()
        # Its lease is still valid: no other worker sends.
        assert await world.worker().round() == 0
        await world.given()
        first, again, rest = endpoint.arrived
    assert (again.body, again.headers["scopegate-batch-id"]) == (
        first.body,
        first.headers["scopegate-batch-id"],
    )
    assert ids_of(first, rest) == written


async def test_a_worker_whose_lease_is_over_sends_nothing_and_moves_nothing(world: World) -> None:
    async with receiver() as endpoint:
        sink_id = await world.sink(endpoint.url)
        await world.record()
        async with world.sessions() as session:
            [old] = await claim(session, 1)
            await session.commit()
        await world.make_due()
        async with world.sessions() as session:
            [_] = await claim(session, 1)
            await session.commit()
        before = await world.read(sink_id)
        async with world.sessions() as session:
            batch = BatchEnd((9, 9, 9), None)
            assert not await begin(session, old, batch)
            assert await record_accepted(session, old, batch, status_code=200, rest=None) is None
            await session.commit()
        assert await world.read(sink_id) == before
        # A worker that was suspended past its lease notices it once the connection is open.
        await world.make_due()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deliver, "LEASE", timedelta())
            worker = world.worker()
            assert await worker.round() == 1
            await worker.idle()
    assert endpoint.arrived == []


async def test_nothing_is_skipped_that_an_older_transaction_commits_later(world: World) -> None:
    async with receiver() as endpoint, world.sessions() as slow:
        sink_id = await world.sink(endpoint.url)
        slow.add(AuditEvent(id=new_id(), action="tool.call", actor_type="identity"))
        await slow.flush()
        async with world.sessions() as quick:
            quick.add(AuditEvent(id=new_id(), action="tools.list", actor_type="identity"))
            await quick.commit()
        await world.given()
        assert endpoint.arrived == []
        await slow.commit()
        await settled(world.sessions)
        await world.given()
        assert [item["action"] for request in endpoint.arrived for item in items_of(request)] == [
            "tool.call",
            "tools.list",
        ]
        assert (await world.read(sink_id)).failures == 0


async def test_many_writers_and_two_workers_lose_and_double_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver.AuditDeliveries, "every_s", 0.02)
    monkeypatch.setattr(deliver, "BATCH_DELAY", timedelta())
    each, writers = 25, 6

    async def write(number: int) -> None:
        for n in range(each):
            async with world.sessions() as session:
                session.add(AuditEvent(id=new_id(), action=f"w{number}.n{n}", actor_type="identity"))
                await session.flush()
                await asyncio.sleep(0)
                await session.commit()

    async with receiver() as endpoint:
        await world.sink(endpoint.url, batch_events=5)
        workers = [asyncio.create_task(world.worker().run()) for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            for number in range(writers):
                group.create_task(write(number))
        await endpoint.until(lambda arrived: len(ids_of(*arrived)) >= each * writers)
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        assert ids_of(*endpoint.arrived) == await world.in_order()
        assert len(endpoint.arrived) > 1


async def test_full_batches_follow_one_another_and_none_is_over_its_bounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_CHUNK", 2)
    async with receiver() as endpoint:
        await world.sink(endpoint.url, batch_events=3)
        large = "x" * (MAX_BYTES // 3)
        written = await world.record(7)
        written += await world.record(4, changes={"text": large})
        written += await world.record(1, changes={"text": large * 4})
        await world.given()
        requests = endpoint.arrived
    assert ids_of(*requests) == written
    assert len(ids_of(requests[0])) == 3
    sizes = [(len(ids_of(one)), len(one.body)) for one in requests]
    assert all(count == 1 or size <= MAX_BYTES for count, size in sizes)
    assert sizes[-1][0] == 1
    assert sizes[-1][1] > MAX_BYTES


async def test_a_batch_that_is_too_large_is_halved_until_it_fits(world: World) -> None:
    too_large = "413 Too Large"
    async with receiver(too_large, too_large, "200 OK", "200 OK", too_large, too_large) as endpoint:
        sink_id = await world.sink(endpoint.url, batch_events=8)
        written = await world.record(8)
        await world.given()
        sizes = [len(ids_of(one)) for one in endpoint.arrived]
        sink = await world.read(sink_id)
        assert (sizes, sink.failures) == ([8, 4, 2, 6], 0)
        assert ids_of(*endpoint.arrived[2:]) == written
        # A single event cannot be halved: it is tried again, and never skipped.
        written = await world.record(2)
        await world.given()
        sink = await world.read(sink_id)
        assert (sink.failures, sink.error, sink.status_code) == (1, "too_large", 413)
        await world.given()
        assert ids_of(*endpoint.arrived[6:]) == written


async def test_an_endpoint_is_left_alone_for_as_long_as_it_asks_and_longer_each_time_it_fails(
    world: World,
) -> None:
    async with receiver("429 Slow\r\nRetry-After: 7200") as endpoint:
        sink_id = await world.sink(endpoint.url)
        await world.record()
        await world.given()
        sink = await world.read(sink_id)
        assert sink.failing_since is not None
        assert sink.due_at - sink.failing_since >= timedelta(hours=2)
        assert await world.worker().round() == 0
    pauses = [pause_after(failures) for failures in range(1, 12)]
    assert FIRST_PAUSE <= pauses[0] <= FIRST_PAUSE * 1.2
    assert FIRST_PAUSE * 4 <= pauses[2] <= FIRST_PAUSE * 4.8
    assert max(pauses) <= MAX_PAUSE * 1.2
    assert min(pauses[8:]) >= MAX_PAUSE


async def test_an_endpoint_that_hangs_delays_no_other_and_holds_no_database_connection(world: World) -> None:
    async with receiver(None) as hanging, receiver() as quick:
        await world.sink(hanging.url)
        await world.sink(quick.url)
        written = await world.record()
        worker = world.worker()
        assert await worker.round() == 2
        await hanging.until(lambda arrived: len(arrived) == 1)
        await quick.until(lambda arrived: ids_of(*arrived) == written)
        assert connections_in_use(world.sessions) <= 1
        await until_noted(world, quick.url)
        assert connections_in_use(world.sessions) == 0
        await worker.idle()


async def until_noted(world: World, url: str) -> None:
    """Wait until it is recorded that the sink at this URL has accepted a batch."""
    query = "SELECT 1 FROM audit_sinks WHERE url = :url AND delivered_at IS NOT NULL"
    async with asyncio.timeout(50):
        while not await world.execute(query, url=url):
            pass


async def test_only_so_many_sinks_are_given_to_at_a_time(world: World) -> None:
    async with receiver(*[None] * 16) as endpoint:
        for _ in range(deliver.MAX_SINKS + 2):
            await world.sink(endpoint.url)
        await world.record()
        worker = world.worker()
        assert await worker.round() == deliver.MAX_SINKS
        assert await worker.round() == 0
        assert await world.worker().round() == 2
        await worker.idle()


async def test_a_credential_opens_for_its_sink_and_origin_alone_and_nothing_goes_out_without_it(
    world: World,
) -> None:
    async with receiver() as endpoint, receiver() as elsewhere:
        first, second = await world.sink(endpoint.url), await world.sink(endpoint.url)
        await world.record()
        swap = "UPDATE audit_sinks SET sealed = (SELECT sealed FROM audit_sinks WHERE id = :other) WHERE id = :id"
        await world.execute(swap, id=first, other=second)
        await world.execute("UPDATE audit_sinks SET url = :url WHERE id = :id", url=elsewhere.url, id=second)
        await world.given()
        assert [(await world.read(id)).error for id in (first, second)] == [
            "decryption_failed",
            "decryption_failed",
        ]
        world.sealer = Sealer([b"another key of thirty-two bytes!"])
        third = await world.sink(endpoint.url)
        await world.record()
        world.sealer = Sealer([b"and again another key, as long.."])
        await world.given()
        assert (await world.read(third)).error == "decryption_failed"
    assert (endpoint.arrived, elsewhere.arrived) == ([], [])


async def test_an_address_that_may_not_be_reached_is_not(world: World) -> None:
    async with receiver() as endpoint, OutboundClient(AddressPolicy()) as guarded:
        sink_id = await world.sink(endpoint.url)
        await world.record()
        world.outbound = guarded
        await world.given()
        assert (await world.read(sink_id)).error == "forbidden_url"
    assert endpoint.arrived == []


@pytest.mark.parametrize("change", ["status = 'disabled'", "ended_at = now()"])
async def test_what_is_disabled_or_has_ended_is_given_nothing(world: World, change: str) -> None:
    async with receiver("500 Broken") as endpoint:
        await world.sink(endpoint.url)
        await world.record()
        await world.given()
        await world.execute(f"UPDATE audit_sinks SET {change}")
        await world.given()
        assert len(endpoint.arrived) == 1


async def test_outcomes_of_calls_that_were_never_written_are_passed_over_without_a_batch(
    world: World,
) -> None:
    async with receiver() as endpoint:
        sink_id = await world.sink(endpoint.url)
        await world.record(3, action="tool.result", call_id=new_id(), outcome="success")
        await world.given()
        [row] = await world.execute("SELECT max(seq) AS seq FROM audit_events")
        sink = await world.read(sink_id)
        assert (endpoint.arrived, sink.seq, sink.delivered_at) == ([], row.seq, None)
        written = await world.record()
        await world.given()
    assert ids_of(*endpoint.arrived) == written


async def test_signed_checkpoints_go_along_once_a_minute_at_most(world: World) -> None:
    def checkpoints(*requests: Arrived) -> list[tuple[int, str]]:
        items = [item for one in requests for item in items_of(one)]
        return [(item["tree_size"], item["note"]) for item in items if item["action"] == "audit.checkpoint"]

    async def sign(size: int) -> None:
        values = f"{size}, 1, {size}, 1, 'x', 'note {size}'"
        columns = "tree_size, epoch, last_xact, last_seq, root_hash, note"
        await world.execute(f"INSERT INTO audit_checkpoints ({columns}) VALUES ({values})")

    async with receiver("500 Broken") as endpoint:
        await world.sink(endpoint.url)
        await sign(1)
        await sign(2)
        await world.given()
        await sign(3)
        await world.given()
        failed, again = endpoint.arrived
        assert checkpoints(failed) == checkpoints(again) == [(2, "note 2")]
        assert failed.headers["scopegate-batch-id"] == again.headers["scopegate-batch-id"]
        written = await world.record()
        await world.given()
        assert checkpoints(*endpoint.arrived[2:]) == []
        assert ids_of(*endpoint.arrived[2:]) == written
        await world.execute("UPDATE audit_sinks SET checkpoint_at = now() - interval '1 minute'")
        await world.given()
        assert checkpoints(*endpoint.arrived[3:]) == [(3, "note 3")]
        await world.execute("UPDATE audit_sinks SET checkpoint_at = now() - interval '1 minute'")
        await world.given()
        assert len(endpoint.arrived) == 4


async def test_formats_with_a_shape_of_their_own_have_no_checkpoints(world: World) -> None:
    async with receiver() as endpoint:
        await world.sink(endpoint.url, format="ocsf")
        columns = "tree_size, epoch, last_xact, last_seq, root_hash, note"
        await world.execute(f"INSERT INTO audit_checkpoints ({columns}) VALUES (1, 1, 1, 1, 'x', 'n')")
        await world.given()
        assert endpoint.arrived == []


async def test_nothing_new_costs_no_write(world: World) -> None:
    async with receiver() as endpoint:
        sink_id = await world.sink(endpoint.url)
        await world.record()
        await world.given()
        await world.execute("UPDATE audit_sinks SET due_at = now()")
        before = await world.read(sink_id)
        assert await world.worker().round() == 0
        assert await world.read(sink_id) == before
    assert before.batch_events == MAX_BATCH_EVENTS
