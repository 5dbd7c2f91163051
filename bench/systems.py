"""What a call goes through, each as it runs: the upstream alone, two plain proxies, and the gateway's endpoints."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from bench.ground import Ground
from bench.load import Work
from bench.messages import LEGACY, MODERN, TOOL, make_requests
from bench.processes import Running
from bench.seed import SLUG

DIRECT = "direct"
AIOHTTP = "aiohttp proxy"
RAW = "raw proxy"
MIRROR = "gateway /mcp/{slug}"
MIRROR_LEGACY = "gateway /mcp/{slug}, legacy"
FLEET = "gateway /mcp"
GATEWAY = (MIRROR, MIRROR_LEGACY, FLEET)
_ALL = slice(None)


@dataclass(frozen=True, slots=True)
class System:
    """One thing under load, and whose CPU time is its own."""

    name: str
    process: Running
    work: Work
    warm_calls: int
    """After so many calls the next are like all that follow."""
    records: bool = False
    """Whether it works on the database, whose CPU time then belongs to its calls."""


def plain(ground: Ground, process: Running, name: str) -> System:
    """The upstream, or a proxy before it, called with every token."""
    return _system(ground, process, name, "/mcp", TOOL, MODERN, records=False)


def mirror(
    ground: Ground,
    gateway: Running,
    name: str = MIRROR,
    version: str = MODERN,
    tokens: slice = _ALL,
) -> System:
    """The endpoint of one server on a gateway, called with every token, or some of them."""
    return _system(ground, gateway, name, f"/mcp/{SLUG}", TOOL, version, records=True, tokens=tokens)


def fleet(ground: Ground, gateway: Running) -> System:
    """The endpoint over all servers on a gateway, called with every token."""
    return _system(ground, gateway, FLEET, "/mcp", f"{SLUG}__{TOOL}", MODERN, records=True)


def _system(
    ground: Ground,
    process: Running,
    name: str,
    path: str,
    tool: str,
    version: str,
    *,
    records: bool,
    tokens: slice = _ALL,
) -> System:
    credentials = ground.seeded.credentials[tokens]
    work = make_requests(f"127.0.0.1:{process.port}", path, tool, version, credentials)
    # Once each token has been used, no call reads the database first.
    return System(name, process, work, 2 * len(credentials), records=records)


@contextlib.contextmanager
def running(ground: Ground) -> Iterator[tuple[System, ...]]:
    """Start all of them, and stop them at the end. Raises ``CannotMeasure``."""
    with contextlib.ExitStack() as stack:
        upstream = str(ground.upstream.port)
        raw = stack.enter_context(ground.module("raw_proxy", upstream))
        aiohttp = stack.enter_context(ground.module("aiohttp_proxy", upstream))
        gateway = stack.enter_context(ground.gateway("gateway", {ground.cores.system}))
        yield (
            plain(ground, ground.upstream, DIRECT),
            plain(ground, raw, RAW),
            plain(ground, aiohttp, AIOHTTP),
            mirror(ground, gateway),
            mirror(ground, gateway, MIRROR_LEGACY, LEGACY),
            fleet(ground, gateway),
        )
