"""Find out what an upstream speaks."""

import asyncio
from dataclasses import dataclass

from mcp_types import SERVER_INFO_META_KEY
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from app.lib.strict_json import JsonObject
from app.outbound.http import ForbiddenUrl, OutboundClient, Target, Timeouts
from app.outbound.mcp.connection import DEFAULT_TIMEOUTS
from app.outbound.mcp.errors import McpUpstreamError
from app.outbound.mcp.exchange import Headers, as_object
from app.outbound.mcp.legacy import LegacySession
from app.outbound.mcp.modern import ModernConnection

# Nobody is there, or nobody may be asked: the other era would not find more.
_HOPELESS = ("forbidden", "unreachable", "timeout")


@dataclass(frozen=True, slots=True)
class UpstreamInfo:
    """``protocol_versions``: those it really spoke, newest first, never empty. The rest is of the newest era."""

    protocol_versions: tuple[str, ...]
    server_info: JsonObject
    capabilities: JsonObject
    instructions: str | None


async def probe(
    client: OutboundClient, url: str | Target, headers: Headers, *, timeouts: Timeouts = DEFAULT_TIMEOUTS
) -> UpstreamInfo:
    """Ask in both eras at the same time: one ``server/discover``, and an ``initialize`` for each older version.

    Raises ``McpUpstreamError`` when it speaks neither (the legacy era's reason), or does not answer.
    """
    try:
        target = url if isinstance(url, Target) else client.policy.check_target(url)
    except ForbiddenUrl as error:
        raise McpUpstreamError("forbidden", error.reason, may_have_been_sent=False) from None
    # A command is started for each question, so one after the other would take several times as long.
    modern, legacy = await asyncio.gather(
        _modern(client, target, headers, timeouts),
        _legacy(client, target, headers, timeouts),
        return_exceptions=True,
    )
    if isinstance(modern, BaseException):
        raise modern
    if isinstance(legacy, BaseException):
        hopeless = not isinstance(legacy, McpUpstreamError) or legacy.kind in _HOPELESS
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
        if error.kind in _HOPELESS:
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
    spoken = [newest.protocol_version]
    for version, answer in zip(versions[1:], older, strict=True):
        if isinstance(answer, BaseException):
            if not isinstance(answer, McpUpstreamError) or answer.kind in _HOPELESS:
                raise answer
        elif answer.protocol_version == version and version not in spoken:
            spoken.append(version)
    return UpstreamInfo(tuple(spoken), newest.server_info, newest.capabilities, newest.instructions)
