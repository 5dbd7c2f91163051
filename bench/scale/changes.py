"""Changes by an administrator, each with its audit event and commit."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from app.lib.ids import SERVER, format_id
from bench.messages import TOOL
from bench.scale.comparison import Operation, Step
from bench.scale.worlds import World

_FIRST_REVOKED = 300
"""The number of the first token to revoke or narrow."""
_FIRST_NARROWED = 500


def _scope(world: World) -> dict[str, Any]:
    server = {"kind": "ids", "ids": [format_id(SERVER, world.loaded.server)]}
    return {"kind": "listed", "entries": [{"servers": server, "tools": {"kind": "names", "names": [TOOL]}}]}


def _issue(world: World, number: int) -> None:
    body = {
        "identity_id": world.identity(number),
        "name": f"another {number}",
        "scope": _scope(world),
        "expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
    }
    world.ask("POST", "/tokens", body, expected=201)


def _revoke(world: World, number: int) -> None:
    world.ask("POST", f"/tokens/{world.token(_FIRST_REVOKED + number)}/revoke", {"reason": "measured"})


def _narrow(world: World, number: int) -> None:
    world.ask("PATCH", f"/tokens/{world.token(_FIRST_NARROWED + number)}", {"scope": _scope(world)})


def _rename(world: World, number: int) -> None:
    world.ask("PATCH", f"/identities/{world.identity(number)}", {"display_name": f"Renamed {number}"})


def _grant(world: World, number: int) -> None:
    body = {
        "principal": {"type": "identity", "id": world.identity(number)},
        "servers": {"kind": "ids", "ids": [format_id(SERVER, world.loaded.server)]},
        "tools": {"kind": "names", "names": [TOOL]},
    }
    made = world.ask("POST", "/grants", body, expected=201)
    world.ask("DELETE", f"/grants/{made['id']}", expected=204)


def _offboard(world: World, number: int) -> None:
    # Choose people from the end, because other operations use the first ones.
    person = world.loaded.size.identities - 10 - number // 5 * 10 - number % 5
    world.ask("POST", f"/identities/{world.identity(person)}/offboard", {"reason": "measured"})


def _in(do: Callable[[World, int], object]) -> Callable[[World], Step]:
    return lambda world: lambda number: do(world, number)


CHANGES = (
    Operation("issue a token", _in(_issue)),
    Operation("narrow a token", _in(_narrow)),
    Operation("revoke a token", _in(_revoke)),
    Operation("rename a person", _in(_rename)),
    Operation("make a grant, and end it", _in(_grant)),
    Operation("offboard a person", _in(_offboard)),
)
