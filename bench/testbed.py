"""The testbed of a benchmark: a filled database, a fast upstream, and the real gateway."""

import asyncio
import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from app.crypto.keys import Peppers
from app.db.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from app.db.engine import commit, make_engine, make_sessions
from app.db.migrations import upgrade
from app.features.service_accounts.service import bootstrap
from bench import policies
from bench.processes import CannotMeasure, Cores, Running, child, parent_pid, python
from bench.seed import SLUG, Seeded, seed
from tests.ports import free_port

DATABASE = "bench"
_OWNER, _SERVING_ROLE = "postgres", "scopegate"
Filling = Callable[[str, bytes, str], Coroutine[Any, Any, Seeded]]
"""Fills a database; gets its owner's URL, the pepper, and the upstream's URL."""


@dataclass(frozen=True, slots=True)
class Testbed:
    """A database, an upstream, and a folder for more processes."""

    place: Path
    cores: Cores
    owner_url: str
    serving_url: str
    postmaster: int
    seeded: Seeded
    upstream: Running
    keys: dict[str, str] = field(repr=False)
    owner: tuple[str, str] = field(repr=False)
    """Client id and secret of a service account with the role owner."""

    def gateway(self, name: str, cores: Collection[int], **settings: str) -> AbstractContextManager[Running]:
        """Run ``scopegate serve``. ``settings`` are environment variables."""
        port = free_port()
        environment = {
            **os.environ,
            **self.keys,
            "SCOPEGATE_DATABASE_URL": self.serving_url,
            "SCOPEGATE_DATA_DIR": str(self.place / name),
            "SCOPEGATE_HOST": "127.0.0.1",
            "SCOPEGATE_PORT": str(port),
            "SCOPEGATE_UPSTREAM_ALLOWED_NETWORKS": "127.0.0.1/32",
            **settings,
        }
        command = python("-m", "app.cli", "serve")
        return child(command, port, cores, self.place / f"{name}.log", environment)

    def module(self, name: str, *arguments: str) -> AbstractContextManager[Running]:
        """Run ``python -m bench.<name> PORT <arguments>`` on the core of the system under test."""
        port = free_port()
        command = python("-m", f"bench.{name}", str(port), *arguments)
        return child(command, port, {self.cores.system}, self.place / f"{name}.log")

    def bearer(self, gateway: Running) -> str:
        """Get an access token for the API of a gateway, with the role owner."""
        with httpx2.Client(trust_env=False, timeout=30) as client:
            answer = client.post(
                f"http://127.0.0.1:{gateway.port}/oauth/token",
                data={"grant_type": "client_credentials"},
                auth=self.owner,
            )
        if answer.status_code != 200:
            raise CannotMeasure(f"signing in answered {answer.status_code}: {answer.text}")
        return str(answer.json()["access_token"])


@contextlib.contextmanager
def start_testbed(
    cores: Cores, tokens: int, published: int = 0, fill: Filling | None = None
) -> Iterator[Testbed]:
    """Start a testbed with this many tokens and policies, or with the data of ``fill``. Raises ``CannotMeasure``."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scopegate-bench-")))
        # As root, the cluster's system user needs access to this folder, which is removed with the cluster.
        place.chmod(0o711)
        # The cluster inherits the cores of this process, which exclude that of the system under test.
        cluster = _cluster(stack, place)
        owner = cluster.url(DATABASE, _OWNER)
        postmaster = asyncio.run(_prepare(owner))
        port = free_port()
        upstream = stack.enter_context(
            child(
                python("-m", "bench.fake_upstream", str(port)),
                port,
                os.sched_getaffinity(0),
                place / "upstream.log",
            )
        )
        keys = {
            f"SCOPEGATE_{name}": secrets.token_urlsafe(48)
            for name in ("TOKEN_PEPPER", "ENCRYPTION_KEY", "SIGNING_KEY")
        }
        pepper = keys["SCOPEGATE_TOKEN_PEPPER"].encode()
        signs_in = asyncio.run(_bootstrap(owner, pepper))
        filling = fill or partial(seed, tokens=tokens)
        seeded = asyncio.run(filling(owner, pepper, f"http://127.0.0.1:{port}/mcp"))
        if published:
            asyncio.run(policies.publish(owner, policies.others(published, SLUG, seeded.groups)))
        serving = cluster.url(DATABASE, _SERVING_ROLE)
        yield Testbed(place, cores, owner, serving, postmaster, seeded, upstream, keys, signs_in)


def _cluster(stack: contextlib.ExitStack, place: Path) -> EmbeddedPostgres:
    try:
        cluster = stack.enter_context(EmbeddedPostgres(place / "data"))
        cluster.ensure_database(DATABASE)
    except EmbeddedPostgresError as error:
        raise CannotMeasure(str(error)) from error
    return cluster


async def _prepare(owner: str) -> int:
    """Create the serving role and the schema, as in production; returns the process id of the postmaster."""
    connection = await asyncpg.connect(owner)
    try:
        await connection.execute(f'CREATE ROLE "{_SERVING_ROLE}" LOGIN')
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        postmaster = parent_pid(backend)
    finally:
        await connection.close()
    await upgrade(owner, serving_role=_SERVING_ROLE)
    return postmaster


async def _bootstrap(owner_url: str, pepper: bytes) -> tuple[str, str]:
    engine = make_engine(owner_url)
    try:
        async with make_sessions(engine)() as session:
            made = await bootstrap(session, Peppers([pepper]))
            await commit(session)
    finally:
        await engine.dispose()
    return made.client_id, made.client_secret
