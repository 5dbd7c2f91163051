"""Subscribers are notified in time of what expires: once, despite restarts, and never of ended objects."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db.engine import make_engine, make_sessions
from app.features.tokens import expiring
from app.features.tokens.expiring import ExpiryNotices
from app.lib.ids import GRANT, GROUP, IDENTITY, TOKEN, format_id, new_id
from tests.faults.harness import administration, gateways
from tests.features.principals import Sessions
from tests.features.webhooks.receiver import receiver

WEEK = timedelta(days=7)
BOTH = ["token.expiring", "grant.expiring"]


class World:
    """A database with people, tokens and grants of the ages and lifetimes that a test needs, in days."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        async with self.sessions() as session:
            result = await session.execute(text(statement), values)
            rows = list(result) if result.returns_rows else []  # type: ignore[attr-defined]
            await session.commit()
            return rows

    async def person(self, owner_id: UUID | None = None) -> UUID:
        values = {"id": new_id(), "kind": "person" if owner_id is None else "agent", "name": uuid4().hex}
        into = "INSERT INTO identities (id, kind, user_name, owner_id) VALUES (:id, :kind, :name, :owner)"
        await self.sql(into, **values, owner=owner_id)
        return values["id"]  # type: ignore[return-value]

    async def token(self, identity_id: UUID, *, made: float, ends: float, parent: UUID | None = None) -> UUID:
        """Created this many days ago, and expiring in this many."""
        [row] = await self.sql(
            "INSERT INTO tokens (id, identity_id, parent_id, name, scope, created_at, expires_at) VALUES (:id, "
            ":identity_id, :parent, 'one', '{}', now() - :made * interval '1 day', now() + :ends * interval '1 day') "
            "RETURNING id",
            id=new_id(), identity_id=identity_id, parent=parent, made=made, ends=ends,
        )  # fmt: skip
        return row[0]  # type: ignore[no-any-return]

    async def grant(
        self, *, made: float, ends: float | None, starts: float | None = None, **principal: UUID
    ) -> UUID:
        """For one principal, ``identity_id`` or ``group_id``."""
        [row] = await self.sql(
            f"INSERT INTO grants (id, {next(iter(principal))}, servers, tools, resources, prompts, created_at, "
            "not_before, expires_at) VALUES (:id, :principal, '{}', '{}', false, false, "
            "now() - :made * interval '1 day', now() + CAST(:starts AS float) * interval '1 day', "
            "now() + CAST(:ends AS float) * interval '1 day') RETURNING id",
            id=new_id(), principal=next(iter(principal.values())), made=made, ends=ends, starts=starts,
        )  # fmt: skip
        return row[0]  # type: ignore[no-any-return]

    async def webhook(self, events: list[str], url: str = "https://example.com") -> None:
        into = "INSERT INTO webhooks (id, name, url, events) VALUES (:id, 'hook', :url, :events)"
        await self.sql(into, id=new_id(), url=url, events=events)

    async def notified_objects(self) -> list[str]:
        """The objects notified since the last look, by id."""
        rows = await self.sql("DELETE FROM webhook_deliveries RETURNING type, data")
        assert {row.type for row in rows} <= set(BOTH)
        return sorted(row.data.get("token_id") or row.data["grant_id"] for row in rows)


@pytest.fixture
def world(sessions: Sessions) -> World:
    return World(sessions)


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[Sessions]:
    """Sessions of another worker."""
    engine = make_engine(database_url, pool_size=4, name="other")
    yield make_sessions(engine)
    await engine.dispose()


def token(*ids: UUID) -> list[str]:
    return sorted(format_id(TOKEN, id) for id in ids)


def grant(*ids: UUID) -> list[str]:
    return sorted(format_id(GRANT, id) for id in ids)


async def test_a_token_is_told_of_once_before_each_end_that_it_is_given(world: World) -> None:
    notices = ExpiryNotices(world.sessions, WEEK)
    ada = await world.person()
    robot = await world.person(ada)
    near = await world.token(ada, made=20, ends=6)
    week = await world.token(ada, made=5, ends=2)
    child = await world.token(robot, made=3, ends=1, parent=near)
    # Too far in the future, too early in its life, too short a life, ended.
    far = await world.token(ada, made=20, ends=8)
    fresh = await world.token(ada, made=0, ends=6)
    await world.token(ada, made=0.9, ends=0.05)
    await world.token(ada, made=20, ends=-1)
    ended = await world.token(ada, made=20, ends=3)
    await world.sql("UPDATE tokens SET revoked_at = now() WHERE id = :id", id=ended)
    # There is no subscriber yet; a later one is notified of what expires soon then.
    assert (await notices.round(), await world.sql("SELECT * FROM expiry_notices")) == (0, [])
    await world.webhook(BOTH)
    await notices.round()
    [first, *_] = await world.sql("SELECT data FROM webhook_deliveries ORDER BY data ->> 'expires_at' DESC")
    assert await world.notified_objects() == token(near, week, child)
    [(expires_at,)] = await world.sql("SELECT expires_at FROM tokens WHERE id = :id", id=near)
    shown = {"token_id": format_id(TOKEN, near), "identity_id": format_id(IDENTITY, ada)}
    assert {name: value for name, value in first.data.items() if name != "expires_at"} == shown
    assert datetime.fromisoformat(first.data["expires_at"]) == expires_at
    # A restart, another worker, and time change nothing; another expiry does.
    assert (await ExpiryNotices(world.sessions, WEEK).round(), await world.notified_objects()) == (0, [])
    later = "UPDATE tokens SET expires_at = now() + interval '5 days' WHERE id = ANY(:ids)"
    await world.sql(later, ids=[near, far, fresh])
    assert (await notices.round(), await world.notified_objects()) == (2, token(near, far))
    # Notices of past expiries are deleted.
    await world.sql(
        "INSERT INTO expiry_notices (object_id, expires_at) SELECT id, now() - interval '1 second' FROM tokens"
    )
    await notices.round()
    assert await world.sql("SELECT * FROM expiry_notices WHERE expires_at < now()") == []


async def test_a_grant_is_told_of_once_whoever_holds_it(world: World) -> None:
    await world.webhook(BOTH)
    notices, ada, team = ExpiryNotices(world.sessions, WEEK), await world.person(), new_id()
    await world.sql("INSERT INTO groups (id, name) VALUES (:id, 'team')", id=team)
    own = await world.grant(identity_id=ada, made=20, ends=6)
    shared = await world.grant(group_id=team, made=20, ends=6)
    running = await world.grant(identity_id=ada, made=40, starts=-20, ends=3)
    await world.grant(identity_id=ada, made=20, ends=None)
    await world.grant(identity_id=ada, made=20, ends=8)
    # It starts later, and its lifetime counts from then.
    await world.grant(identity_id=ada, made=20, starts=3, ends=6)
    over = await world.grant(identity_id=ada, made=20, ends=6)
    await world.sql("UPDATE grants SET ended_at = now() WHERE id = :id", id=over)
    assert await notices.round() == 3
    rows = await world.sql("SELECT data FROM webhook_deliveries WHERE type = 'grant.expiring'")
    holders = {row.data["grant_id"]: row.data.get("identity_id") or row.data["group_id"] for row in rows}
    assert holders[format_id(GRANT, own)] == format_id(IDENTITY, ada)
    assert holders[format_id(GRANT, shared)] == format_id(GROUP, team)
    assert await world.notified_objects() == grant(own, shared, running)
    await world.sql("UPDATE grants SET expires_at = now() + interval '60 days' WHERE id = :id", id=own)
    assert await notices.round() == 0
    await world.sql("UPDATE grants SET expires_at = now() + interval '4 days' WHERE id = :id", id=own)
    assert (await notices.round(), await world.notified_objects()) == (1, grant(own))


async def test_what_is_suspended_is_told_of_when_it_is_back_and_who_is_gone_never(world: World) -> None:
    await world.webhook(BOTH)
    notices, ada = ExpiryNotices(world.sessions, WEEK), await world.person()
    robot = await world.person(ada)
    theirs = await world.token(robot, made=20, ends=6)
    right = await world.grant(identity_id=robot, made=20, ends=6)
    for status in ("suspended", "offboarded"):
        await world.sql("UPDATE identities SET status = :status WHERE id = :id", status=status, id=ada)
        assert await notices.round() == 0
    await world.sql("UPDATE identities SET status = 'active' WHERE id = :id", id=ada)
    assert (await notices.round(), await world.notified_objects()) == (
        2,
        sorted(token(theirs) + grant(right)),
    )


async def test_workers_share_very_many_and_wait_for_no_one_who_ends_one(
    world: World, elsewhere: Sessions
) -> None:
    await world.webhook(["token.expiring"])
    ada, away = await world.person(), await world.person()
    await world.sql("UPDATE identities SET status = 'suspended' WHERE id = :id", id=away)
    # More than one batch are not deliverable, and come first.
    for who, many, gap in ((away, 600, timedelta(seconds=1)), (ada, 1200, timedelta(minutes=1))):
        await world.sql(
            "INSERT INTO tokens (id, identity_id, name, scope, created_at, expires_at) SELECT "
            "gen_random_uuid(), :who, 'one', '{}', now() - interval '30 days', "
            "now() + interval '9 minutes' + n * CAST(:gap AS interval) "
            "FROM generate_series(1, :many) n",
            who=who, many=many, gap=gap,
        )  # fmt: skip
    [(ending,)] = await world.sql("SELECT id FROM tokens ORDER BY expires_at OFFSET 1300 LIMIT 1")
    async with world.sessions() as session:
        ended = text("UPDATE tokens SET revoked_at = now() WHERE id = :id")
        await session.execute(ended, {"id": ending})
        workers = [ExpiryNotices(sessions, WEEK) for sessions in (world.sessions, elsewhere) * 2]
        async with asyncio.timeout(50):
            await asyncio.gather(*(worker.round() for worker in workers))
        await session.commit()
    await workers[0].round()
    objects = await world.notified_objects()
    assert (len(objects), len(set(objects))) == (1199, 1199)
    assert format_id(TOKEN, ending) not in objects


async def test_with_no_lead_time_nobody_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = False

    async def round_of(_self: ExpiryNotices) -> int:
        nonlocal looked
        looked = True
        return 0

    monkeypatch.setattr(expiring, "_FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(ExpiryNotices, "round", round_of)
    async with asyncio.timeout(50):
        await ExpiryNotices(world.sessions, timedelta()).run()
    assert not looked


async def test_a_fault_of_ours_does_not_end_the_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, again = 0, asyncio.Event()

    async def round_of(_self: ExpiryNotices) -> int:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise RuntimeError("a fault of ours")
        again.set()
        return 0

    monkeypatch.setattr(expiring, "_FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(expiring, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(ExpiryNotices, "round", round_of)
    engine = make_engine("postgresql://nobody@127.0.0.1:1/none")
    task = asyncio.create_task(ExpiryNotices(make_sessions(engine), WEEK).run())
    try:
        await asyncio.wait_for(again.wait(), 50)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await engine.dispose()
    assert looked > 1


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_two_workers_that_are_killed_and_started_again_give_each_notice_once(
    database_url: str, world: World
) -> None:
    ada = await world.person()
    with gateways(database_url, 2) as [one, other]:
        async with receiver() as endpoint, administration(database_url, one) as api:
            new = {"name": "hook", "url": endpoint.url, "events": ["token.expiring"]}
            secret = (await api.post("/api/v1/webhooks", json=new)).json()["secret"]
            # Before a notice exists: a message claimed by a killed worker waits a minute for another.
            for gateway in (one, other):
                gateway.kill()
            near = await world.token(ada, made=20, ends=6)
            # Both look soon after their start, at about the same time.
            await asyncio.gather(one.start(), other.start())
            await endpoint.until(lambda arrived: len(arrived) == 1)
            assert endpoint.arrived[0].verified(secret)["data"]["token_id"] == format_id(TOKEN, near)
            second = await world.token(ada, made=20, ends=5)
            one.kill()
            await one.start()
            # The worker that looked for the second has seen the first.
            await endpoint.until(lambda arrived: len(arrived) == 2)
            assert endpoint.arrived[1].verified(secret)["data"]["token_id"] == format_id(TOKEN, second)
            other.kill()
            await other.start()
            [_, _] = await world.sql("SELECT 1 FROM webhook_deliveries")
