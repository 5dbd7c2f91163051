"""IBM ContextForge on SQLite, its fastest database for one process, with all optional features disabled.

Its callers have one session each, which is faster than without, and share one token, which saves lookups.
"""

import contextlib
import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from app.cli.children import plain_environment
from bench.messages import LEGACY, TOOL, Requests, make_requests
from bench.peers.environments import package_version, programs
from bench.processes import CannotMeasure, child
from bench.systems import System
from bench.testbed import Testbed
from tests.ports import free_port

NAME = "ContextForge"
_WARM_CALLS = 200
_SESSIONS = 64
_ADMIN = "admin@example.com"


@contextlib.contextmanager
def running(testbed: Testbed) -> Iterator[tuple[System, str]]:
    """Run it with the registered upstream and open sessions; yields its version too. Raises ``CannotMeasure``."""
    where, port = programs("contextforge"), free_port()
    place = testbed.place / "contextforge"
    place.mkdir()
    environment = _environment(place)
    command: list[str | Path] = [where / "mcpgateway", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
    cores, log = {testbed.cores.system}, testbed.place / "contextforge.log"
    with child(command, port, cores, log, environment, place) as process:
        token = _token(where, environment, place)
        work = _register(port, token, testbed.upstream.port)
        yield System(NAME, process, work, _WARM_CALLS), package_version(where, "mcp-contextforge-gateway")


def _environment(place: Path) -> dict[str, str]:
    off = (
        "MCPGATEWAY_UI_ENABLED", "MCPGATEWAY_ADMIN_API_ENABLED", "PLUGINS_ENABLED", "RATE_LIMITING_ENABLED",
        "RATE_LIMITING_REDIS_ENABLED", "TOKEN_USAGE_LOGGING_ENABLED", "DB_METRICS_RECORDING_ENABLED",
        "COMPRESSION_ENABLED", "SECURITY_HEADERS_ENABLED", "STRUCTURED_LOGGING_ENABLED", "REQUIRE_USER_IN_DB",
    )  # fmt: skip
    on = (
        "JSON_RESPONSE_ENABLED",
        "USE_STATEFUL_SESSIONS",
        "SSRF_ALLOW_LOCALHOST",
        "SSRF_ALLOW_PRIVATE_NETWORKS",
    )
    return {
        **plain_environment(),
        **dict.fromkeys(off, "false"),
        **dict.fromkeys(on, "true"),
        "DATABASE_URL": f"sqlite:///{place}/mcp.db",
        "CACHE_TYPE": "memory",
        "LOG_LEVEL": "ERROR",
        "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_ENCRYPTION_SECRET": secrets.token_urlsafe(48),
        "PLATFORM_ADMIN_EMAIL": _ADMIN,
        "PLATFORM_ADMIN_PASSWORD": f"Aa1!{secrets.token_urlsafe(24)}",
    }


def _token(where: Path, environment: Mapping[str, str], place: Path) -> str:
    command = [f"{where}/python", "-m", "mcpgateway.utils.create_jwt_token", "-u", _ADMIN, "--admin"]
    command += ["-e", "1440"]
    made = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, check=False)
    lines = made.stdout.split()
    if made.returncode != 0 or not lines:
        raise CannotMeasure(f"ContextForge makes no token: {made.stderr[-500:]}")
    return lines[-1]


def _register(port: int, token: str, upstream_port: int) -> Requests:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False
    ) as client:
        upstream = f"http://127.0.0.1:{upstream_port}/mcp"
        _post(client, "/gateways", {"name": "bench", "url": upstream, "transport": "STREAMABLEHTTP"})
        tools = [tool["id"] for tool in client.get("/tools").json()]
        server = _post(client, "/servers", {"server": {"name": "bench", "associated_tools": tools}}).json()
        path = f"/servers/{server['id']}/mcp"
        sessions = [_session(client, path) for _ in range(_SESSIONS)]
    requests = make_requests(f"127.0.0.1:{port}", path, f"bench-{TOOL}", LEGACY, [token])
    end = b"\r\n\r\n"
    heads = [
        requests.heads[0].removesuffix(end) + f"\r\nMcp-Session-Id: {session}".encode() + end
        for session in sessions
    ]
    return Requests(heads, requests.body)


def _session(client: httpx2.Client, path: str) -> str:
    about = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
    session = _post(client, path, opening).headers["mcp-session-id"]
    own = {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY}
    _post(client, path, {"jsonrpc": "2.0", "method": "notifications/initialized"}, own)
    return session


def _post(
    client: httpx2.Client, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> httpx2.Response:
    answer = client.post(
        path, content=json.dumps(body), headers={"Content-Type": "application/json", **(headers or {})}
    )
    if not answer.is_success:
        raise CannotMeasure(f"ContextForge answers {answer.status_code} to {path}: {answer.text[:500]}")
    return answer
