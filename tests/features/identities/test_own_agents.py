"""Owners list their agents without a role, and no others."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.http.authorization import Caller, Role
from app.lib.ids import IDENTITY, format_id, new_id
from app.main import Scopegate
from tests.features.callers import SignedIn, a_person, taken_at_their_word
from tests.features.tokens.world import World

PATH = "/api/v1/me/agents"


@pytest.fixture
async def signed_in(app: Scopegate) -> AsyncIterator[SignedIn]:
    async with taken_at_their_word(app) as signed_in:
        yield signed_in


async def test_people_find_their_own_agents_and_no_others(
    api: httpx2.AsyncClient, sessions: async_sessionmaker[AsyncSession], signed_in: SignedIn
) -> None:
    world = World(api, sessions)
    ada, grace = await world.person(), await world.person()
    bot = await world.agent(ada, display_name="Bot")
    late = await world.agent(ada, display_name="Late", status="suspended")
    await world.agent(grace)

    async def found(caller: Caller, query: str = "") -> set[str]:
        answer = await signed_in(caller).get(PATH + query)
        assert answer.status_code == 200, answer.text
        return {item["id"] for item in answer.json()["items"]}

    first, second = (format_id(IDENTITY, one.id) for one in (bot, late))
    assert await found(a_person(ada)) == {first, second}
    assert await found(a_person(ada, Role.OWNER)) == {first, second}
    assert await found(a_person(ada), "?status=active") == {first}
    assert await found(a_person(ada), "?q=late") == {second}
    assert await found(a_person(await world.person())) == set()
    assert await found(Caller("break_glass", new_id(), frozenset({Role.OWNER}))) == set()
    page = await signed_in(a_person(ada)).get(f"{PATH}?limit=1")
    rest = await signed_in(a_person(ada)).get(f"{PATH}?limit=1&cursor={page.json()['next_cursor']}")
    assert [item["id"] for answer in (page, rest) for item in answer.json()["items"]] == [second, first]
    foreign = await signed_in(a_person(grace)).get(f"{PATH}?limit=1&cursor={page.json()['next_cursor']}")
    assert (foreign.status_code, foreign.json()["code"]) == (400, "cursor_mismatch")
