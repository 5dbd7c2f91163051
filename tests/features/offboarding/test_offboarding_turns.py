"""Ending an identity does not starve among its many concurrent uses. Real PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Unavailable
from app.features.identities.queries import lock_identity
from app.features.tokens.service import lock_active_identity
from app.lib.ids import IDENTITY, format_id
from app.models.identities import Identity
from tests.database import needs_lock_timeouts
from tests.features.tokens.world import World

TOKENS = "/api/v1/tokens"
ISSUERS = 20
"""Twice as many as there are connections: all of these are in use without a pause."""
_WAITERS = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
Hold = Callable[[AsyncSession, Identity], Awaitable[object]]


async def issuing(session: AsyncSession, identity: Identity) -> object:
    """Lock as for issuing, attenuating and picking up."""
    return await lock_active_identity(session, identity.id, ())


async def sharing(session: AsyncSession, identity: Identity) -> object:
    """Lock as for signing in, granting and becoming an owner."""
    return await lock_identity(session, identity.id, share=True)


async def waiting(world: World) -> bool:
    """Whether the end is in the queue: those who share wait only behind it."""
    async with world.sessions() as session:
        return bool(await session.scalar(_WAITERS))


@needs_lock_timeouts
@pytest.mark.parametrize("hold", [issuing, sharing])
@pytest.mark.parametrize("ends", ["offboard", "suspend"])
async def test_who_comes_after_the_end_was_asked_for_waits_behind_it(
    world: World, ends: str, hold: Hold
) -> None:
    person = await world.person()
    path = f"/api/v1/identities/{format_id(IDENTITY, person.id)}/{ends}"
    async with asyncio.timeout(50), world.sessions() as first, world.sessions() as second:
        await hold(first, person)
        ending = asyncio.create_task(world.api.post(path, json={"reason": "left"}))
        while not await waiting(world):
            assert not ending.done(), ending.result().text
        await second.execute(text("SET LOCAL lock_timeout = '100ms'"))
        # A row lock FOR SHARE would be granted immediately.
        with pytest.raises(Unavailable):
            await hold(second, person)
        await second.rollback()
        await first.rollback()
        answer = await ending
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("of_an_agent", [False, True], ids=["for the person", "for an agent"])
async def test_those_who_issue_without_end_do_not_keep_an_identity_from_being_offboarded(
    world: World, *, of_an_agent: bool
) -> None:
    person = await world.person()
    order = world.order(await world.agent(person) if of_an_agent else person)
    statuses: list[int] = []
    over, many = asyncio.Event(), asyncio.Event()

    async def issue_without_end() -> None:
        while not over.is_set():
            answer = await world.api.post(TOKENS, json=order)
            statuses.append(answer.status_code)
            if len(statuses) == ISSUERS:
                many.set()
            if answer.status_code == 409:
                return

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(ISSUERS):
            group.create_task(issue_without_end())
        await many.wait()
        path = f"/api/v1/identities/{format_id(IDENTITY, person.id)}/offboard"
        ending = asyncio.create_task(world.api.post(path, json={"reason": "left"}))
        while not ending.done() and not await waiting(world):
            pass
        before = len(statuses)
        answer = await ending
        during = statuses[before:]
        over.set()
    assert answer.status_code == 200, answer.text
    # One of each issuer was ahead in the queue, and no more.
    assert during.count(201) <= ISSUERS
    assert await world.sql("SELECT id FROM tokens WHERE revoked_at IS NULL") == []
