"""FastMCP's proxy with its token verifier."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from app.cli.children import plain_environment
from bench.messages import MODERN, TOOL, make_requests
from bench.peers.environments import FOREIGN, package_version, programs
from bench.processes import child
from bench.systems import System
from bench.testbed import Testbed
from tests.ports import free_port

NAME = "FastMCP proxy"
_WARM_CALLS = 200


@contextlib.contextmanager
def running(testbed: Testbed) -> Iterator[tuple[System, str]]:
    """Run it with every token; yields its version too. Raises ``CannotMeasure``."""
    where, port = programs("fastmcp"), free_port()
    tokens = testbed.place / "tokens"
    tokens.touch(0o600)
    tokens.write_text("\n".join(testbed.seeded.credentials))
    command: list[str | Path] = [
        where / "python",
        FOREIGN / "fastmcp_proxy.py",
        str(port),
        str(testbed.upstream.port),
        tokens,
    ]
    cores, log = {testbed.cores.system}, testbed.place / "fastmcp.log"
    with child(command, port, cores, log, plain_environment(), testbed.place) as process:
        work = make_requests(f"127.0.0.1:{port}", "/mcp", TOOL, MODERN, testbed.seeded.credentials)
        yield System(NAME, process, work, _WARM_CALLS), package_version(where, "fastmcp")
