"""Databases for tests: one PostgreSQL for each pytest session, a migrated template, a copy for each test.

The processes of a session (the controller and xdist's workers) share the embedded cluster of one
directory, whose path the controller passes on in the environment. The first test that asks for a database
starts it; the controller stops it at the end. ``SCOPEGATE_TEST_DATABASE_URL`` (a superuser's or
``CREATEDB`` user's address) puts an existing server in its place.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from app.kit.embedded_postgres import EmbeddedPostgres

_SHARED_DIR = "SG_TEST_SHARED_DIR"
_EXTERNAL = "SCOPEGATE_TEST_DATABASE_URL"
_ROOM = 2 * 1024**3
_SETTINGS = {"shared_buffers": "64MB", "max_wal_size": "256MB"}

_cluster: EmbeddedPostgres | None = None


def open_session() -> None:
    """In the controller, before the workers: make the directory that the session shares."""
    shared = Path(tempfile.mkdtemp(prefix="sg-tests-", dir=_fast_directory()))
    shared.chmod(0o711)
    os.environ[_SHARED_DIR] = str(shared)


def _fast_directory() -> str:
    """In memory where there is room: a copy of the template is hundreds of files, which disks are slow to make."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM
    return str(memory) if roomy else "/tmp"


def close_session() -> None:
    """In the controller, after the workers: stop the cluster if any test has started it."""
    shared = Path(os.environ.pop(_SHARED_DIR))
    if (shared / "template").exists() and _EXTERNAL in os.environ:
        _execute(os.environ[_EXTERNAL], f'DROP DATABASE "{(shared / "template").read_text()}" WITH (FORCE)')
    if (shared / "data").exists():
        # A worker started it and is gone: starting again adopts what it left.
        cluster = _cluster or EmbeddedPostgres(shared / "data", extra_settings=_SETTINGS)
        cluster.start()
        cluster.stop()
    shutil.rmtree(shared)


@contextlib.contextmanager
def temporary_database(*, migrated: bool = True) -> Iterator[str]:
    """The URL of a database of one's own (``postgresql://...``), dropped afterwards: a copy of the
    migrated template, or empty."""
    server = server_url()
    name = f"test_{uuid.uuid4().hex}"
    template = _template(server) if migrated else "template0"
    _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield _with_database(server, name)
    finally:
        _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def server_url() -> str:
    """The address of the session's server, started if it is not running yet."""
    global _cluster
    external = os.environ.get(_EXTERNAL)
    if external:
        return external
    if _cluster is None:
        cluster = EmbeddedPostgres(Path(os.environ[_SHARED_DIR]) / "data", extra_settings=_SETTINGS)
        cluster.start()
        _cluster = cluster
    return _cluster.url("postgres", "postgres")


def _template(server: str) -> str:
    """The name of the session's migrated database, made by the first who asks."""
    record = Path(os.environ[_SHARED_DIR]) / "template"
    with record.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            name = f"template_{uuid.uuid4().hex}"
            _execute(server, f'CREATE DATABASE "{name}" TEMPLATE template0')
            # Late: a test that needs no database must not need the migrations either.
            from app.kit.migrations import upgrade

            _run(upgrade(_with_database(server, name)))
            record.write_text(name)
    return record.read_text()


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


def _run(work: Coroutine[Any, Any, None]) -> None:
    # A loop of its own, never set as the thread's current one: pytest-asyncio keeps its own there.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(work)
