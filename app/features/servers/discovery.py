"""Read the tools of a server: all pages, in the newest protocol version that it supports. No database here."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.features.tools.definitions import Definition, InvalidTool, read_definition
from app.lib import strict_json
from app.lib.event_loop import off_loop
from app.lib.secret_matcher import SecretMatcher, match_headers
from app.lib.strict_json import JsonObject
from app.outbound.http import OutboundClient, Target, Timeouts
from app.outbound.mcp.exchange import McpUpstreamError
from app.outbound.mcp.probe import list_tools, open_connection, probe

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """The time limit for the whole discovery, and for each request."""

    deadline_s: float
    timeouts: Timeouts


URL_BUDGET = TimeBudget(45.0, Timeouts(connect=5.0, first_byte=15.0, idle=15.0, total=30.0))
COMMAND_BUDGET = TimeBudget(120.0, Timeouts(connect=5.0, first_byte=35.0, idle=35.0, total=60.0))
"""A program is started for each candidate version, and may need half a minute to start."""


_REASONS = {
    "forbidden": "its address is not allowed",
    "unreachable": "it cannot be reached",
    "timeout": "it did not answer in time",
    "redirect": "it answers with a redirect, which is not followed; register the final URL",
    "loop": "it is this gateway itself, or redirects to it; register the URL of the server behind it",
    "session_lost": "it lost its session",
    "invalid_response": "its response is not MCP",
    "too_large": "its response is too large",
}

_ABLE: JsonObject = {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {"form": {}, "url": {}}}
"""All capabilities of clients: some servers show a tool only to clients that can answer its requests."""
MAX_INSTRUCTIONS_LENGTH = 16 * 1024
"""In characters. Longer instructions are ignored, and so never passed on."""
_TOOLS_AT_ONCE = 50
"""Tools to parse and digest per job in the thread for large JSON: a hostile server may send megabytes."""

_OF_SUPERVISOR = frozenset({429, 503, 504})
"""The supervisor's status codes for a command that does not run, with its own message; no program sends these."""


class DiscoveryFailed(Exception):
    """The tools could not be read. ``reason`` is our own text: an upstream's text may contain a secret."""

    def __init__(self, kind: str, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class Discovery:
    """The tools of a server. ``left_out`` counts malformed tools by reason."""

    definitions: tuple[Definition, ...]
    left_out: dict[str, int]
    protocol_versions: tuple[str, ...]
    instructions: str | None = None

    def note(self) -> str | None:
        """A line about what was left out, or ``None``."""
        if not self.left_out:
            return None
        parts = "; ".join(f"{count} because {reason}" for reason, count in sorted(self.left_out.items()))
        return f"Tools left out: {parts}."


async def discover(
    outbound: OutboundClient,
    url: str | Target,
    headers: Headers,
    *,
    budget: TimeBudget = URL_BUDGET,
    secrets: SecretMatcher | None = None,
) -> Discovery:
    """Ask a server for its versions and tools. Raises ``DiscoveryFailed``.

    ``secrets``: what its tools must not contain; by default the credential in the headers.
    """
    async with _time_limit(budget, of_command=not isinstance(url, str)):
        info = await probe(outbound, url, headers, timeouts=budget.timeouts)
        items = await _list_pages(outbound, url, headers, info.protocol_versions, budget.timeouts)
    if secrets is None:
        secrets = match_headers(headers)
    definitions: dict[str, Definition] = {}
    left_out: Counter[str] = Counter()
    for start in range(0, len(items), _TOOLS_AT_ONCE):
        for read in await off_loop(_read, items[start : start + _TOOLS_AT_ONCE], secrets):
            if isinstance(read, InvalidTool):
                left_out[read.reason] += 1
            else:
                definitions[read.name] = read
    instructions = _sanitize(info.instructions, secrets)
    return Discovery(tuple(definitions.values()), dict(left_out), info.protocol_versions, instructions)


def _sanitize(instructions: str | None, secrets: SecretMatcher) -> str | None:
    """Return instructions that can be stored and shown; ``None`` if they are too long or contain one of the secrets."""
    if not instructions or len(instructions) > MAX_INSTRUCTIONS_LENGTH:
        return None
    return None if secrets.is_in(strict_json.dumps(instructions)) else instructions


def _read(items: Sequence[JsonObject], secrets: SecretMatcher) -> list[Definition | InvalidTool]:
    read: list[Definition | InvalidTool] = []
    for item in items:
        try:
            read.append(read_definition(item, secrets))
        except InvalidTool as odd:
            read.append(odd)
    return read


async def list_current_tools(
    outbound: OutboundClient,
    url: str | Target,
    headers: Headers,
    protocol_versions: tuple[str, ...],
    budget: TimeBudget,
) -> list[JsonObject]:
    """List the tools that a server offers now, unmodified, in the newest known protocol version.

    They are not checked: do not store them. Raises ``DiscoveryFailed``.
    """
    async with _time_limit(budget, of_command=not isinstance(url, str)):
        return await _list_pages(outbound, url, headers, protocol_versions, budget.timeouts)


async def _list_pages(
    outbound: OutboundClient,
    url: str | Target,
    headers: Headers,
    protocol_versions: tuple[str, ...],
    timeouts: Timeouts,
) -> list[JsonObject]:
    connection = await open_connection(
        outbound, url, headers, protocol_versions, client_capabilities=_ABLE, timeouts=timeouts
    )
    async with connection:
        return await list_tools(connection)


@asynccontextmanager
async def _time_limit(budget: TimeBudget, *, of_command: bool) -> AsyncIterator[None]:
    """Limit the time of requests to a server, and translate errors. Raises ``DiscoveryFailed``."""
    try:
        async with asyncio.timeout(budget.deadline_s):
            yield
    except McpUpstreamError as error:
        reason = _reason(error, of_command=of_command)
        raise DiscoveryFailed(error.kind, reason, status=error.status) from None
    except TimeoutError:
        raise DiscoveryFailed("timeout", f"It took longer than {budget.deadline_s:.0f} s.") from None


def _reason(error: McpUpstreamError, *, of_command: bool) -> str:
    if of_command and error.status in _OF_SUPERVISOR:
        return error.message
    if error.kind == "rpc":
        return f"The server refused with the JSON-RPC error {error.code}."
    if error.kind == "http_error":
        hint = "; does it want a credential?" if error.status in {401, 403} else ""
        return f"The server answered with HTTP status {error.status}{hint}."
    return f"The server could not be read: {_REASONS.get(error.kind, 'it failed')} ({error.message})."
