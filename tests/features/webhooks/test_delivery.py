"""Messages arrive, signed, at least once, despite failing endpoints and lost workers."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from standardwebhooks import WebhookVerificationError

from app.crypto.keys import Sealer
from app.db import jobs, rows
from app.db.change import Change
from app.db.engine import commit
from app.features.webhooks import deliver, service
from app.features.webhooks.deliver import AT_ONCE, DELAYS, FAILS_FROM, KEPT, SYSTEM, claim, forget
from app.features.webhooks.service import add_secret, end_secrets, reseal_secrets
from app.http.etags import Precondition
from app.lib.ids import DELIVERY, format_id
from app.models.webhooks import Webhook
from app.outbound.http import AddressPolicy, OutboundClient, Timeouts
from tests.api import KEY
from tests.features.administrators.people import until_waiting
from tests.features.webhooks.conftest import PUBLIC_URL, World, connections_in_use
from tests.features.webhooks.receiver import receiver


async def test_a_message_arrives_signed_and_holds_ids_and_a_link_alone(world: World) -> None:
    async with receiver() as endpoint:
        webhook_id, secret = await world.webhook(endpoint.url)
        await world.tell()
        await world.delivered()
        [request], [row] = endpoint.arrived, await world.deliveries()
    approval = row.data["approval_id"]
    assert request.line == "POST /hook?for=gate HTTP/1.1"
    assert request.headers["webhook-id"] == format_id(DELIVERY, row.id)
    assert request.headers["content-type"] == "application/json"
    message = request.verified(secret)
    sent_at = datetime.fromisoformat(message.pop("timestamp"))
    assert abs(sent_at - row.created_at) < timedelta(milliseconds=1)
    link = f"{PUBLIC_URL}/console/approvals/{approval}"
    assert message == {"type": "approval.requested", "data": {"approval_id": approval, "url": link}}
    assert (row.state, row.status_code, row.error, row.attempts) == ("delivered", 204, None, 1)
    assert (await world.read(webhook_id)).delivered_at is not None
    with pytest.raises(WebhookVerificationError):
        request.verified("whsec_" + "AAAA" * 8)


async def test_while_secrets_overlap_messages_are_signed_with_both_and_then_with_the_new_one(
    world: World,
) -> None:
    async with receiver() as endpoint:
        webhook_id, old = await world.webhook(endpoint.url)
        async with world.sessions() as session:
            await end_secrets(session, webhook_id, timedelta(hours=1))
            new = add_secret(session, world.sealer, webhook_id)
            await session.commit()
        await world.tell()
        await world.delivered()
        await world.execute("UPDATE webhook_secrets SET expires_at = now() WHERE expires_at IS NOT NULL")
        await world.tell()
        await world.delivered()
        during, after = endpoint.arrived
    assert during.verified(old) == during.verified(new)
    assert after.verified(new)
    with pytest.raises(WebhookVerificationError):
        after.verified(old)


async def test_what_fails_is_sent_again_under_the_same_id_and_the_endpoint_is_held_while_it_fails(
    world: World,
) -> None:
    async with receiver(*["500 Broken"] * FAILS_FROM, "200 OK") as endpoint:
        webhook_id, secret = await world.webhook(endpoint.url)
        await world.tell()
        for attempt in range(1, FAILS_FROM + 1):
            await world.make_due()
            await world.delivered()
            [row], hook = await world.deliveries(), await world.read(webhook_id)
            assert (row.state, row.attempts, row.status_code, row.error) == (
                "pending",
                attempt,
                500,
                "status",
            )
            assert row.attempted_at is not None
            waits, longest = row.due_at - row.attempted_at, DELAYS[attempt - 1] * 1.2 + timedelta(seconds=5)
            assert DELAYS[attempt - 1] <= waits <= longest
            assert (hook.failures, hook.failing_since is None) == (attempt, False)
            assert (hook.held_until is not None) == (attempt >= FAILS_FROM)
        # Other due messages for it wait too.
        await world.tell()
        await world.delivered()
        assert len(endpoint.arrived) == FAILS_FROM
        await world.make_due()
        await world.delivered()
        hook = await world.read(webhook_id)
        assert (hook.failures, hook.failing_since, hook.held_until) == (0, None, None)
        assert [row.state for row in await world.deliveries()] == ["delivered", "delivered"]
        assert hook.revision == 1
        first, *others = endpoint.arrived
        again = others[FAILS_FROM - 1]
        assert again.headers["webhook-id"] == first.headers["webhook-id"]
        assert again.body == first.body
        assert again.verified(secret) == first.verified(secret)


async def test_a_redirect_a_silence_and_a_forbidden_address_are_failures_that_say_what_they_are(
    world: World,
) -> None:
    async with receiver() as elsewhere, receiver(f"307 Go\r\nLocation: {elsewhere.url}", None) as endpoint:
        await world.webhook(endpoint.url)
        await world.tell(2)
        await world.delivered()
        errors = {(row.state, row.status_code, row.error) for row in await world.deliveries()}
        assert errors == {("pending", 307, "redirect"), ("pending", None, "timeout")}
        async with OutboundClient(AddressPolicy()) as guarded:
            world.outbound = guarded
            await world.make_due()
            await world.delivered()
        assert {row.error for row in await world.deliveries()} == {"forbidden_url"}
        assert (elsewhere.arrived, len(endpoint.arrived)) == ([], 2)


async def test_an_endpoint_that_is_gone_is_told_nothing_more_and_the_trail_says_so(world: World) -> None:
    async with receiver("410 Gone") as endpoint:
        webhook_id, _ = await world.webhook(endpoint.url)
        await world.tell()
        await world.delivered()
        await world.tell()
        hook, [row] = await world.read(webhook_id), await world.deliveries()
    assert (hook.status, hook.disabled_reason, hook.revision) == ("disabled", "gone", 2)
    assert (row.state, row.error) == ("failed", "gone")
    query = "SELECT action, actor_type, object_id FROM audit_events"
    assert [tuple(event) for event in await world.execute(query)] == [
        ("webhook.update", "system", webhook_id)
    ]


async def test_an_endpoint_is_left_alone_for_as_long_as_it_asks(world: World) -> None:
    async with receiver("429 Slow\r\nRetry-After: 7200") as endpoint:
        webhook_id, _ = await world.webhook(endpoint.url)
        await world.tell()
        await world.delivered()
        [row], hook = await world.deliveries(), await world.read(webhook_id)
    assert row.attempted_at is not None
    assert hook.held_until is not None
    two_hours = timedelta(hours=2)
    assert row.due_at - row.attempted_at >= two_hours
    assert two_hours <= hook.held_until - row.attempted_at < two_hours + timedelta(minutes=1)


async def test_two_workers_send_each_message_once_and_few_at_a_time(world: World) -> None:
    async with receiver() as endpoint:
        await world.webhook(endpoint.url)
        await world.tell(30)
        workers = [world.worker(), world.worker()]
        begun = [await worker.round() for worker in workers]
        await asyncio.gather(*(world.delivered(worker) for worker in workers))
        ids = [request.headers["webhook-id"] for request in endpoint.arrived]
    assert begun == [AT_ONCE, AT_ONCE]
    assert (len(ids), len(set(ids))) == (30, 30)


async def test_what_a_lost_worker_had_taken_is_sent_by_another_when_its_lease_is_over(world: World) -> None:
    async with receiver() as endpoint:
        await world.webhook(endpoint.url)
        await world.tell()
        async with world.sessions() as session:
            assert len(await claim(session, {}, 1)) == 1
            await session.commit()
        await world.delivered()
        assert endpoint.arrived == []
        await world.make_due()
        await world.delivered()
        assert len(endpoint.arrived) == 1


async def test_noting_a_delivery_and_asking_for_it_anew_meet_without_a_deadlock(world: World) -> None:
    async with receiver() as endpoint:
        webhook_id, _ = await world.webhook(endpoint.url)
        await world.tell()
        [queued] = await world.deliveries()
        async with world.sessions() as session:
            await rows.lock(session, Webhook, webhook_id)
            worker = world.worker()
            assert await worker.round() == 1
            await until_waiting(world.sessions)
            change = Change(session, SYSTEM, None, datetime.now(UTC))
            await service.retry_delivery(change, webhook_id, queued.id, Precondition(None))
            await commit(session)
        await worker.idle()
    [row] = await world.deliveries()
    assert (row.state, row.status_code) == ("delivered", 204)


async def test_a_fault_that_is_no_outage_is_told_with_its_place_alone_and_ends_nothing(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(name: str, fault: Exception) -> asyncio.Event:
        real, failed = getattr(deliver, name), asyncio.Event()

        async def broken_once(*args: Any) -> Any:
            if failed.is_set():
                return await real(*args)
            failed.set()
            raise fault

        monkeypatch.setattr(deliver, name, broken_once)
        return failed

    fail_once("claim", ProgrammingError("the statement", None, Exception("the words")))
    sending = fail_once("post", ValueError("the words"))
    async with receiver() as endpoint:
        await world.webhook(endpoint.url)
        await world.tell()
        worker = world.worker()
        running = asyncio.create_task(worker.run())
        await sending.wait()
        await worker.idle()
        await world.make_due()
        await endpoint.until(lambda arrived: len(arrived) == 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    [row] = await world.deliveries()
    logged = [record.getMessage() for record in caplog.records if record.name == jobs.__name__]
    first_lines = [line.partition("\n")[0] for line in logged]
    assert first_lines == [
        "looking for deliveries failed: ProgrammingError",
        f"the delivery {format_id(DELIVERY, row.id)} failed: ValueError",
    ]
    assert all("broken_once" in line for line in logged)
    assert "the statement" not in caplog.text
    assert "the words" not in caplog.text


async def test_an_endpoint_that_hangs_delays_no_other_and_holds_no_database_connection(
    world: World, sessions: async_sessionmaker[AsyncSession]
) -> None:
    async with receiver(*[None] * AT_ONCE) as hangs, receiver() as well:
        webhook_id, _ = await world.webhook(hangs.url)
        await world.tell(AT_ONCE + 1)
        await world.webhook(well.url)
        await world.tell()
        worker = world.worker(Timeouts(first_byte=30.0))
        running = asyncio.create_task(worker.run())
        await hangs.until(lambda arrived: len(arrived) == AT_ONCE)
        await well.until(lambda arrived: len(arrived) == 1)
        await world.tell()
        await well.until(lambda arrived: len(arrived) == 2)
        # All messages in transfer, and the one that was just recorded.
        assert connections_in_use(sessions) <= 2
        assert len(hangs.arrived) == AT_ONCE
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    rows = [row for row in await world.deliveries() if row.webhook_id == webhook_id]
    assert {row.state for row in rows} == {"pending"}
    assert sum(row.lease is not None for row in rows) == AT_ONCE


async def test_after_three_days_a_message_is_given_up_and_after_thirty_forgotten(world: World) -> None:
    webhook_id, _ = await world.webhook("http://127.0.0.1:9/")
    await world.tell(2)
    late, last = await world.deliveries()
    query = "UPDATE webhook_deliveries SET give_up_at = now() + :left WHERE id = :id"
    await world.execute(query, left=timedelta(seconds=-1), id=late.id)
    await world.execute(query, left=timedelta(seconds=4), id=last.id)
    await world.delivered()
    # One was too late to be tried, the other's next attempt would be.
    assert [(row.state, row.attempts) for row in await world.deliveries()] == [("pending", 0), ("failed", 1)]
    async with world.sessions() as session:
        await end_secrets(session, webhook_id, timedelta(0))
        await forget(session, datetime.now(UTC))
        await session.commit()
    assert [row.state for row in await world.deliveries()] == ["failed", "failed"]
    assert await world.execute("SELECT id FROM webhook_secrets") == []
    await world.tell(1000)
    async with world.sessions() as session:
        later = datetime.now(UTC) + KEPT + timedelta(minutes=1)
        # Not all at once, and the caller learns that there are more.
        assert [await forget(session, later), await forget(session, later)] == [True, False]
        await session.commit()
    assert await world.deliveries() == []


async def test_secrets_are_sealed_anew_with_the_newest_key_and_sign_as_before(world: World) -> None:
    async with receiver() as endpoint:
        _, secret = await world.webhook(endpoint.url)
        newer = Sealer([b"a-newer-key-of-more-than-thirty-two-characters", KEY.encode()])
        assert await reseal_secrets(world.sessions, newer) == (1, 0)
        assert await reseal_secrets(world.sessions, newer) == (0, 0)
        assert await reseal_secrets(world.sessions, world.sealer) == (0, 1)
        world.sealer = newer
        await world.tell()
        await world.delivered()
        [request] = endpoint.arrived
        assert request.verified(secret)


async def test_a_secret_that_no_key_opens_sends_nothing_unsigned(world: World) -> None:
    async with receiver() as endpoint:
        await world.webhook(endpoint.url)
        await world.execute("UPDATE webhook_secrets SET key_id = 'lost'")
        await world.tell()
        await world.delivered()
        await world.execute("DELETE FROM webhook_secrets")
        await world.make_due()
        await world.delivered()
        [row] = await world.deliveries()
        assert (row.state, row.error, endpoint.arrived) == ("pending", "decryption_failed", [])
