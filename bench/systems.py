"""The systems under test: the upstream only, two plain proxies, and the gateway's endpoints."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from bench.load import Work
from bench.messages import LEGACY, MODERN, TOOL, make_requests
from bench.processes import Running
from bench.seed import SLUG
from bench.testbed import Testbed

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
    """A system under load, in a process of its own."""

    name: str
    process: Running
    work: Work
    warm_calls: int
    """Number of calls after which the system is warm."""
    records: bool = False
    """Whether it uses the database, whose CPU time then counts for its calls."""


def plain(testbed: Testbed, process: Running, name: str) -> System:
    """Return the upstream, or a proxy in front of it, called with every token."""
    return _system(testbed, process, name, "/mcp", TOOL, MODERN, records=False)


def mirror(
    testbed: Testbed,
    gateway: Running,
    name: str = MIRROR,
    version: str = MODERN,
    tokens: slice = _ALL,
) -> System:
    """Return the endpoint of one server on a gateway, called with all tokens or some of them."""
    return _system(testbed, gateway, name, f"/mcp/{SLUG}", TOOL, version, records=True, tokens=tokens)


def fleet(testbed: Testbed, gateway: Running) -> System:
    """Return the endpoint of all servers on a gateway, called with every token."""
    return _system(testbed, gateway, FLEET, "/mcp", f"{SLUG}__{TOOL}", MODERN, records=True)


def _system(
    testbed: Testbed,
    process: Running,
    name: str,
    path: str,
    tool: str,
    version: str,
    *,
    records: bool,
    tokens: slice = _ALL,
) -> System:
    credentials = testbed.seeded.credentials[tokens]
    work = make_requests(f"127.0.0.1:{process.port}", path, tool, version, credentials)
    # After each token was used once, no call reads the database first.
    return System(name, process, work, 2 * len(credentials), records=records)


@contextlib.contextmanager
def running(testbed: Testbed) -> Iterator[tuple[System, ...]]:
    """Start all systems, and stop them at the end. Raises ``CannotMeasure``."""
    with contextlib.ExitStack() as stack:
        upstream = str(testbed.upstream.port)
        raw = stack.enter_context(testbed.module("raw_proxy", upstream))
        aiohttp = stack.enter_context(testbed.module("aiohttp_proxy", upstream))
        gateway = stack.enter_context(testbed.gateway("gateway", {testbed.cores.system}))
        yield (
            plain(testbed, testbed.upstream, DIRECT),
            plain(testbed, raw, RAW),
            plain(testbed, aiohttp, AIOHTTP),
            mirror(testbed, gateway),
            mirror(testbed, gateway, MIRROR_LEGACY, LEGACY),
            fleet(testbed, gateway),
        )
