"""Reading a real server's tools: all pages, in the newest era that it speaks. No database here."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.features.servers.instructions import readable
from app.features.tools.definitions import Definition, OddTool, read_definition
from app.lib.event_loop import off_loop
from app.lib.strict_json import JsonObject
from app.outbound.http import OutboundClient, Target, Timeouts
from app.outbound.mcp import McpUpstreamError, list_tools, open_connection, probe

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long all of it may take, and each request."""

    deadline_s: float
    timeouts: Timeouts


OF_URLS = Patience(45.0, Timeouts(connect=5.0, first_byte=15.0, idle=15.0, total=30.0))
OF_COMMANDS = Patience(120.0, Timeouts(connect=5.0, first_byte=35.0, idle=35.0, total=60.0))
"""A program is started for each version that it may speak, and may take half a minute to start."""

_WHY = {
    "forbidden": "its address may not be reached",
    "unreachable": "it cannot be reached",
    "timeout": "it did not answer in time",
    "redirect": "it answers with a redirect, which is not followed; register the final URL",
    "loop": "it is this gateway itself, or leads back to it; register the URL of the server behind it",
    "session_lost": "it forgot its session in between",
    "invalid_response": "what it answers is not MCP",
    "too_large": "it answers with more than is accepted",
}

_ABLE: JsonObject = {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {"form": {}, "url": {}}}
"""All that clients may be able to do: some servers show a tool to those alone who can answer what it asks."""


_TOOLS_AT_ONCE = 50
"""Tools that one piece of work in the thread for large JSON reads and digests: a hostile server may send megabytes."""
_OF_SUPERVISOR = frozenset({429, 503, 504})
"""With these it says in its own words why a command does not run; no program gives an answer one of them."""


class DiscoveryFailed(Exception):
    """The tools could not be read. ``reason`` is plain words of ours: an upstream's text may hold a secret."""

    def __init__(self, kind: str, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a server offers. ``left_out`` counts malformed tools by reason."""

    definitions: tuple[Definition, ...]
    left_out: dict[str, int]
    protocol_versions: tuple[str, ...]
    instructions: str | None = None

    def note(self) -> str | None:
        """One line about what was left out, or ``None``."""
        if not self.left_out:
            return None
        parts = "; ".join(f"{count} because {reason}" for reason, count in sorted(self.left_out.items()))
        return f"Tools left out: {parts}."


async def discover(
    outbound: OutboundClient,
    url: str | Target,
    headers: Headers,
    *,
    patience: Patience = OF_URLS,
    secrets: Sequence[bytes] | None = None,
) -> Discovered:
    """Ask a server what it speaks and which tools it has. Raises ``DiscoveryFailed``.

    ``secrets``: what its tools may not hold; the credential in the headers, unless told.
    """
    async with _telling(patience, of_command=not isinstance(url, str)):
        info = await probe(outbound, url, headers, timeouts=patience.timeouts)
        items = await _listed(outbound, url, headers, info.protocol_versions, patience.timeouts)
    if secrets is None:
        secrets = [part for _, value in headers for part in (value, value.removeprefix(b"Bearer "))]
    definitions: dict[str, Definition] = {}
    left_out: Counter[str] = Counter()
    for start in range(0, len(items), _TOOLS_AT_ONCE):
        for read in await off_loop(_read, items[start : start + _TOOLS_AT_ONCE], secrets):
            if isinstance(read, OddTool):
                left_out[read.reason] += 1
            else:
                definitions[read.name] = read
    return Discovered(
        tuple(definitions.values()),
        dict(left_out),
        info.protocol_versions,
        readable(info.instructions, secrets),
    )


def _read(items: Sequence[JsonObject], secrets: Sequence[bytes]) -> list[Definition | OddTool]:
    read: list[Definition | OddTool] = []
    for item in items:
        try:
            read.append(read_definition(item, secrets))
        except OddTool as odd:
            read.append(odd)
    return read


async def list_now(
    outbound: OutboundClient,
    url: str | Target,
    headers: Headers,
    protocol_versions: tuple[str, ...],
    patience: Patience,
) -> list[JsonObject]:
    """The tools that a server offers now, as it sends them, in the newest of the versions that it is known to speak.

    Nothing of them is checked: do not keep them. Raises ``DiscoveryFailed``.
    """
    async with _telling(patience, of_command=not isinstance(url, str)):
        return await _listed(outbound, url, headers, protocol_versions, patience.timeouts)


async def _listed(
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
async def _telling(patience: Patience, *, of_command: bool) -> AsyncIterator[None]:
    """Bounds talking to a server, and says in words of ours why it failed. Raises ``DiscoveryFailed``."""
    try:
        async with asyncio.timeout(patience.deadline_s):
            yield
    except McpUpstreamError as error:
        raise DiscoveryFailed(
            error.kind, _reason(error, of_command=of_command), status=error.status
        ) from None
    except TimeoutError:
        raise DiscoveryFailed("timeout", f"It took longer than {patience.deadline_s:.0f} s.") from None


def _reason(error: McpUpstreamError, *, of_command: bool) -> str:
    if of_command and error.status in _OF_SUPERVISOR:
        return error.message
    if error.kind == "rpc":
        return f"The server refused with the JSON-RPC error {error.code}."
    if error.kind == "http_error":
        hint = "; does it want a credential?" if error.status in {401, 403} else ""
        return f"The server answered with HTTP status {error.status}{hint}."
    return f"The server could not be read: {_WHY.get(error.kind, 'it failed')} ({error.message})."
