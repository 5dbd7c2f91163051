"""Every way to withdraw access, and to restore it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import time
from uuid import uuid4

from app.domain.security_events import EventType
from tests.faults.rig.fleet import Cell, Fleet
from tests.faults.rig.office import DONE_BEFORE, Answered
from tests.faults.rig.recorder import STREAM, TOOLS
from tests.faults.rig.signals import Scim, Signals
from tests.faults.upstream import ECHO

SOME = [ECHO, STREAM]
"""The tools that are withdrawn when access is narrowed."""
_REST = [tool for tool in TOOLS if tool not in SOME]


@dataclass(frozen=True, slots=True)
class World:
    """The fleet, and the external systems of its people."""

    fleet: Fleet
    scim: Scim
    signals: Signals
    events: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Path:
    """A way to withdraw access to ``tools`` (default: all); without ``both`` only of the token ``full``."""

    name: str
    take: Callable[[World, Cell], Awaitable[Answered]]
    back: Callable[[World, Cell], Awaitable[None]]
    tools: list[str] | None = None
    both: bool = True
    provisioner: str = ""
    for_good: bool = False
    """Whether the tokens end permanently; new ones are issued instead."""

    def suits(self, cell: Cell) -> bool:
        """Whether the path applies to this cell."""
        return cell.provisioner == self.provisioner and not cell.asking

    def tokens(self, cell: Cell) -> list[str]:
        """Return the affected tokens."""
        return [token.id for token in (cell.live if self.both else cell.live[:1])]


def _asks(method: str, path: str, body: object = None) -> Callable[[World, Cell], Awaitable[Answered]]:
    """A request to the API, with ids of the cell in its path."""

    async def take(world: World, cell: Cell) -> Answered:
        assert cell.full is not None
        there = path.format(
            token=cell.full.id, grant=cell.grant, group=cell.group, person=cell.person, server=cell.server,
            stream=cell.tools[STREAM],
        )  # fmt: skip
        return await world.fleet.office.insist(method, f"/api/v1/{there}", json=body, also=DONE_BEFORE)

    return take


def _undoes(method: str, path: str, body: object = None) -> Callable[[World, Cell], Awaitable[None]]:
    asks = _asks(method, path, body)

    async def back(world: World, cell: Cell) -> None:
        await asks(world, cell)

    return back


async def _new_token(world: World, cell: Cell) -> None:
    await world.fleet.issue(cell, narrow=False)


async def _new_tokens(world: World, cell: Cell) -> None:
    await world.fleet.issue(cell)


async def _new_person(world: World, cell: Cell) -> None:
    if cell.provisioner == "scim":
        await world.scim.employ(cell)
    elif cell.provisioner == "signals":
        await world.signals.employ(cell)
    else:
        await world.fleet.employ(cell)
    await world.fleet.join(cell)
    await world.fleet.issue(cell)


async def _new_server(world: World, cell: Cell) -> None:
    await world.fleet.register(cell)
    await world.fleet.grant(cell)
    await world.fleet.issue(cell)


async def _new_grant(world: World, cell: Cell) -> None:
    await world.fleet.grant(cell)


async def _new_group(world: World, cell: Cell) -> None:
    await world.fleet.gather(cell)


async def _revoke_in_bulk(world: World, cell: Cell) -> Answered:
    body = {"filter": {"identity_id": cell.person}, "reason": "bulk"}
    return await world.fleet.office.insist("POST", "/api/v1/tokens/bulk-revoke", json=body)


async def _narrow_token(world: World, cell: Cell) -> Answered:
    assert cell.full is not None
    entry = {"servers": {"kind": "ids", "ids": [cell.server]}, "tools": {"kind": "names", "names": _REST}}
    body = {"scope": {"kind": "listed", "entries": [entry]}}
    return await world.fleet.office.insist("PATCH", f"/api/v1/tokens/{cell.full.id}", json=body)


async def _forbid(world: World, cell: Cell) -> Answered:
    """Publish a policy that forbids the person everything."""
    text = f'forbid (principal == Identity::"{cell.person}", action, resource);'
    draft = await world.fleet.office.made("policies", name=f"stop {uuid4().hex}", text=text)
    cell.policy = draft["id"]
    return await world.fleet.office.insist(
        "POST", f"/api/v1/policies/{cell.policy}/publish", headers={"If-Match": "*"}
    )


async def _permit(world: World, cell: Cell) -> None:
    for method, path in (("POST", "/unpublish"), ("DELETE", "")):
        await world.fleet.office.insist(
            method, f"/api/v1/policies/{cell.policy}{path}", headers={"If-Match": "*"}, also=DONE_BEFORE
        )


async def _deactivate(world: World, cell: Cell) -> Answered:
    return await world.scim.deactivate(cell)


def _tell(type: EventType) -> Callable[[World, Cell], Awaitable[Answered]]:
    async def take(world: World, cell: Cell) -> Answered:
        # Events are of a second, and end what is from before it.
        youngest = max(token.issued for token in cell.live)
        await asyncio.sleep(max(0.0, int(youngest) + 1.05 - time()))
        return await world.signals.push(world.signals.event(cell, type))

    return take


_GRANT, _TOOL = "grants/{grant}", "tools/{stream}"
_SUSPEND, _OFFBOARD = "identities/{person}/suspend", "identities/{person}/offboard"
_SERVER = "servers/{server}"
PATHS = (
    Path("token", _asks("POST", "tokens/{token}/revoke", {"reason": "lost"}), _new_token, both=False, for_good=True),
    Path("tokens in bulk", _revoke_in_bulk, _new_tokens, for_good=True),
    Path("grant", _asks("DELETE", _GRANT), _new_grant),
    Path(
        "grant gets smaller", _asks("PATCH", _GRANT, {"tools": {"kind": "names", "names": _REST}}),
        _undoes("PATCH", _GRANT, {"tools": {"kind": "all"}}), tools=SOME,
    ),
    Path("token gets smaller", _narrow_token, _new_token, tools=SOME, both=False, for_good=True),
    Path(
        "membership", _asks("DELETE", "groups/{group}/members/{person}"),
        _undoes("PUT", "groups/{group}/members/{person}"),
    ),
    Path("group", _asks("DELETE", "groups/{group}"), _new_group),
    Path("suspension", _asks("POST", _SUSPEND), _undoes("POST", "identities/{person}/reinstate")),
    Path("offboarding", _asks("POST", _OFFBOARD, {"reason": "left"}), _new_person, for_good=True),
    Path(
        "server disabled", _asks("PATCH", _SERVER, {"status": "disabled"}),
        _undoes("PATCH", _SERVER, {"status": "active"}),
    ),
    Path("server", _asks("DELETE", _SERVER), _new_server, for_good=True),
    Path(
        "tool quarantined", _asks("PATCH", _TOOL, {"state": "quarantined"}),
        _undoes("PATCH", _TOOL, {"state": "active"}), tools=[STREAM],
    ),
    Path("policy", _forbid, _permit),
    Path("SCIM", _deactivate, _new_person, provisioner="scim", for_good=True),
    Path("signal of a session", _tell(EventType.SESSION_REVOKED), _new_tokens, provisioner="signals", for_good=True),
    Path("signal of an account", _tell(EventType.ACCOUNT_DISABLED), _new_person, provisioner="signals", for_good=True),
)  # fmt: skip
