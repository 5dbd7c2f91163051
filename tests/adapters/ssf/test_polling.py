"""Streams that are managed at the transmitter and polled, over real sockets: what is asked for, taken, acknowledged."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from app.adapters.ssf import polling as module
from app.adapters.ssf.polling import Polling
from app.crypto.keys import Peppers, Sealer
from app.domain.errors import Unavailable
from app.domain.security_events import REQUESTED, EventType, SecurityEvent
from app.features.identity_providers.signals.receive import receive
from app.features.identity_providers.signals.streams import (
    access_of,
    all_transmitter_settings,
    reseal_access,
    stream_at,
)
from app.features.identity_providers.signals.transmitters import configuration_url
from tests.adapters.ssf.transmitter import ACCESS_TOKEN, POLL, PUSH, Transmitter
from tests.adapters.ssf.world import OIDC_ISSUER, Sessions, World, register, world_of
from tests.api import KEY, make_account
from tests.open_transactions import none_open

Json = dict[str, Any]
ADA: Json = {"format": "iss_sub", "iss": OIDC_ISSUER, "sub": "ada"}


@pytest.fixture
async def polled(
    database_url: str, sessions: Sessions, transmitter: Transmitter, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A provider that is polled, by whoever a test makes and by nobody else."""

    async def nobody(_self: Polling) -> None:
        return None

    monkeypatch.setattr(Polling, "look", nobody)
    async with world_of(database_url, sessions, transmitter, delivery="poll", service_account_id=None) as it:
        yield it


def worker(world: World) -> Polling:
    """One that asks, as each worker of the service has one."""
    runtime, signals = world.app.api.state.runtime, world.app.api.state.signals
    return Polling(world.sessions, runtime.sealer, runtime.signer, signals)


async def connected(world: World) -> Json:
    """Store the access token and make the stream; how it stands."""
    answer = await world.manage("PUT", "/credential", {"access_token": ACCESS_TOKEN})
    assert answer.status_code == 200, answer.text
    answer = await world.manage("POST", "/stream", {})
    assert answer.status_code == 200, answer.text
    stream: Json = answer.json()
    return stream


async def health(world: World) -> Json:
    found: Json = (await world.manage("GET")).json()
    return found


async def test_what_waits_is_taken_once_and_said_to_be_taken_after_the_commit(polled: World) -> None:
    ada, it = await polled.person(("oidc", "ada")), polled.transmitter
    stream = await connected(polled)
    [made] = it.streams.values()
    assert (made["delivery"]["method"], made["events_requested"]) == (POLL, list(REQUESTED))
    assert (stream["stream_id"], stream["status"]) == (made["stream_id"], "enabled")
    good = it.wait(EventType.CREDENTIAL_COMPROMISE, ADA)
    forged = it.claims(EventType.ACCOUNT_DISABLED, ADA, iss="https://other.example.com")
    it.waiting["forged"] = it.sign(forged)
    it.waiting["renamed"] = it.event(EventType.ACCOUNT_DISABLED, ADA)
    more = [it.wait(EventType.ACCOUNT_ENABLED, ADA) for _ in range(2 * module.MAX_EVENTS)]
    one = worker(polled)

    async def acknowledged_first() -> None:
        async with it.polls:
            await it.polls.wait_for(lambda: good in it.acknowledged)
        assert await polled.status(ada.token) == "revoked"

    async with asyncio.TaskGroup() as group:
        group.create_task(acknowledged_first())
        group.create_task(one.poll(polled.provider_id))
    assert it.waiting == {}
    assert sorted(it.acknowledged) == sorted([good, *more])
    assert {name: error["err"] for name, error in it.refused.items()} == {
        "forged": "invalid_issuer", "renamed": "invalid_request",
    }  # fmt: skip
    assert (await polled.standing(ada), len(await polled.recorded("signal.received"))) == (
        "active",
        1 + len(more),
    )
    assert {row.actor_type for row in await polled.recorded("signal.received", "signal.refused")} == {
        "system"
    }
    found = await health(polled)
    assert (found["failures"], found["error"], found["polled_at"] is not None) == (0, None, True)
    # An acknowledgement that was lost brings it again: nothing happens twice.
    again = await polled.token(ada.id)
    it.waiting[good] = it.event(EventType.CREDENTIAL_COMPROMISE, ADA, jti=good)
    await one.poll(polled.provider_id)
    assert (it.waiting, await polled.status(again)) == ({}, "active")


async def test_one_worker_asks_at_a_time_holds_no_connection_and_one_that_is_lost_is_followed(
    polled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = polled.transmitter
    await connected(polled)
    monkeypatch.undo()
    it.hold = asyncio.Event()
    one, other = worker(polled), worker(polled)
    await one.look()
    async with it.polls:
        await it.polls.wait_for(lambda: it.paths().count("/poll") == 1)
    await other.look()
    await other.idle()
    assert it.paths().count("/poll") == 1
    await none_open(polled.sessions)
    # As if it were lost: its lease is over.
    async with polled.sessions() as session:
        await session.execute(text("UPDATE signal_streams SET poll_at = now() - interval '1 second'"))
        await session.commit()
    await other.look()
    async with it.polls:
        await it.polls.wait_for(lambda: it.paths().count("/poll") == 2)
    it.hold.set()
    await asyncio.gather(one.idle(), other.idle())


async def test_the_service_asks_by_itself_once_a_stream_is_there_and_with_whatever_key_seals(
    database_url: str, sessions: Sessions, transmitter: Transmitter
) -> None:
    async with world_of(
        database_url, sessions, transmitter, delivery="poll", service_account_id=None
    ) as world:
        ada = await world.person(("oidc", "ada"))
        jti = transmitter.wait(EventType.ACCOUNT_DISABLED, ADA)
        await connected(world)
        async with transmitter.polls:
            await transmitter.polls.wait_for(lambda: jti in transmitter.acknowledged)
        assert await world.standing(ada) == "offboarded"
        new = Sealer([b"another-key-of-more-than-32-characters", KEY.encode()])
        assert await reseal_access(sessions, new) == (1, 0)
        assert await reseal_access(sessions, Sealer([b"x" * 40])) == (0, 1)
        async with sessions() as session:
            [found] = await all_transmitter_settings(session)
            row = await stream_at(session, world.provider_id, transmitter.issuer)
        access = access_of(Sealer([b"another-key-of-more-than-32-characters"]), found, row)
        assert (access and access.token, ACCESS_TOKEN in repr(access)) == (ACCESS_TOKEN, False)


async def test_no_one_waits_for_the_keys_of_another_transmitter_and_no_fault_ends_the_loop(
    polled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = polled.transmitter
    await connected(polled)
    monkeypatch.undo()
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.05)
    begun, looks, look = asyncio.Event(), 0, Polling.look

    async def upkeep(_self: Polling) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def looking(self: Polling) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("a fault")
        await begun.wait()
        await look(self)

    monkeypatch.setattr(Polling, "upkeep", upkeep)
    monkeypatch.setattr(Polling, "look", looking)
    running = asyncio.create_task(worker(polled).run())
    async with asyncio.timeout(50), it.polls:
        await it.polls.wait_for(lambda: "/poll" in it.paths())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_failures_are_shown_warned_of_and_followed_by_longer_pauses(polled: World) -> None:
    it, one = polled.transmitter, worker(polled)
    await connected(polled)

    async def failed() -> tuple[str, int, float]:
        await one.poll(polled.provider_id)
        [row] = await polled.rows(
            "SELECT error, failures, extract(epoch FROM poll_at - now()) AS pause FROM signal_streams"
        )
        return row.error, row.failures, float(row.pause)

    it.answers["POST", "/poll"] = (500, None)
    error, count, first = await failed()
    assert (error, count) == ("unreachable", 1)
    it.answers["POST", "/poll"] = (401, None)
    error, count, second = await failed()
    assert (error, count, second > first * 1.5) == ("refused", 2, True)
    answers: list[object] = [[], {"sets": []}, {"sets": {"a": 7}}, b"{", b"[" * 100_000]
    for wrong in answers:
        it.answers["POST", "/poll"] = (200, wrong)
        assert (await failed())[0] == "unreachable"
    del it.answers["POST", "/poll"]
    it.answers["GET", "/keys"] = (404, None)
    polled.app.api.state.signals.keys._issuers.clear()
    jti = it.wait(EventType.ACCOUNT_DISABLED, ADA)
    assert (await failed())[0] == "keys_unavailable"
    assert jti in it.waiting
    async with polled.sessions() as session:
        await session.execute(text("UPDATE signal_streams SET failing_since = now() - interval '6 minutes'"))
        await session.commit()
    warnings = (await polled.api.get("/readyz")).json()["warnings"]
    assert any("1 streams of signals are not alive" in line for line in warnings)
    del it.answers["GET", "/keys"]
    polled.app.api.state.signals.keys._issuers.clear()
    await one.poll(polled.provider_id)
    assert (await health(polled))["failures"] == 0
    # Changed under it: the access token is for the transmitter that it was stored for.
    settings = {"signals": {"issuer": "https://elsewhere.example.com"}}
    changed = await polled.api.patch(f"/api/v1/identity-providers/{polled.provider}", json=settings)
    assert changed.status_code == 200, changed.text
    asked = len(it.asked)
    await one.poll(polled.provider_id)
    assert len(it.asked) == asked
    found = await health(polled)
    assert (found["has_credential"], found["stream_id"], found["revision"]) == (False, None, 0)


async def test_an_event_that_cannot_be_taken_holds_up_none_behind_it_and_comes_again(
    polled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, one = polled.transmitter, worker(polled)
    ada, bea = await polled.person(("oidc", "ada")), await polled.person(("oidc", "bea"))
    await connected(polled)
    stuck = [it.wait(EventType.ACCOUNT_DISABLED, ADA) for _ in range(2)]
    next_one = it.wait(EventType.ACCOUNT_DISABLED, ADA | {"sub": "bea"})
    faults = dict(zip(stuck, (Unavailable("It takes too long."), RuntimeError("a fault")), strict=True))

    async def take(
        change: Any, signer: Any, provider: Any, event: SecurityEvent, critical: frozenset[str]
    ) -> bool:
        taken = await receive(change, signer, provider, event, critical)
        if event.jti in faults:
            raise faults[event.jti]
        return taken

    monkeypatch.setattr(module, "receive", take)
    for _ in range(6):
        await one.poll(polled.provider_id)
    assert (list(it.waiting), it.acknowledged) == (stuck, [next_one])
    assert (await polled.standing(ada), await polled.standing(bea)) == ("active", "offboarded")
    [row] = await polled.rows(
        "SELECT error, failures, extract(epoch FROM poll_at - now()) AS pause FROM signal_streams"
    )
    assert (row.error, row.failures, float(row.pause) <= 30) == ("unreachable", 6, True)
    faults.clear()
    await one.poll(polled.provider_id)
    assert (it.waiting, await polled.standing(ada)) == ({}, "offboarded")
    assert (await health(polled))["failures"] == 0


async def test_a_stream_is_verified_by_the_state_that_was_asked_for_and_no_other(polled: World) -> None:
    it, one = polled.transmitter, worker(polled)
    stream = await connected(polled)
    subject = {"format": "opaque", "id": stream["stream_id"]}
    asked = await polled.manage("POST", "/verify")
    assert asked.status_code == 200, asked.text
    assert (asked.json()["verification_asked_at"] is not None, asked.json()["verified_at"]) == (True, None)
    right = dict(it.waiting)
    it.waiting.clear()
    wrong = it.wait(EventType.VERIFICATION, subject, payload={"state": "guessed"})
    it.wait(EventType.VERIFICATION, {"format": "opaque", "id": "another"}, payload={"state": "guessed"})
    it.wait(EventType.VERIFICATION, subject, payload={})
    await one.poll(polled.provider_id)
    found = await health(polled)
    assert (it.refused[wrong]["err"], found["error"], found["verified_at"]) == (
        "invalid_state",
        "verification",
        None,
    )
    assert any("not alive" in line for line in (await polled.api.get("/readyz")).json()["warnings"])
    it.waiting.update(right)
    await one.poll(polled.provider_id)
    found = await health(polled)
    assert (found["error"], found["verified_at"] is not None) == (None, True)
    # The same state does not do twice.
    again = it.wait(EventType.VERIFICATION, subject, payload=it_state(it))
    await one.poll(polled.provider_id)
    assert it.refused[again]["err"] == "invalid_state"
    it.wait(EventType.STREAM_UPDATED, subject, payload={"status": "disabled", "reason": "ada left"})
    await one.poll(polled.provider_id)
    assert (await health(polled))["status"] == "disabled"
    trail = [str(row.changes) for row in await polled.recorded("signal.received", "signal_stream.verify")]
    assert not [line for line in trail if "ada left" in line or "guessed" in line]


def it_state(it: Transmitter) -> Json:
    """The state that the transmitter was asked with last."""
    return {"state": [said["state"] for _, path, said in it.asked if path == "/verify"][-1]}


async def test_a_stream_is_made_once_brought_to_what_is_set_and_ended(world: World) -> None:
    it = world.transmitter
    assert (await health(world))["has_credential"] is False
    without = await world.made("/api/v1/identity-providers", {"name": "x", "issuer": "https://x.example.com",
                                                               "audiences": ["scopegate"]})  # fmt: skip
    unset = await world.api.get(f"/api/v1/identity-providers/{without['id']}/signals")
    assert (unset.status_code, unset.json()["code"]) == (404, "signals_not_configured")
    missing = await world.manage("POST", "/stream", {})
    assert (missing.status_code, missing.json()["code"]) == (409, "signal_credential_missing")
    stale = await world.manage("PUT", "/credential", {"access_token": "x"}, **{"If-Match": '"9"'})
    assert stale.status_code == 412
    made = await connected(world)
    assert made["push_url"].endswith("/ssf/events")
    [stream] = it.streams.values()
    assert stream["delivery"] == {"method": PUSH, "endpoint_url": made["push_url"]}
    # Of an attempt whose answer was lost the stream is found again.
    async with world.sessions() as session:
        await session.execute(text("UPDATE signal_streams SET stream_id = NULL"))
        await session.commit()
    assert (await connected(world))["stream_id"] == stream["stream_id"]
    secret = {"push_secret": world.account.secret}
    assert (await world.manage("POST", "/stream", secret)).status_code == 200
    sent = [said for _, path, said in it.asked if path == "/stream" and said][-1]
    assert sent["delivery"]["authorization_header"] == f"Bearer {world.account.secret}"
    # Ended over there by somebody else, it is made anew.
    it.streams.clear()
    assert (await connected(world))["stream_id"] in it.streams
    polling = {"signals": {"delivery": "poll"}}
    assert (await world.api.patch(f"/api/v1/identity-providers/{world.provider}", json=polling)).is_success
    assert (await connected(world))["delivery"] == "poll"
    assert (await world.manage("DELETE", "/stream")).status_code == 204
    assert it.streams == {}
    gone = await world.manage("POST", "/verify")
    assert (gone.status_code, gone.json()["code"]) == (409, "signal_stream_missing")
    assert (await world.manage("PUT", "/credential", {"access_token": None})).json()[
        "has_credential"
    ] is False
    dump = await world.rows("SELECT row(signal_streams.*)::text AS said FROM signal_streams")
    trail = await world.rows("SELECT row(audit_events.*)::text AS said FROM audit_events")
    for secret_text in (ACCESS_TOKEN, ACCESS_TOKEN.encode().hex(), world.account.secret):
        assert not [row for row in (*dump, *trail) if secret_text in row.said]


async def test_providers_of_one_transmitter_have_a_stream_each(polled: World) -> None:
    it = polled.transmitter
    first = (await connected(polled))["stream_id"]
    other = await make_account(polled.sessions, Peppers([KEY.encode()]), "provisioner")
    signals: Json = {"delivery": "poll", "service_account_id": None}
    beside = replace(
        polled, provider=await register(polled, other, it, issuer="https://other.example.com", **signals)
    )
    second = (await connected(beside))["stream_id"]
    assert set(it.streams) == {first, second}
    assert len(it.streams) == 2
    # One that has no more than one for whoever asks says so, and the stream of the other stays as it is.
    assert (await beside.manage("DELETE", "/stream")).status_code == 204
    it.answers["POST", "/stream"] = (201, it.streams[first])
    told = await beside.manage("POST", "/stream", {})
    assert (told.status_code, told.json()["code"]) == (409, "transmitter_refused")
    assert ((await health(polled))["stream_id"], (await health(beside))["stream_id"]) == (first, None)


async def test_a_transmitter_that_does_otherwise_changes_nothing_here(world: World) -> None:
    it = world.transmitter
    await world.manage("PUT", "/credential", {"access_token": ACCESS_TOKEN})
    other = "https://other.example.com"
    wrong: list[tuple[Json, tuple[int, object] | None, int]] = [
        ({"issuer": other}, None, 503),
        ({"configuration_endpoint": None}, None, 409),
        ({"configuration_endpoint": "http://10.0.0.1/stream"}, None, 503),
        ({"delivery_methods_supported": [POLL]}, None, 409),
        ({}, (403, None), 409),
        ({}, (500, None), 503),
        ({}, (201, b"{"), 503),
        ({}, (201, {"stream_id": 7}), 503),
        ({}, (201, {"stream_id": "s", "iss": other, "delivery": {"method": PUSH}}), 409),
        ({}, (201, {"stream_id": "s", "aud": other, "delivery": {"method": PUSH}}), 409),
        ({}, (201, {"stream_id": "s", "delivery": {"method": POLL}}), 409),
    ]
    for changed, answer, status in wrong:
        it.changed, it.answers = changed, {} if answer is None else {("POST", "/stream"): answer}
        told = await world.manage("POST", "/stream", {})
        codes = {409: "transmitter_refused", 503: "transmitter_unavailable"}
        assert (told.status_code, told.json()["code"]) == (status, codes[status]), (changed, answer)
        assert (await health(world))["stream_id"] is None


def test_the_configuration_is_where_the_specification_says() -> None:
    for issuer, url in (
        ("https://tr.example.com", "https://tr.example.com/.well-known/ssf-configuration"),
        ("https://tr.example.com/", "https://tr.example.com/.well-known/ssf-configuration"),
        ("https://tr.example.com/a/b/", "https://tr.example.com/.well-known/ssf-configuration/a/b"),
    ):
        assert configuration_url(issuer) == url
