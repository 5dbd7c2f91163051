"""The data directory of a server: kept between its processes, its own, and gone with it."""

import json
import os
from pathlib import Path
from uuid import uuid4

import pytest

from app.lib.ids import SERVER, format_id
from app.supervisor.isolation import FREE_USERS, DataDirectories, NoPlace
from tests.supervisor.world import World, alive, call, supervising, until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives each server a user of its own")
USERS = [pytest.param(None, id="as a user"), pytest.param(FREE_USERS, id="as root", marks=as_root)]


@pytest.mark.parametrize("users", USERS)
async def test_what_a_program_writes_is_there_for_the_next_one_of_its_server(
    passable: Path, users: range | None
) -> None:
    first, second = passable / "first", passable / "second"
    for path in (first, second):
        path.mkdir(mode=0o711)
    async with supervising(first, users, data=passable / "data") as world:
        worker = world.worker()
        server_id = worker.launch.server_id
        session = await worker.legacy()
        who = json.loads(await call(session, "who"))
        assert Path(who["data"]) == passable / "data" / format_id(SERVER, server_id)
        assert mode(Path(who["data"])) == 0o700
        assert await call(session, "writes", path="notes") == "4"
        assert await call(session, "writes", path=f"{who['home']}/notes") == "4"
        await session.close()
        again = await world.sibling(worker).legacy()
        environment = json.loads(await call(again, "environment"))
        assert environment["STATE_DIRECTORY"] == who["data"]
        assert await call(again, "reads", path="notes") == "kept"
        assert await call(again, "reads", path=f"{environment['HOME']}/notes") == "FileNotFoundError"
        launch = worker.launch
    # A service that starts again finds the same data and runs as the same user.
    async with supervising(second, users, data=passable / "data") as world:
        worker = world.worker()
        worker.launch = launch
        session = await worker.legacy()
        assert await call(session, "reads", path="notes") == "kept"
        assert json.loads(await call(session, "who"))["uid"] == who["uid"]


@pytest.mark.parametrize("users", USERS)
async def test_nothing_of_a_deleted_server_is_left_and_its_user_is_no_one_elses(
    passable: Path, users: range | None
) -> None:
    async with supervising(passable, users) as world:
        worker, kept = world.worker(), world.worker()
        session, other = await worker.legacy(), await kept.legacy()
        who = json.loads(await call(session, "who"))
        for one in (session, other):
            assert await call(one, "writes", path="notes") == "4"
        pids = [int(await call(session, tool)) for tool in ("pid", "child")]
        left = Path(await call(session, "leaves"))
        assert set(await listed(world)) == {worker.launch.server_id.hex, kept.launch.server_id.hex}
        await world.forget(worker)
        assert not any(map(alive, pids))
        assert not is_there(Path(who["data"]))
        assert await listed(world) == [kept.launch.server_id.hex]
        assert await call(other, "reads", path="notes") == "kept"
        if users is None:
            left.unlink()  # noqa: ASYNC240
            return
        await until(lambda: not left.exists())
        assert json.loads(await call(await world.worker().legacy(), "who"))["uid"] != who["uid"]


@as_root
async def test_data_that_cannot_be_removed_now_is_removed_when_it_can_be(passable: Path) -> None:
    async with supervising(passable, FREE_USERS) as world:
        worker = world.worker()
        session = await worker.legacy()
        who = json.loads(await call(session, "who"))
        root = Path(who["data"]).parent
        root.chmod(0o777)
        await world.forget(worker)
        assert await listed(world) == [worker.launch.server_id.hex]
        root.chmod(0o711)
        await world.forget(worker)
        assert await listed(world) == []


def mode(path: Path) -> int:
    """Who may do what with it."""
    return path.stat().st_mode & 0o777


def is_there(path: Path) -> bool:
    """Whether there is such a file."""
    return path.exists()


async def listed(world: World) -> list[str]:
    """The servers that the supervisor has data of, as it tells a worker."""
    return list(await world.worker().tell(b"/data", None))


@as_root
def test_a_user_rests_until_all_others_have_been_used_and_the_longest_unused_is_next(tmp_path: Path) -> None:
    users = FREE_USERS[-4:]
    data = DataDirectories(tmp_path / "data", users, tmp_path / "claims")
    servers = [uuid4() for _ in range(7)]
    own = [data.of(server)[1] for server in servers[:4]]
    assert set(own) == set(users)
    with pytest.raises(NoPlace, match="No user id is free"):
        data.of(servers[4])
    for age, server in enumerate(servers[:3]):
        path, uid = data.retire(server)
        os.utime(tmp_path / "data" / ".retired" / str(uid), (1000 + age, 1000 + age))
        with pytest.raises(NoPlace, match="No user id is free"):
            data.of(servers[4 + age])
        path.rmdir()
        assert data.of(servers[4 + age])[1] == uid
    for server in reversed(servers[4:7]):
        path, _ = data.retire(server)
        path.rmdir()
    for age, uid in enumerate((own[2], own[0], own[1])):
        os.utime(tmp_path / "data" / ".retired" / str(uid), (1000 + age, 1000 + age))
    assert [data.of(uuid4())[1] for _ in range(3)] == [own[2], own[0], own[1]]
    data.close()


@as_root
def test_two_supervisors_of_one_host_never_share_a_user(tmp_path: Path) -> None:
    users, claims = FREE_USERS[-8:], tmp_path / "claims"
    one, other = (DataDirectories(tmp_path / name, users, claims) for name in ("one", "other"))
    given = [directories.of(uuid4())[1] for directories in (one, other) for _ in range(4)]
    assert len(set(given)) == 8
    one.close()
    server = uuid4()
    other.of(server)
    other.close()
    taken = DataDirectories(tmp_path / "third", users, claims)
    for _ in users:
        taken.of(uuid4())
    again = DataDirectories(tmp_path / "other", users, claims)
    with pytest.raises(NoPlace, match="in use by another service"):
        again.of(server)
    taken.close()
    assert again.of(server)
    again.close()


@as_root
def test_a_root_that_others_can_change_is_not_used(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    root.chmod(0o777)
    data = DataDirectories(root, FREE_USERS, tmp_path / "claims")
    with pytest.raises(NoPlace, match="can be changed by other users"):
        data.of(uuid4())
    root.chmod(0o711)
    os.chown(root, FREE_USERS[0], -1)
    with pytest.raises(NoPlace, match="can be changed by other users"):
        data.of(uuid4())


@as_root
def test_a_directory_with_data_of_another_user_is_not_given_to_a_server(tmp_path: Path) -> None:
    data = DataDirectories(tmp_path, FREE_USERS, tmp_path / "claims")
    server = uuid4()
    path = tmp_path / format_id(SERVER, server)
    path.mkdir()
    (path / "file").touch()
    with pytest.raises(NoPlace, match="belongs to another user"):
        data.of(server)
