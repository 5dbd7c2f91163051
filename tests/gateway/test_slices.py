"""The visible parts of thousands of servers are computed in slices, without blocking the event loop."""

import asyncio
from collections.abc import Awaitable
from math import inf
from typing import TypeVar

import pytest

from app.admission.store import View
from app.domain.access import PolicyContext
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token
from app.domain.policy import GrantedIsAllowed
from app.domain.scopes import AllServers, AllTools, GrantsScope
from app.domain.token_format import SCOPED_TOKEN, Credential
from app.domain.visibility import make_directory, reached_parts
from app.gateway.aggregate.streams import read_list_state
from app.lib import event_loop as slices
from app.lib.event_loop import in_slices
from app.lib.ids import new_id

_MANY = 50
Result = TypeVar("Result")


def wide_view() -> View:
    servers = [
        Server(id=new_id(), version=1, slug=f"s{n}", enabled=True, labels={}, tools={}) for n in range(_MANY)
    ]
    everything = Grant(new_id(), 1, AllServers(), AllTools(), resources=False, prompts=False)
    person = Identity(new_id(), 1, IdentityStatus.ACTIVE, grants=(everything,))
    token = Token(new_id(), 1, person, GrantsScope(), inf)
    context = PolicyContext(1, 1, GrantedIsAllowed())
    directory = make_directory({server.id: server for server in servers})
    return View(
        token,
        context,
        {server.slug: server for server in servers},
        Credential(SCOPED_TOKEN, token.id, ""),
        directory,
    )


async def turns_during(work: Awaitable[Result]) -> tuple[int, Result]:
    """Count how often other tasks ran."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    result = await work
    counting.cancel()
    return turns, result


async def test_a_stream_state_is_computed_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    view = wide_view()
    turns, sight = await turns_during(read_list_state(view, 0.0, None))
    assert {server.id for server in view.servers.values()} <= {id for id, _ in sight.tools}
    assert turns >= _MANY


async def test_visible_parts_are_computed_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    view = wide_view()
    steps = reached_parts(view.token, view.within(), view.context, 0.0, None)
    turns, parts = await turns_during(in_slices(steps))
    assert not parts
    assert turns >= _MANY
