"""What is measured, each as it runs: the upstream alone, two plain proxies, and the gateway at its endpoints."""

import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.kit.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from app.kit.migrations import upgrade
from bench.messages import LEGACY, MODERN, TOOL, Requests, make_requests
from bench.processes import CannotMeasure, Cores, child, free_port, parent_of
from bench.seed import SLUG, seed

DIRECT = "direct"
AIOHTTP = "aiohttp proxy"
RAW = "raw proxy"
MIRROR = "gateway /mcp/{slug}"
MIRROR_LEGACY = "gateway /mcp/{slug}, legacy"
FLEET = "gateway /mcp"

_DATABASE, _OWNER, _SERVING_ROLE = "bench", "postgres", "scopegate"


@dataclass(frozen=True, slots=True)
class System:
    """One thing under load: where it listens, what it is sent, and whose CPU time is its own."""

    name: str
    port: int
    pid: int
    requests: Requests
    log: Path
    """What its process wrote."""
    records: bool = False
    """Whether it works on the database, whose CPU time then belongs to its calls."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that runs."""

    systems: tuple[System, ...]
    postmaster: int


@contextlib.contextmanager
def running(cores: Cores, tokens: int) -> Iterator[Fleet]:
    """Start it all and stop it at the end. Raises ``CannotMeasure``."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scopegate-bench-")))
        ports = {name: free_port() for name in ("upstream", "raw", "aiohttp", "gateway")}
        # Started from here, where only the one core is allowed, the cluster stays on that core.
        cluster = _cluster(stack, place)
        owner = cluster.url(_DATABASE, _OWNER)
        pepper = secrets.token_urlsafe(48)
        upstream_url = f"http://127.0.0.1:{ports['upstream']}/mcp"
        postmaster = asyncio.run(_prepare(owner))
        credentials = asyncio.run(seed(owner, pepper.encode(), upstream_url, tokens))

        def start(name: str, core: int, *arguments: str, environment: dict[str, str] | None = None) -> int:
            return stack.enter_context(
                child(("-m", *arguments), ports[name], core, place / f"{name}.log", environment)
            )

        upstream_port = str(ports["upstream"])
        pids = {
            "upstream": start("upstream", cores.rest, "bench.fake_upstream", upstream_port),
            "raw": start("raw", cores.system, "bench.raw_proxy", str(ports["raw"]), upstream_port),
            "aiohttp": start(
                "aiohttp", cores.system, "bench.aiohttp_proxy", str(ports["aiohttp"]), upstream_port
            ),
            "gateway": start(
                "gateway",
                cores.system,
                "app.cli",
                "serve",
                environment=_environment(
                    cluster.url(_DATABASE, _SERVING_ROLE), pepper, place, ports["gateway"]
                ),
            ),
        }

        def system(
            name: str, process: str, path: str = "/mcp", tool: str = TOOL, version: str = MODERN
        ) -> System:
            host = f"127.0.0.1:{ports[process]}"
            requests = make_requests(host, path, tool, version, credentials)
            return System(
                name,
                ports[process],
                pids[process],
                requests,
                place / f"{process}.log",
                records=process == "gateway",
            )

        yield Fleet(
            (
                system(DIRECT, "upstream"),
                system(RAW, "raw"),
                system(AIOHTTP, "aiohttp"),
                system(MIRROR, "gateway", f"/mcp/{SLUG}"),
                system(MIRROR_LEGACY, "gateway", f"/mcp/{SLUG}", version=LEGACY),
                system(FLEET, "gateway", "/mcp", f"{SLUG}__{TOOL}"),
            ),
            postmaster,
        )


def _cluster(stack: contextlib.ExitStack, place: Path) -> EmbeddedPostgres:
    try:
        cluster = stack.enter_context(EmbeddedPostgres(place / "data"))
        cluster.ensure_database(_DATABASE)
    except EmbeddedPostgresError as error:
        raise CannotMeasure(str(error)) from error
    return cluster


async def _prepare(owner: str) -> int:
    """Make the serving role and the schema, as production has them; the id of the cluster's first process."""
    connection = await asyncpg.connect(owner)
    try:
        await connection.execute(f'CREATE ROLE "{_SERVING_ROLE}" LOGIN')
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        postmaster = parent_of(backend)
    finally:
        await connection.close()
    await upgrade(owner, serving_role=_SERVING_ROLE)
    return postmaster


def _environment(database_url: str, pepper: str, place: Path, port: int) -> dict[str, str]:
    return {
        "SCOPEGATE_DATABASE_URL": database_url,
        "SCOPEGATE_DATA_DIR": str(place / "gateway"),
        "SCOPEGATE_HOST": "127.0.0.1",
        "SCOPEGATE_PORT": str(port),
        "SCOPEGATE_TOKEN_PEPPER": pepper,
        "SCOPEGATE_ENCRYPTION_KEY": secrets.token_urlsafe(48),
        "SCOPEGATE_SIGNING_KEY": secrets.token_urlsafe(48),
        "SCOPEGATE_UPSTREAM_ALLOWED_NETWORKS": "127.0.0.1/32",
    }
