"""Reads of a large fleet for the snapshot: in pieces, and later only the requested servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from app.access import reading
from app.access.reading import consistent, read_fleet
from app.access.snapshot import AccessSnapshot
from app.admission.postgres_store import SnapshotReads
from app.admission.store import View
from app.crypto.keys import Peppers
from app.db.clock import DatabaseClock
from app.domain.access import FLEET_ID, POLICY_SET_ID
from app.domain.errors import StoreUnavailable, TooManyLookups
from tests.admission.world import KEY, Connection, World, make_world

_MANY = 5


class Pool:
    """A pool with one database connection, or none during an outage."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.away = False

    @asynccontextmanager
    async def acquire(self, timeout: float) -> AsyncIterator[Connection]:  # noqa: ASYNC109
        if self.away:
            raise OSError
        yield self._connection


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def snapshot_of(pool: Any) -> AccessSnapshot:
    unused: Any = None
    return AccessSnapshot(pool, unused, Peppers([KEY]), unused, unused, DatabaseClock())


async def many(connection: Connection) -> list[UUID]:
    return [(await make_world(connection)).server for _ in range(_MANY)]


async def move(connection: Connection, *ids: UUID) -> None:
    await connection.execute("UPDATE access_versions SET version = version + 1 WHERE id = ANY($1)", ids)


async def seen(snapshot: AccessSnapshot, *ids: UUID) -> list[int]:
    fleet, _ = await snapshot.fleet()
    return [fleet.servers[id].version for id in ids]


async def test_a_fleet_that_comes_in_pieces_is_whole(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = await many(connection)
    monkeypatch.setattr(reading, "SERVERS_AT_ONCE", 2)

    async with consistent(connection):
        fleet = (await read_fleet(connection, None)).build()

    assert set(fleet.servers) == set(servers)
    assert all(set(fleet.servers[id].tools) == {"get_time", "set_time"} for id in servers)
    assert list(fleet.by_slug) == sorted(fleet.by_slug)


async def test_what_is_asked_about_is_read_anew_and_the_rest_of_the_fleet_is_as_it_was_known(
    connection: Connection,
) -> None:
    one, other, *_ = await many(connection)
    snapshot = snapshot_of(Pool(connection))
    await snapshot.fleet()
    await move(connection, one, other)

    await snapshot.fleet(fresh=True, only=[one])
    assert await seen(snapshot, one, other) == [2, 1]

    await snapshot.fleet(fresh=True)
    assert await seen(snapshot, one, other) == [2, 2]


async def test_what_a_notification_names_is_read_before_the_fleet_is_used_again(
    connection: Connection,
) -> None:
    one, other, *_ = await many(connection)
    snapshot = snapshot_of(Pool(connection))
    await snapshot.fleet()
    await move(connection, one, other)

    snapshot.forget({one})
    assert await seen(snapshot, one, other) == [2, 1]

    snapshot.forget(None)
    assert await seen(snapshot, one, other) == [2, 2]


async def test_a_read_that_failed_is_made_up_for_by_the_next(connection: Connection) -> None:
    one, other, *_ = await many(connection)
    pool = Pool(connection)
    snapshot = snapshot_of(pool)
    await snapshot.fleet()
    await move(connection, one, other)
    snapshot.forget({one})
    pool.away = True
    with pytest.raises(StoreUnavailable):
        await snapshot.fleet()
    pool.away = False

    await snapshot.fleet(fresh=True, only=[other])

    assert await seen(snapshot, one, other) == [2, 2]


async def test_all_who_ask_before_a_read_begins_find_what_they_asked_about(connection: Connection) -> None:
    one, other, third, *_ = await many(connection)
    snapshot = snapshot_of(Pool(connection))
    await snapshot.fleet()
    await move(connection, one, other, third)

    await asyncio.gather(*(snapshot.fleet(fresh=True, only=[id]) for id in (one, other)))

    assert await seen(snapshot, one, other, third) == [2, 2, 1]


async def view_of(port: SnapshotReads, world: World) -> View:
    view = await port.resolve(world.credential)
    assert view is not None
    return view


async def refreshed(port: SnapshotReads, view: View, *ids: UUID) -> list[int]:
    fresh = await port.refresh(view)
    assert fresh is not None
    return [fresh.directory.servers[id].version for id in ids]


async def test_a_view_that_is_old_is_refreshed_with_servers_that_were_added_since(
    connection: Connection,
) -> None:
    world, unused = await make_world(connection), cast("Any", None)
    port = SnapshotReads(snapshot_of(Pool(connection)), unused)
    old = await view_of(port, world)
    added = (await make_world(connection)).server
    await move(connection, FLEET_ID)
    assert await refreshed(port, old, added) == [1]
    await move(connection, added)

    assert await refreshed(port, old, added) == [2]


async def test_a_view_that_is_old_is_refreshed_with_servers_that_were_granted_since(
    connection: Connection,
) -> None:
    world, unused = await make_world(connection), cast("Any", None)
    other = (await make_world(connection)).server
    await connection.execute(
        "UPDATE grants SET servers = jsonb_build_object('kind', 'ids', 'ids', jsonb_build_array($2::text))"
        " WHERE id = $1", world.grant, str(world.server),
    )  # fmt: skip
    port = SnapshotReads(snapshot_of(Pool(connection)), unused)
    old = await view_of(port, world)
    await move(connection, other)
    assert await refreshed(port, old, other) == [1], "nobody looks at what is out of reach"
    await connection.execute('UPDATE grants SET servers = \'{"kind": "all"}\' WHERE id = $1', world.grant)
    await move(connection, world.grant)

    assert await refreshed(port, old, other) == [2]


async def test_a_token_that_was_forgotten_is_read_anew_however_many_unknown_ones_wait(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await make_world(connection)
    snapshot = snapshot_of(Pool(connection))
    assert await snapshot.token(world.credential) is not None
    snapshot.forget(None)
    monkeypatch.setattr("app.access.snapshot.COLD_QUEUE", 0)
    with pytest.raises(TooManyLookups):
        await snapshot.token(world.credential)
    assert await snapshot.token(world.credential, fresh=True) is not None


async def test_a_look_that_finds_nothing_changed_makes_no_fleet_anew(connection: Connection) -> None:
    await many(connection)
    snapshot = snapshot_of(Pool(connection))
    before, _ = await snapshot.fleet()
    await move(connection, POLICY_SET_ID)
    after, context = await snapshot.fleet(fresh=True)
    assert (context.policy_version, after.policy_version) == (before.policy_version + 1,) * 2
    assert after.servers is before.servers
    assert after.by_slug is before.by_slug
