"""No time that the API takes or shows depends on the clock of the worker that serves the request."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, cast

import httpx2
import pytest
from sqlalchemy import func, select

from app.main import Scopegate
from tests.contract.test_preconditions import DOCUMENT, ELSEWHERE, REASON, calls, ends
from tests.contract.things import Things
from tests.features.approvals.desk import Desk
from tests.features.approvals.requests import answer_to, ask, asked_for, open_up
from tests.features.callers import a_person, taken_at_their_word
from tests.features.tokens.world import World
from tests.worker_clock import worker_clock_off

Json = dict[str, Any]
SLOW, FAST, CLOSE = timedelta(minutes=-10), timedelta(minutes=10), timedelta(minutes=5)


@pytest.fixture
async def desk(app: Scopegate, things: Things) -> AsyncIterator[Desk]:
    """People who ask for access, and who give it."""
    async with taken_at_their_word(app) as signed_in:
        desk = await Desk(World(things.api, things.sessions), signed_in).furnish()
        await open_up(desk)
        yield desk


def times_in(answer: Any, place: str = "") -> Iterator[tuple[str, datetime]]:
    """The times in an answer, with their places; of a list, those of its first item."""
    if isinstance(answer, dict):
        for name, value in answer.items():
            if name.endswith("_at") and isinstance(value, str):
                yield f"{place}/{name}", datetime.fromisoformat(value)
            yield from times_in(value, f"{place}/{name}")
    elif isinstance(answer, list) and answer:
        yield from times_in(answer[0], f"{place}/0")


async def offsets(things: Things) -> dict[str, timedelta]:
    """How far from the database's time the times are that the operations show."""
    found: dict[str, timedelta] = {}

    async def look(name: str, answer: httpx2.Response) -> None:
        if answer.content and answer.headers["content-type"].endswith("json"):
            async with things.sessions() as session:
                now = cast("datetime", await session.scalar(select(func.clock_timestamp())))
            found.update({name + place: time - now for place, time in times_in(answer.json())})

    there = await calls(things)
    for name in sorted(there.keys() - ELSEWHERE, key=lambda name: ends(name, there[name][1])):
        method, path, body, at = there[name]
        answer = await things.api.request(method, path, json=body, headers={"If-Match": "*"})
        assert answer.status_code in {200, 204}, f"{name}: {answer.text}"
        await look(name, answer)
        if not answer.content:
            await look(f"after {name}", await things.api.get(at, params={"include": "ended"}))
    for path, item in DOCUMENT["paths"].items():
        name = item.get("get", {}).get("operationId", "")
        # Checkpoints are made beside the requests.
        if name.startswith("list_") and "{" not in path and name != "list_audit_event_checkpoints":
            await look(name, await things.api.get(path, params={"limit": 1}))
    return found


@pytest.mark.slow
async def test_every_time_that_is_shown_is_the_databases(things: Things) -> None:
    with worker_clock_off(SLOW):
        slow = await offsets(things)
    with worker_clock_off(FAST):
        fast = await offsets(Things(things.api, things.sessions))
    assert slow.keys() == fast.keys()
    assert len(slow) > 150
    assert [name for name in slow if abs(slow[name] - fast[name]) > CLOSE] == []


async def create(things: Things, kind: str, **values: Any) -> httpx2.Response:
    path, body = await things.order(kind)
    return await things.api.post(path, json=cast("Json", body) | values)


async def update(things: Things, kind: str, **values: Any) -> httpx2.Response:
    return await things.api.patch(await things.new_path(kind), json=values)


async def offboard(things: Things, by: str, at: str) -> httpx2.Response:
    shown = (await things.api.get(await things.new_path("identities"))).json()
    return await things.api.post(
        f"/api/v1/identities/{by.format(**shown)}", json=REASON | {"effective_at": at}
    )


async def approve(desk: Desk, at: str) -> httpx2.Response:
    return await answer_to(desk, a_person(desk.grace), await asked_for(desk), access={"expires_at": at})


TAKEN: dict[str, Callable[[Things, Desk, str], Awaitable[httpx2.Response]]] = {
    "create_grant": lambda things, _, at: create(things, "grants", expires_at=at),
    "update_grant": lambda things, _, at: update(things, "grants", expires_at=at),
    "create_token": lambda things, _, at: create(things, "tokens", expires_at=at),
    "narrow_token": lambda things, _, at: update(things, "tokens", expires_at=at),
    "create_invitation": lambda things, _, at: create(things, "invitations", expires_at=at),
    "create_approval": lambda _, desk, at: ask(desk, expires_at=at),
    "approve_approval": lambda _, desk, at: approve(desk, at),
    "offboard_identity": lambda things, _, at: offboard(things, "{id}/offboard", at),
    "offboard_identity_by_name": lambda things, _, at: offboard(things, "offboard?user_name={user_name}", at),
}
"""A request for each operation whose time says until or from when something holds."""
NOT_OF_NOW = {"create_policy", "update_policy", "simulate_policies", "bulk_revoke_tokens", "explain_access"}
"""The others take the time of a call in a test or in the past."""


def has_time(schema: Any, seen: tuple[str, ...] = ()) -> bool:
    """Whether a schema has a time somewhere."""
    if isinstance(schema, list):
        return any(has_time(each, seen) for each in schema)
    if not isinstance(schema, dict):
        return False
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name:
        return name not in seen and has_time(DOCUMENT["components"]["schemas"][name], (*seen, name))
    return schema.get("format") == "date-time" or has_time(list(schema.values()), seen)


def test_every_operation_that_takes_a_time_is_tried() -> None:
    taking = {
        operation["operationId"]
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
        if has_time(operation.get("requestBody"))
    }
    assert taking == TAKEN.keys() | NOT_OF_NOW


@pytest.mark.parametrize("by", [SLOW, FAST], ids=["slow", "fast"])
@pytest.mark.parametrize("name", TAKEN)
async def test_what_is_over_is_decided_by_the_databases_clock(
    things: Things, desk: Desk, name: str, by: timedelta
) -> None:
    async with things.sessions() as session:
        now = cast("datetime", await session.scalar(select(func.clock_timestamp())))
    with worker_clock_off(by):
        later = await TAKEN[name](things, desk, (now + CLOSE).isoformat())
        desk.ada = await desk.world.person()
        earlier = await TAKEN[name](things, desk, (now - CLOSE).isoformat())
    assert later.status_code in {200, 201}, later.text
    assert later.json().get("status", "active") == "active"
    if "offboard" in name:  # A time that is over is now.
        assert later.json()["scheduled"] is not None
        assert (earlier.status_code, earlier.json()["scheduled"]) == (200, None)
    else:
        assert earlier.status_code == 422, earlier.text
