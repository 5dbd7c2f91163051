"""``Mcp-Param-*``: arguments that a tool mirrors into headers (MCP 2026-07-28, ``x-mcp-header``).

An upstream may act on the header, while decision and record are about the argument: they must say the same.
"""

from typing import Any

from mcp.shared.inbound import (
    find_invalid_x_mcp_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)

from app.domain.objects import Tool
from app.gateway.wire.envelope import PARAM_PREFIX
from app.gateway.wire.http import Exchange
from app.gateway.wire.refusals import Refused

Headers = tuple[tuple[bytes, bytes], ...]


def _sent(exchange: Exchange) -> Headers:
    headers = exchange.headers
    return tuple([(name, headers[name].strip(b" \t")) for name in headers if name.startswith(PARAM_PREFIX)])


def check_parameters(exchange: Exchange, tool: Tool | None, arguments: dict[str, Any] | None) -> None:
    """Raise ``Refused`` (400, -32020) when a header and the argument that it mirrors do not agree."""
    if tool is None or tool.header_schema is None:
        return
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in _sent(exchange)}
    rejection = validate_mcp_param_headers(tool.header_schema, arguments or {}, headers)
    if rejection is not None:
        raise Refused(400, rejection.code, rejection.message)


def made_parameters(tool: Tool | None, arguments: dict[str, Any] | None) -> Headers:
    """The headers of a call, made from the arguments that were decided on; others that a client sent go nowhere."""
    if (
        tool is None
        or tool.header_schema is None
        or find_invalid_x_mcp_header(tool.header_schema) is not None
    ):
        return ()
    made = mcp_param_headers(x_mcp_header_map(tool.header_schema), arguments or {})
    return tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in made.items())
