"""Each change for a leaver either commits before their offboarding and ends with it, or comes after and is refused. It
is held right before its commit, so that the offboarding comes in between."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import engine
from app.http import transaction
from app.lib.ids import GROUP, IDENTITY, format_id
from app.models.identities import Group, Identity
from tests.features.administrators.people import until_waiting
from tests.features.offboarding.test_offboarding_races import LEFT, NOTHING_ALIVE, offboarding
from tests.features.tokens.world import World, in_days
from tests.gateway.messages import initialize

if TYPE_CHECKING:
    from app.main import Scopegate

Request = tuple[str, str, dict[str, Any] | None]


def identity_path(identity: Identity, verb: str = "") -> str:
    return f"/api/v1/identities/{format_id(IDENTITY, identity.id)}{verb}"


async def issue(world: World, person: Identity) -> Request:
    return "POST", "/api/v1/tokens", world.order(person)


async def issue_to_agent(world: World, person: Identity) -> Request:
    return "POST", "/api/v1/tokens", world.order(await world.agent(person))


async def attenuate_for_a_former_agent(world: World, person: Identity) -> Request:
    agent = await world.agent(person)
    parent = await world.issue(person)
    child = await world.issue(agent, parent_id=parent["id"], expires_at=in_days(1))
    heir = await world.person()
    await world.sql("UPDATE identities SET owner_id = :heir WHERE id = :id", heir=heir.id, id=agent.id)
    order = world.order(agent, parent_id=child["id"], expires_at=child["expires_at"])
    return "POST", "/api/v1/tokens", order


async def rotate(world: World, person: Identity) -> Request:
    token = await world.issue(person)
    return "POST", f"/api/v1/tokens/{token['id']}/rotate", {"overlap_s": 60}


async def create_agent(_world: World, person: Identity) -> Request:
    owner = format_id(IDENTITY, person.id)
    return "POST", "/api/v1/identities", {"kind": "agent", "user_name": "new", "owner_id": owner}


async def hand_over(world: World, person: Identity) -> Request:
    agent = await world.agent(await world.person())
    await world.issue(agent)
    return "PATCH", identity_path(agent), {"owner_id": format_id(IDENTITY, person.id)}


async def reinstate(world: World, person: Identity) -> Request:
    return "POST", identity_path(await world.agent(person, status="suspended"), "/reinstate"), None


async def grant(_world: World, person: Identity) -> Request:
    principal = {"type": "identity", "id": format_id(IDENTITY, person.id)}
    return (
        "POST",
        "/api/v1/grants",
        {"principal": principal, "servers": {"kind": "all"}, "tools": {"kind": "all"}},
    )


async def join(world: World, person: Identity) -> Request:
    group = Group(name="engineers")
    await world.add(group)
    member = format_id(IDENTITY, person.id)
    return "PUT", f"/api/v1/groups/{format_id(GROUP, group.id)}/members/{member}", None


MAKERS = (
    issue, issue_to_agent, attenuate_for_a_former_agent, rotate, create_agent, hand_over, reinstate, grant, join,
)  # fmt: skip


class Gate:
    """Holds the first transaction before its commit until released."""

    def __init__(self, commit: Callable[[AsyncSession], Awaitable[None]]) -> None:
        self._commit = commit
        self._held = False
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, session: AsyncSession) -> None:
        if not self._held:
            self._held = True
            self.reached.set()
            await self.open.wait()
        await self._commit(session)


@pytest.mark.parametrize("offboarding_first", [False, True], ids=["made first", "offboarded first"])
async def test_what_is_made_for_a_leaver_ends_with_them_or_is_refused(
    world: World, app: "Scopegate", monkeypatch: pytest.MonkeyPatch, offboarding_first: bool
) -> None:
    commit = engine.commit
    for maker in MAKERS:
        monkeypatch.setattr(transaction, "commit", commit)
        person = await world.person()
        method, path, body = await maker(world, person)
        gate = Gate(commit)
        monkeypatch.setattr(transaction, "commit", gate)
        making = world.api.request(method, path, json=body)
        leaving = world.api.post(offboarding(person), json={"reason": "left"})
        first, second = (leaving, making) if offboarding_first else (making, leaving)
        held = asyncio.create_task(first)
        await asyncio.wait_for(gate.reached.wait(), 50)
        waiting = asyncio.create_task(second)
        # The mutant without the lock does not wait here.
        await until_waiting(world.sessions)
        gate.open.set()
        answers = await asyncio.gather(held, waiting)
        made, left = reversed(answers) if offboarding_first else answers
        assert (left.status_code, left.json()["changed"]) == (200, True), maker.__name__
        if offboarding_first:
            assert made.status_code in (409, 422), (maker.__name__, made.text)
        else:
            assert made.is_success, (maker.__name__, made.text)
            assert await opens(app, made) is False, maker.__name__
        (rest,) = await world.sql(LEFT, leaver=person.id)
        assert set(rest) == {0}, (maker.__name__, rest)
    if not offboarding_first:
        assert await world.sql(NOTHING_ALIVE) == []


async def opens(app: "Scopegate", made: httpx2.Response) -> bool:
    """Whether the created secret works at the gateway."""
    secret = made.json().get("secret")
    if secret is None:
        return False
    headers = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:8080"
    ) as client:
        answer = await client.post("/mcp", json=initialize(), headers=headers)
    return answer.status_code != 401
