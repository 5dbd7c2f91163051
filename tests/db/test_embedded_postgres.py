"""Embedded PostgreSQL keeps its data, recovers after a kill and changes no foreign directories."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.db.embedded_postgres import SYSTEM_DIR, EmbeddedPostgres, EmbeddedPostgresError

# Each test starts, and most kill, its own servers.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
START_AND_DIE = """
import os, pathlib, signal, sys
from app.db.embedded_postgres import EmbeddedPostgres
EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()
os.kill(os.getpid(), signal.SIGKILL)
"""
# These clusters live for a second.
SMALL = {"shared_buffers": "16MB", "max_connections": "20", "io_method": "sync"}


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that any user can traverse, like ``/srv/scopegate``."""
    parent = Path(tempfile.mkdtemp(prefix="sg-", dir="/tmp"))
    parent.chmod(0o711)
    yield parent / "data"
    forget(parent / "data")
    shutil.rmtree(parent)


def forget(data_dir: Path) -> None:
    """Remove the cluster that root may have created outside the data directory."""
    record = data_dir / "postgres.location"
    if record.exists():
        home = Path(record.read_text().strip())
        assert home.parent == SYSTEM_DIR
        shutil.rmtree(home)


def sql(database: EmbeddedPostgres, statement: str) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(database.url("postgres", "postgres"))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


def postmaster(database: EmbeddedPostgres) -> int:
    pid_file = sql(database, "SELECT pg_read_file('postmaster.pid')")
    return int(pid_file.splitlines()[0])


def test_data_is_kept_across_restarts(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as database:
        sql(database, "CREATE TABLE kept (n int)")
        sql(database, "INSERT INTO kept VALUES (42)")
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as database:
        assert sql(database, "SELECT n FROM kept") == 42


def test_what_is_committed_outlives_a_killed_server(data_dir: Path) -> None:
    database = EmbeddedPostgres(data_dir, extra_settings=SMALL)
    database.start()
    sql(database, "CREATE TABLE kept (n int)")
    sql(database, "INSERT INTO kept VALUES (42)")
    os.kill(postmaster(database), signal.SIGKILL)
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as again:
        assert sql(again, "SELECT n FROM kept") == 42
    database.stop()


def test_a_stale_pid_that_now_belongs_to_a_stranger_is_no_obstacle(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as database:
        cluster = Path(sql(database, "SHOW data_directory"))
    # The id of a running process that is not PostgreSQL: this one.
    (cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}\n1\n5432\n\n\n\nready\n")
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as database:
        assert sql(database, "SELECT 1") == 1


def test_a_second_process_shares_the_running_server_and_leaves_it_alone(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as owner:
        with EmbeddedPostgres(data_dir, extra_settings=SMALL) as guest:
            assert (owner.owns, guest.owns) == (True, False)
            assert guest.url("postgres", "postgres") == owner.url("postgres", "postgres")
        assert sql(owner, "SELECT 1") == 1


def test_a_server_left_over_by_a_killed_owner_is_adopted_and_stopped(data_dir: Path) -> None:
    child = subprocess.run([sys.executable, "-c", START_AND_DIE, str(data_dir)], cwd=ROOT, check=False)
    assert child.returncode == -signal.SIGKILL
    adopter = EmbeddedPostgres(data_dir, extra_settings=SMALL)
    adopter.start()
    address = adopter.url("postgres", "postgres")
    assert adopter.owns
    adopter.stop()
    with pytest.raises((OSError, asyncpg.PostgresError)):
        asyncio.run(asyncpg.connect(address))


def test_it_listens_on_a_private_socket_alone_and_keeps_fsync_on(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as database:
        assert sql(database, "SHOW listen_addresses") == ""
        assert sql(database, "SHOW fsync") == "on"
        sockets = Path(sql(database, "SHOW unix_socket_directories"))
        assert sockets.stat().st_mode & 0o777 == 0o700


def test_a_data_dir_with_a_path_too_long_for_a_socket_works(data_dir: Path) -> None:
    long = data_dir / ("deep" * 20) / "it's here"
    with EmbeddedPostgres(long, extra_settings=SMALL) as database:
        assert sql(database, "SELECT 1") == 1
        sockets = Path(sql(database, "SHOW unix_socket_directories"))
        assert len(str(sockets)) < 100
    assert not sockets.exists()
    forget(long)


def test_no_directory_that_it_did_not_make_is_opened(data_dir: Path) -> None:
    private = data_dir.parent / "private"
    private.mkdir(mode=0o700)
    above = [private, *private.parents]
    before = [step.stat().st_mode for step in above]
    with EmbeddedPostgres(private / "data", extra_settings=SMALL) as database:
        assert sql(database, "SELECT 1") == 1
    assert [step.stat().st_mode for step in above] == before
    forget(private / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the cluster to another user")
def test_as_root_it_serves_a_data_dir_under_a_private_home() -> None:
    data = Path(tempfile.mkdtemp(dir=Path.home()))
    try:
        with EmbeddedPostgres(data, extra_settings=SMALL) as database:
            pid = postmaster(database)
            owner = Path(f"/proc/{pid}").stat().st_uid
            assert owner not in (0, 65534)
            sql(database, "CREATE TABLE kept AS SELECT 42 AS n")
        with EmbeddedPostgres(data, extra_settings=SMALL) as database:
            assert sql(database, "SELECT n FROM kept") == 42
        forget(data)
    finally:
        shutil.rmtree(data)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_root_serves_the_cluster_that_an_ordinary_user_made(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as database:
        sql(database, "CREATE TABLE kept AS SELECT 42 AS n")
    for path in (data_dir, *data_dir.rglob("*")):
        os.chown(path, 12345, 12345)
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as database:
        assert Path(f"/proc/{postmaster(database)}").stat().st_uid == 12345
        assert sql(database, "SELECT n FROM kept") == 42


def test_ensure_database_creates_once(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, extra_settings=SMALL) as database:
        assert [database.ensure_database("Scope gate"), database.ensure_database("Scope gate")] == [
            True,
            False,
        ]


def test_a_start_that_fails_says_why_in_one_line(data_dir: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="did not start") as failure:
        EmbeddedPostgres(data_dir, extra_settings={"no_such_setting": "1"}).start()
    assert "\n" not in str(failure.value)
    assert "postgres.log" in str(failure.value)
