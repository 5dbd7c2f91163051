"""Calls consume approvals and quota exactly once, together with their audit row, on a real PostgreSQL."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from app.admission.consuming import PENDING_PER_TOKEN, Settlement, settle
from app.admission.consuming_writer import ConsumingWriter, Release, release
from app.db.clock import DatabaseClock
from app.db.connection import GuardedConnection, Primary
from app.db.recorder_health import RecorderHealth
from app.domain.access import Decision
from app.domain.errors import StoreUnavailable
from app.domain.policy import Effect
from app.lib.ids import new_id
from tests.admission.consuming import (
    ASK,
    OTHER_POLICY,
    POLICY,
    approve,
    demand,
    event,
    quota,
    running_consuming_writer,
    states,
    used,
)
from tests.admission.world import Connection, World, decision, make_world
from tests.database import needs_lock_timeouts

WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
MOVE = "UPDATE access_versions SET version = version + 1 WHERE id = $1"


class Bench:
    """A world for calls, and a writer that admits them."""

    def __init__(
        self,
        connection: Connection,
        consuming: ConsumingWriter,
        world: World,
        decided: Decision,
        health: RecorderHealth,
    ) -> None:
        self.connection, self.consuming, self.world, self.decided = connection, consuming, world, decided
        self.health = health

    async def settle(self, *asks: Any, **others: Any) -> Settlement | None:
        """One more call."""
        return await self.consuming.settle(demand(self.world, self.decided, *asks, **others))

    async def effect(self, *asks: Any, **others: Any) -> tuple[str, str]:
        """The effect and the reason code of one more call."""
        settled = await self.settle(*asks, **others)
        assert settled is not None
        return settled.effect.value, settled.reason_code


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    connection = await asyncpg.connect(database_url)
    world = await make_world(connection)
    health = RecorderHealth()
    async with running_consuming_writer(database_url, health=health) as consuming:
        yield Bench(connection, consuming, world, await decision(connection, world, "get_time"), health)
    await connection.close()


ASKS, APPROVED = ("require_approval", "approval_required"), ("allow", "approved")
UNCOVERED = ("deny", "not_covered_by_approval")
GRANTED, EXCEEDED = ("allow", "granted"), ("deny", "quota_exceeded")


async def test_an_approval_is_asked_for_once_and_lets_one_call_through(bench: Bench) -> None:
    first = await bench.settle(ASK, reason="the customer was charged twice")
    assert first is not None
    assert (first.effect, first.reason_code) == (Effect.REQUIRE_APPROVAL, "approval_required")
    [report] = first.reports
    assert (report.standing, report.need.group, report.need.reasons) == (
        "asked", "Refund approvers", ("Refunds need a second person.",),
    )  # fmt: skip
    row = await event(bench.connection, first.demand.id)
    assert (row["decision"], row["outcome"], row["approval_id"], row["policy_ids"]) == (
        "require_approval", "not_forwarded", report.id, [POLICY],
    )  # fmt: skip
    again = await bench.settle(ASK, reason="please")
    assert again is not None
    assert [(each.id, each.standing) for each in again.reports] == [(report.id, "pending")]

    kept = await bench.connection.fetchrow("SELECT * FROM approvals")
    assert kept is not None
    assert (kept["asked"], kept["reason"], kept["event_id"]) == (
        2,
        "the customer was charged twice",
        first.demand.id,
    )
    assert (kept["policy_ids"], kept["policy_versions"], kept["revision"]) == ([POLICY], [3], 1)

    assert await approve(bench.connection) == 1
    used_by = await bench.settle(ASK)
    assert used_by is not None
    assert used_by.admitted
    row = await event(bench.connection, used_by.demand.id)
    assert (row["decision"], row["reason_code"], row["outcome"], row["approval_id"]) == (
        "allow", "approved", None, report.id,
    )  # fmt: skip
    assert await bench.effect(ASK) == ASKS
    assert await states(bench.connection) == ["consumed", "pending"]


async def test_fifty_calls_at_two_writers_use_an_approval_once_and_a_quota_to_the_last(
    bench: Bench, database_url: str
) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    async with running_consuming_writer(database_url) as other:
        writers = [bench.consuming, other]
        calls = [demand(bench.world, bench.decided, ASK) for _ in range(50)]
        settled = await asyncio.gather(*(writers[n % 2].settle(call) for n, call in enumerate(calls)))
        assert Counter(each.effect for each in settled if each) == {"allow": 1, "require_approval": 49}
        calls = [demand(bench.world, bench.decided, quotas=(quota(7),)) for _ in range(50)]
        settled = await asyncio.gather(*(writers[n % 2].settle(call) for n, call in enumerate(calls)))
    assert Counter(each.effect for each in settled if each) == {"allow": 7, "deny": 43}
    assert await used(bench.connection) == 7
    assert await states(bench.connection) == ["consumed", "pending"]
    rows = await bench.connection.fetch("SELECT decision, count(*) FROM audit_events GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in rows] == [("allow", 8), ("deny", 43), ("require_approval", 50)]


async def test_an_approval_is_of_no_use_to_another_call(bench: Bench) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    both = (ASK, replace(ASK, policy_id=OTHER_POLICY))
    for other in (replace(ASK, version=4), replace(ASK, policy_id=OTHER_POLICY), replace(ASK, group="Legal")):
        assert await bench.effect(other) == ASKS
    assert await bench.effect(*both) == ASKS
    assert await bench.effect(ASK, digest=b"e" * 32) == ASKS
    assert await bench.effect(ASK, definition=b"another") == ASKS
    assert await bench.effect(ASK) == APPROVED


async def test_it_takes_all_the_approvals_and_quotas_or_none(bench: Bench) -> None:
    legal = replace(ASK, group="Legal", policy_id=OTHER_POLICY)
    assert await bench.effect(ASK, quotas=(quota(1),)) == ASKS
    await approve(bench.connection)
    partly = await bench.settle(ASK, legal, quotas=(quota(1),))
    assert partly is not None
    assert {report.need.group: report.standing for report in partly.reports} == {
        "Legal": "asked", "Refund approvers": "approved",
    }  # fmt: skip
    assert await used(bench.connection) == 0
    await approve(bench.connection)
    assert await bench.effect(quotas=(quota(1),)) == GRANTED
    assert await bench.effect(ASK, legal, quotas=(quota(1),)) == EXCEEDED
    assert await states(bench.connection) == ["approved", "approved"]
    assert await bench.effect(ASK, legal, quotas=(quota(2),)) == APPROVED
    assert await states(bench.connection) == ["consumed", "consumed"]


async def test_time_runs_out_for_asking_and_for_using_and_a_no_holds_until_then(bench: Bench) -> None:
    over = "UPDATE approvals SET expires_at = now() - interval '1 second' WHERE state <> 'expired'"
    for prepare in ((), ("UPDATE approvals SET state = 'approved' WHERE state = 'pending'",)):
        await bench.settle(ASK)
        for statement in (*prepare, over):
            await bench.connection.execute(statement)
        again = await bench.settle(ASK)
        assert again is not None
        assert [report.standing for report in again.reports] == ["asked_again"]
    assert await states(bench.connection) == ["expired", "expired", "pending"]
    await bench.connection.execute(
        "UPDATE approvals SET state = 'denied', decision_reason = 'no' WHERE state = 'pending'"
    )
    denied = await bench.settle(ASK)
    assert denied is not None
    assert (denied.effect, denied.reason_code) == (Effect.DENY, "approval_denied")
    assert [(report.standing, report.decision_reason) for report in denied.reports] == [("denied", "no")]
    await bench.connection.execute(over)
    assert await bench.effect(ASK) == ASKS


async def test_what_rests_on_what_has_moved_takes_nothing_and_leaves_no_trace(bench: Bench) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    for moved in ("token", "person", "grant", "server"):
        decided = await decision(bench.connection, bench.world, "get_time")
        await bench.connection.execute(MOVE, getattr(bench.world, moved))
        for asks in (ASK, replace(ASK, version=9)):
            call = demand(bench.world, decided, asks, quotas=(quota(1),))
            assert await bench.consuming.settle(call) is None, moved
    now = await decision(bench.connection, bench.world, "get_time")
    late = replace(now, valid_until=1.0)
    assert await bench.consuming.settle(demand(bench.world, late, ASK)) is None
    assert await states(bench.connection) == ["approved"]
    assert await used(bench.connection) == 0
    assert await bench.connection.fetchval("SELECT count(*) FROM audit_events") == 1
    assert (await bench.consuming.settle(demand(bench.world, now, ASK))) is not None


async def test_one_that_is_stale_or_cannot_be_written_harms_no_other(bench: Bench) -> None:
    other = await make_world(bench.connection)
    stale = demand(other, await decision(bench.connection, other, "get_time"), ASK)
    await bench.connection.execute(MOVE, other.token)
    bad = demand(bench.world, bench.decided, ASK, reason="NUL \x00 is no text in PostgreSQL")
    good = [demand(bench.world, bench.decided, quotas=(quota(9),)) for _ in range(5)]
    calls = [*good[:3], stale, bad, *good[3:]]
    answers = await asyncio.gather(*map(bench.consuming.settle, calls), return_exceptions=True)
    assert answers.pop(3) is None
    assert isinstance(answers.pop(3), StoreUnavailable)
    assert all(isinstance(each, Settlement) and each.admitted for each in answers)
    assert await used(bench.connection) == 5


async def test_what_was_not_forwarded_is_given_back_once(bench: Bench) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    taken = await bench.settle(ASK, quotas=(quota(1),))
    assert taken is not None
    assert bench.consuming.finish(taken.demand.id, "not_forwarded")
    assert not bench.consuming.finish(taken.demand.id, "not_forwarded")
    assert await bench.effect(ASK, quotas=(quota(1),)) == APPROVED
    rows = await bench.connection.fetch(
        "SELECT outcome FROM audit_events WHERE call_id = $1", taken.demand.id
    )
    assert [row["outcome"] for row in rows] == ["not_forwarded"]
    assert await used(bench.connection) == 1
    assert await states(bench.connection) == ["consumed"]
    past = await bench.connection.fetch(
        "SELECT content ->> 'state' AS state, valid_to IS NULL AS current FROM object_versions"
        " WHERE kind = 'approval' ORDER BY version"
    )
    # The approver writes the version of the approval itself.
    assert [tuple(row) for row in past] == [
        ("pending", False), ("consumed", False), ("approved", False), ("consumed", True),
    ]  # fmt: skip


async def test_what_ran_keeps_what_it_took(bench: Bench) -> None:
    taken = await bench.settle(quotas=(quota(1),))
    assert taken is not None
    assert not bench.consuming.finish(taken.demand.id, "error")
    assert await bench.effect(quotas=(quota(1),)) == EXCEEDED


async def test_the_next_round_of_a_call_goes_on_with_its_approval_once(bench: Bench) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    first = await bench.settle(ASK, quotas=(quota(1),))
    assert first is not None
    assert await bench.effect(ASK, continues=new_id()) == UNCOVERED
    assert await bench.effect(ASK, continues=first.demand.id, digest=b"another") == UNCOVERED
    second = await bench.settle(ASK, quotas=(quota(1),), continues=first.demand.id)
    assert second is not None
    assert second.admitted
    assert await bench.effect(ASK, continues=first.demand.id, quotas=(quota(2),)) == UNCOVERED
    assert bench.consuming.finish(second.demand.id, "not_forwarded")
    assert await bench.effect(ASK, quotas=(quota(1),), continues=first.demand.id) == APPROVED
    assert await states(bench.connection) == ["consumed"]


async def test_a_round_that_was_not_forwarded_gives_each_approval_back_to_whoever_had_it(
    bench: Bench,
) -> None:
    other = replace(ASK, group="Auditors")
    await bench.settle(ASK, other)
    await approve(bench.connection)
    first = await bench.settle(ASK, other)
    assert first is not None
    # A round cannot request the approval of another group, which would not see its answers.
    assert await bench.effect(ASK, other, replace(ASK, group="Board"), continues=first.demand.id) == UNCOVERED
    second = await bench.settle(ASK, other, continues=first.demand.id)
    assert second is not None
    assert second.admitted
    assert bench.consuming.finish(second.demand.id, "not_forwarded")
    # The approval of the first round is not valid for an unrelated call.
    assert await bench.effect(ASK) == ASKS
    assert await states(bench.connection) == ["consumed", "consumed", "pending"]
    assert await bench.effect(ASK, other, continues=first.demand.id) == APPROVED


async def test_an_approval_is_of_no_use_to_a_call_of_another_risk_or_with_more_in_it(bench: Bench) -> None:
    await bench.settle(ASK, risk="write")
    await approve(bench.connection)
    assert await bench.effect(ASK, risk="destructive") == ASKS
    assert await bench.effect(ASK, bound={"task": {"ttl": 1}}) == ASKS
    assert await bench.effect(ASK, risk="write") == APPROVED
    kept = await bench.connection.fetch("SELECT tool_risk FROM approvals ORDER BY id")
    assert [row["tool_risk"] for row in kept] == ["write", "destructive", "write"]


async def test_pending_approvals_of_a_token_are_limited(bench: Bench) -> None:
    asked = [await bench.effect(ASK, digest=bytes([n]) * 32) for n in range(PENDING_PER_TOKEN + 2)]
    assert asked == [ASKS] * PENDING_PER_TOKEN + [("deny", "too_many_approvals")] * 2
    assert await bench.effect(ASK, digest=bytes([0]) * 32) == ASKS
    assert len(await states(bench.connection)) == PENDING_PER_TOKEN


async def test_each_approval_notifies_webhooks_once_with_ids_only(bench: Bench) -> None:
    hook, group = new_id(), new_id()
    await bench.connection.execute(
        "INSERT INTO webhooks (id, name, url, events) VALUES ($1, 'chat', 'https://chat.example',"
        " ARRAY['approval.requested'])",
        hook,
    )
    await bench.connection.execute("INSERT INTO groups (id, name) VALUES ($1, 'REFUND approvers')", group)
    await asyncio.gather(*(bench.settle(ASK, reason="a secret of mine") for _ in range(5)))
    [row] = await bench.connection.fetch("SELECT type, data FROM webhook_deliveries")
    assert row["type"] == "approval.requested"
    assert {key.partition("_")[0] for key in json.loads(row["data"])} == {
        "approval", "event", "identity", "token", "server", "group",
    }  # fmt: skip
    assert "secret" not in row["data"]
    assert await bench.connection.fetchval("SELECT approver_group_id FROM approvals") == group


@needs_lock_timeouts
async def test_a_lock_that_is_held_too_long_refuses_and_takes_nothing(bench: Bench) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    async with bench.connection.transaction():
        await bench.connection.execute("SELECT id FROM approvals FOR UPDATE")
        with pytest.raises(StoreUnavailable):
            await bench.settle(ASK)
    # Other transactions caused the conflict; the database is healthy.
    assert bench.health.reason() is None
    assert await bench.effect(ASK) == APPROVED


async def test_an_unavailable_database_is_reported_in_time_and_nothing_is_consumed_once_it_is_back(
    bench: Bench, database_url: str
) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    reachable = asyncio.Event()

    async def connect() -> GuardedConnection:
        if not reachable.is_set():
            raise ConnectionRefusedError
        return await Primary(database_url).connect(10, {})

    consuming = ConsumingWriter(connect, DatabaseClock(), new_id(), "key", 3600.0)
    serving = asyncio.create_task(consuming.run())
    async with asyncio.timeout(50):
        with pytest.raises(StoreUnavailable):
            await consuming.settle(demand(bench.world, bench.decided, ASK))
    reachable.set()
    settled = await consuming.settle(demand(bench.world, bench.decided, ASK))
    assert settled is not None
    assert settled.admitted
    consuming.close()
    await serving
    assert await bench.connection.fetchval("SELECT count(*) FROM audit_events") == 2


@pytest.fixture
def lose_an_answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Make the next commit, successful or not, end the connection without an answer."""

    def lose(holds: bool) -> None:
        execute, lost = asyncpg.Connection.execute, asyncio.Event()

        async def deaf(self: Connection, query: str, *values: Any, **options: Any) -> str:
            if query != "COMMIT" or lost.is_set():
                return await execute(self, query, *values, **options)
            lost.set()
            if holds:
                await execute(self, query)
            raise ConnectionResetError

        monkeypatch.setattr(asyncpg.Connection, "execute", deaf)

    return lose


@pytest.mark.parametrize("holds", [True, False])
async def test_a_commit_without_an_answer_counts_as_spent_until_it_is_given_back_once(
    bench: Bench, lose_an_answer: Callable[[bool], None], holds: bool
) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    assert await bench.effect(quotas=(quota(2),)) == GRANTED
    lose_an_answer(holds)
    lost = demand(bench.world, bench.decided, ASK, quotas=(quota(2),))
    with pytest.raises(StoreUnavailable):
        await bench.consuming.settle(lost)
    # It is released, exactly once, before the next call is served.
    again = await bench.settle(ASK, quotas=(quota(2),))
    assert again is not None
    assert again.admitted
    assert await used(bench.connection) == 2
    # Nor is it released twice if the release gets no answer.
    lose_an_answer(True)
    assert bench.consuming.finish(again.demand.id, "not_forwarded")
    assert await bench.effect(ASK, quotas=(quota(2),)) == APPROVED
    assert await bench.effect(quotas=(quota(2),)) == EXCEEDED
    rows = await bench.connection.fetch(
        "SELECT call_id FROM audit_events WHERE outcome = 'not_forwarded'"
        " AND action = 'tool.result' ORDER BY seq"
    )
    assert [row["call_id"] for row in rows] == [*([lost.id] * holds), again.demand.id]


async def test_what_is_given_back_while_its_commit_is_under_way_waits_for_it(
    bench: Bench, database_url: str
) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    by: dict[str, Any] = {"worker_id": new_id(), "digest_key_id": "key"}
    first, second = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    transaction = first.transaction()
    await transaction.start()
    [taken], *_ = await settle(first, [demand(bench.world, bench.decided, ASK)], ttl=60, **by)
    giving_back = asyncio.create_task(release(second, [Release.of(taken)], **by))
    async with asyncio.timeout(50):
        while not giving_back.done() and not await bench.connection.fetchval(WAITS):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await transaction.commit()
    await giving_back
    assert await states(bench.connection) == ["approved"]
    await asyncio.gather(first.close(), second.close())


async def test_who_comes_while_an_approval_is_being_used_up_waits_and_comes_too_late(
    bench: Bench, database_url: str
) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    first = await asyncpg.connect(database_url)
    async with first.transaction():
        [taken], *_ = await settle(
            first, [demand(bench.world, bench.decided, ASK)], ttl=60, worker_id=new_id(), digest_key_id="key"
        )
        assert taken.admitted
        second = asyncio.create_task(bench.effect(ASK))
        async with asyncio.timeout(50):
            while not await bench.connection.fetchval(WAITS):  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.01)
    await first.close()
    assert await second == ASKS


async def test_a_caller_who_leaves_while_it_is_settled_takes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.settle(ASK)
    await approve(bench.connection)
    left = asyncio.Event()
    transaction = ConsumingWriter.transaction

    async def slow(self: Any, work: Any) -> Any:
        result = await transaction(self, work)
        if not left.is_set():
            waiting.cancel()
            left.set()
            await asyncio.sleep(0)
        return result

    waiting = asyncio.create_task(bench.settle(ASK))
    monkeypatch.setattr(ConsumingWriter, "transaction", slow)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await bench.effect(ASK) == APPROVED
    assert await states(bench.connection) == ["consumed"]


async def test_a_driver_that_lost_its_way_refuses_one_call_and_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ConsumingWriter.transaction

    async def amiss(own: Any, work: Any) -> Any:
        # The error of asyncpg when the server was killed in the middle of an answer.
        monkeypatch.setattr(ConsumingWriter, "transaction", whole)
        raise asyncpg.InternalClientError("cannot switch to state 11")

    monkeypatch.setattr(ConsumingWriter, "transaction", amiss)
    with pytest.raises(StoreUnavailable):
        await bench.settle(ASK)
    assert await bench.settle(ASK) is not None
