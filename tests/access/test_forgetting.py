"""Ended tokens and credentials of deleted servers are removed from memory too."""

import gc
from typing import Any

import asyncpg
import pytest

from app.access.reading import TokenEntry
from app.access.snapshot import AccessSnapshot
from app.crypto.keys import Peppers, Sealer
from app.db.clock import DatabaseClock
from app.outbound.client_tokens import UpstreamTarget
from tests.access.test_fleet_reads import Pool
from tests.admission.world import KEY, make_world
from tests.features.principals import Sessions


def held(kind: type) -> list[Any]:
    """All referenced objects of a class."""
    gc.collect()
    return [one for one in gc.get_objects() if type(one) is kind]


@pytest.mark.parametrize("by_name", [True, False])
async def test_what_is_forgotten_is_let_go(database_url: str, sessions: Sessions, by_name: bool) -> None:
    connection = await asyncpg.connect(database_url)
    world = await make_world(connection)
    pool: Any = Pool(connection)
    unused: Any = None
    snapshot = AccessSnapshot(pool, sessions, Peppers([KEY]), Sealer([KEY]), unused, DatabaseClock())
    before = [len(held(kind)) for kind in (TokenEntry, UpstreamTarget)]
    credential = world.credential
    assert await snapshot.token(credential) is not None
    fleet, _ = await snapshot.fleet()
    await snapshot.target(fleet.servers[world.server], world.person)
    assert [len(held(kind)) for kind in (TokenEntry, UpstreamTarget)] == [had + 1 for had in before]
    snapshot.forget({world.token, world.server} if by_name else None)
    assert [len(held(kind)) for kind in (TokenEntry, UpstreamTarget)] == before
    await connection.close()
