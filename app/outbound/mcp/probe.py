"""Detection of an upstream's protocol versions, connections to it, and all pages of ``tools/list``."""

import asyncio
from dataclasses import dataclass

from mcp_types import SERVER_INFO_META_KEY
from mcp_types.jsonrpc import METHOD_NOT_FOUND
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS

from app.lib.strict_json import JsonObject
from app.outbound.http import ForbiddenUrl, OutboundClient, Target, Timeouts
from app.outbound.mcp.connection import DEFAULT_TIMEOUTS, BeforeSend, LegacySession, ModernConnection
from app.outbound.mcp.exchange import Headers, McpUpstreamError, as_object, invalid_response

# Errors that occur with every protocol version.
_FINAL_KINDS = ("forbidden", "unreachable", "timeout")


@dataclass(frozen=True, slots=True)
class UpstreamInfo:
    """``protocol_versions`` are the verified ones, newest first, never empty. The rest is from the newest."""

    protocol_versions: tuple[str, ...]
    server_info: JsonObject
    capabilities: JsonObject
    instructions: str | None


async def probe(
    client: OutboundClient, url: str | Target, headers: Headers, *, timeouts: Timeouts = DEFAULT_TIMEOUTS
) -> UpstreamInfo:
    """Send ``server/discover``, and an ``initialize`` for each older version, at the same time.

    Raises ``McpUpstreamError`` when none succeeds (with the error of ``initialize``), or there is no answer.
    """
    try:
        target = url if isinstance(url, Target) else client.policy.check_target(url)
    except ForbiddenUrl as error:
        raise McpUpstreamError("forbidden", error.reason, may_have_been_sent=False) from None
    # Concurrently, since each request to a stdio server starts its command.
    modern, legacy = await asyncio.gather(
        _modern(client, target, headers, timeouts),
        _legacy(client, target, headers, timeouts),
        return_exceptions=True,
    )
    if isinstance(modern, BaseException):
        raise modern
    if isinstance(legacy, BaseException):
        hopeless = not isinstance(legacy, McpUpstreamError) or legacy.kind in _FINAL_KINDS
        if modern is None or hopeless:
            raise legacy
        return modern
    if modern is None:
        return legacy
    return UpstreamInfo(
        (*modern.protocol_versions, *legacy.protocol_versions),
        modern.server_info or legacy.server_info,
        modern.capabilities,
        modern.instructions,
    )


async def _modern(
    client: OutboundClient, target: Target, headers: Headers, timeouts: Timeouts
) -> UpstreamInfo | None:
    connection = ModernConnection(client, target, headers, timeouts=timeouts)
    try:
        result = await connection.request("server/discover")
        capabilities = as_object(result.get("capabilities"), "capabilities")
    except McpUpstreamError as error:
        if error.kind in _FINAL_KINDS:
            raise
        return None
    supported = result.get("supportedVersions")
    known = [v for v in reversed(MODERN_PROTOCOL_VERSIONS) if isinstance(supported, list) and v in supported]
    if not known:
        return None
    meta = result.get("_meta")
    server_info = meta.get(SERVER_INFO_META_KEY) if isinstance(meta, dict) else None
    instructions = result.get("instructions")
    return UpstreamInfo(
        tuple(known),
        server_info if isinstance(server_info, dict) else {},
        capabilities,
        instructions if isinstance(instructions, str) else None,
    )


async def _legacy(
    client: OutboundClient, target: Target, headers: Headers, timeouts: Timeouts
) -> UpstreamInfo:
    async def ask(version: str) -> LegacySession:
        async with await LegacySession.open(
            client, target, headers, version=version, timeouts=timeouts
        ) as session:
            return session

    versions = tuple(reversed(HANDSHAKE_PROTOCOL_VERSIONS))
    newest, *older = await asyncio.gather(*map(ask, versions), return_exceptions=True)
    if isinstance(newest, BaseException):
        raise newest
    versions_seen = [newest.protocol_version]
    for version, answer in zip(versions[1:], older, strict=True):
        if isinstance(answer, BaseException):
            if not isinstance(answer, McpUpstreamError) or answer.kind in _FINAL_KINDS:
                raise answer
        elif answer.protocol_version == version and version not in versions_seen:
            versions_seen.append(version)
    return UpstreamInfo(tuple(versions_seen), newest.server_info, newest.capabilities, newest.instructions)


async def open_connection(
    client: OutboundClient,
    url: str | Target,
    headers: Headers,
    protocol_versions: tuple[str, ...],
    *,
    client_capabilities: JsonObject | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    before_send: BeforeSend | None = None,
    before_next: BeforeSend | None = None,
    caller: int | None = None,
) -> LegacySession | ModernConnection:
    """A stateless connection if ``protocol_versions`` (of a probe) allow it, else a new session of the newest one."""
    for known in reversed(MODERN_PROTOCOL_VERSIONS):
        if known in protocol_versions:
            return ModernConnection(
                client,
                url,
                headers,
                protocol_version=known,
                client_capabilities=client_capabilities,
                timeouts=timeouts,
                caller=caller,
            )
    newest = next((v for v in reversed(HANDSHAKE_PROTOCOL_VERSIONS) if v in protocol_versions), None)
    return await LegacySession.open(
        client,
        url,
        headers,
        version=newest or LATEST_HANDSHAKE_VERSION,
        client_capabilities=client_capabilities,
        timeouts=timeouts,
        before_send=before_send,
        before_next=before_next,
        caller=caller,
    )


async def list_tools(
    connection: LegacySession | ModernConnection,
    *,
    max_pages: int = 1000,
    max_tools: int = 10_000,
    max_bytes: int = 64 * 1024 * 1024,
) -> list[JsonObject]:
    """All tools in the upstream's order, as sent; empty if the upstream does not support tools.

    Each has a unique ``name`` and an ``inputSchema`` object. Raises ``McpUpstreamError``: ``too_large`` beyond a limit,
    ``invalid_response`` for a wrong shape, duplicate names or a repeated cursor.
    """
    tools: dict[str, JsonObject] = {}
    cursors: set[str] = set()
    size = 0
    params: JsonObject = {}
    for _ in range(max_pages):
        try:
            answer = await connection.answer("tools/list", params)
        except McpUpstreamError as error:
            if error.code == METHOD_NOT_FOUND and not cursors:
                return []
            raise
        page = answer.result
        size += answer.size
        listed = page.get("tools")
        if not isinstance(listed, list):
            raise invalid_response("the list of tools is not a list")
        for tool in [as_object(tool, "a tool") for tool in listed]:
            name = _name(tool)
            if name in tools:
                raise invalid_response("two tools have the same name")
            tools[name] = tool
            if len(tools) > max_tools or size > max_bytes:
                raise McpUpstreamError("too_large", "the upstream has too many tools")
        cursor = page.get("nextCursor")
        if cursor is None or cursor == "":
            return list(tools.values())
        if not isinstance(cursor, str) or cursor in cursors:
            raise invalid_response("the pages of tools do not end")
        cursors.add(cursor)
        params = {"cursor": cursor}
    raise McpUpstreamError("too_large", "the tools have too many pages")


def _name(tool: JsonObject) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise invalid_response("a tool has no name")
    as_object(tool.get("inputSchema"), "the input schema of a tool")
    return name
