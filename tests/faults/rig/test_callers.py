"""Callers know their access."""

from random import Random
from typing import Any, cast

from tests.faults.rig.callers import Callers
from tests.faults.rig.fleet import Cell, Fleet, Token
from tests.faults.wire import Way


def test_a_caller_does_not_mistake_its_own_new_server_for_another() -> None:
    cells = [Cell(slug=f"{n}", full=Token(f"{n}", Way(f"{n}", "secret"), 0.0)) for n in range(3)]
    unused = cast("Any", None)
    callers = Callers(Fleet(unused, unused, "", cells), unused, Random(1))
    for cell in cells:
        # The server is a new one, the token still that of before.
        cell.slug = f"new {cell.slug}"
    chosen = [callers._choice() for _ in range(500)]
    of_others = [(token.id, server) for token, _, server in chosen if server]
    assert of_others
    assert all(server != f"new {id}" for id, server in of_others)
