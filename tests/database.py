"""Databases for tests: one PostgreSQL for each pytest session, a migrated template, and copies of it.

The processes of a session (the controller and xdist's workers) share the embedded cluster of one
directory, whose path the controller passes on in the environment. The first test that asks for a database
starts it; the controller stops it at the end, or a watchdog if the session is killed.
``SCOPEGATE_TEST_DATABASE_URL`` (a superuser's or ``CREATEDB`` user's address) puts an existing server in its
place.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Coroutine, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from app.db.embedded_postgres import EmbeddedPostgres
from tests import kept_connections
from tests.reusing import NotAsMade, ReusedDatabase
from tests.watchdog import PREFIX, SHARED_DIR, dismiss, remove_leftovers, watch

# Inside a call that waits, a handler of signals reads the true clock, by which no alarm is due for days.
needs_lock_timeouts = pytest.mark.skipif(
    "FAKETIME" in os.environ, reason="faketime(1) stops lock_timeout and deadlock_timeout of PostgreSQL"
)

_EXTERNAL = "SCOPEGATE_TEST_DATABASE_URL"
_MEMORY = Path("/dev/shm")
_DISK = Path("/tmp")
_ROOM = 2 * 1024**3
# Nothing is vacuumed but where databases are put back: what a test finds must not hang on when it runs.
_SETTINGS = {"shared_buffers": "64MB", "max_wal_size": "256MB", "autovacuum": "off", "max_connections": "500"}

_Result = TypeVar("_Result")

_cluster: EmbeddedPostgres | None = None
_runner: asyncio.Runner | None = None
_watchdog: tuple[int, "subprocess.Popen[bytes]"] | None = None
# Those that no test has now, by name.
_spare: dict[str, ReusedDatabase] = {}


def open_session() -> None:
    """In the controller, before the workers: make the directory that the session shares."""
    global _watchdog
    remove_leftovers((_MEMORY, _DISK))
    shared = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_fast_directory()))
    shared.chmod(0o711)
    _watchdog = watch(shared)
    os.environ[SHARED_DIR] = str(shared)


def close_process() -> None:
    """In each process: let go of the databases that it has kept."""
    while _spare:
        name, reused = _spare.popitem()
        kept_connections.drop(_with_database(server_url(), name))
        _run(reused.close())
        if _EXTERNAL in os.environ:
            _drop(os.environ[_EXTERNAL], name)
    _close_runner()


def _fast_directory() -> Path:
    """In memory where there is room: a copy of the template is hundreds of files, which disks are slow to make."""
    roomy = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    return _MEMORY if roomy else _DISK


def close_session() -> None:
    """In the controller, after the workers: stop the cluster if any test has started it."""
    global _watchdog
    shared = Path(os.environ.pop(SHARED_DIR))
    if (shared / "template").exists() and _EXTERNAL in os.environ:
        _execute(os.environ[_EXTERNAL], f'DROP DATABASE "{(shared / "template").read_text()}" WITH (FORCE)')
        _close_runner()
    if (shared / "data").exists():
        # A worker started it and is gone: starting again adopts what it left.
        cluster = _cluster or _embedded(shared)
        cluster.start()
        cluster.stop()
    shutil.rmtree(shared)
    if _watchdog is not None:
        dismiss(*_watchdog)
        _watchdog = None


@contextlib.contextmanager
def temporary_database(*, migrated: bool = True, fresh: bool = False) -> Iterator[str]:
    """The URL of a database of one's own (``postgresql://...``): as the migrations leave it, or empty.

    A migrated one is a copy of the template, or unless it has to be ``fresh`` one that another test of this
    process has had and that is what it was when it was copied.
    """
    server = server_url()
    if fresh or not migrated:
        name = _made(server, _template(server) if migrated else "template0")
        try:
            yield _with_database(server, name)
        finally:
            _drop(server, name)
        return
    if not _spare:
        name = _made(server, _template(server))
        _spare[name] = _run(ReusedDatabase.just_made(_with_database(server, name)))
    name, reused = _spare.popitem()
    url = _with_database(server, name)
    kept_connections.keep(url)
    try:
        yield url
    finally:
        if _run(_is_put_back(reused, kept_connections.idle_backends(url))):
            _spare[name] = reused
        else:
            kept_connections.drop(url)
            _run(reused.close())
            _drop(server, name)


async def _is_put_back(reused: ReusedDatabase, kept: Iterable[int]) -> bool:
    try:
        await reused.put_back(kept)
    except (NotAsMade, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False
    return True


def _made(server: str, template: str) -> str:
    name = f"test_{uuid.uuid4().hex}"
    _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return name


def _drop(server: str, name: str) -> None:
    _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def server_url() -> str:
    """The address of the session's server, started if it is not running yet."""
    global _cluster
    external = os.environ.get(_EXTERNAL)
    if external:
        return external
    if _cluster is None:
        cluster = _embedded(Path(os.environ[SHARED_DIR]))
        cluster.start()
        _cluster = cluster
    return _cluster.url("postgres", "postgres")


def _embedded(shared: Path) -> EmbeddedPostgres:
    """With the clock of this run, which ``make test-later`` sets by these variables (``faketime(1)``)."""
    clock = ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC")
    environment = {name: os.environ[name] for name in clock if name in os.environ}
    return EmbeddedPostgres(shared / "data", extra_settings=_SETTINGS, environment=environment)


def _template(server: str) -> str:
    """The name of the session's migrated database, made by the first who asks."""
    record = Path(os.environ[SHARED_DIR]) / "template"
    with record.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            name = f"template_{uuid.uuid4().hex}"
            _execute(server, f'CREATE DATABASE "{name}" TEMPLATE template0')
            # Late: a test that needs no database must not need the migrations either.
            from app.db.migrations import upgrade
            from tests.recorded import demand_records

            _run(upgrade(_with_database(server, name)))
            _run(demand_records(_with_database(server, name)))
            _run(_made_months_ago(_with_database(server, name)))
            record.write_text(name)
    return record.read_text()


async def _made_months_ago(url: str) -> None:
    """Make the month before, too: what a test makes some days old has a place on the first of a month."""
    from app.db.partitions import maintain_partitions

    today = datetime.now(UTC)
    await maintain_partitions(url, keep=timedelta(days=400), now=today.replace(day=1) - timedelta(days=1))


def _with_database(server: str, name: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def _execute(url: str, statement: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    _run(execute())


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    # A loop of its own, never set as the thread's current one: pytest-asyncio keeps its own there.
    global _runner
    if _runner is None:
        _runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    return _runner.run(work)


def _close_runner() -> None:
    global _runner
    if _runner is not None:
        _runner.close()
        _runner = None
