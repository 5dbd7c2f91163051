"""What can go wrong when talking MCP to an upstream."""

from typing import Literal

from app.lib.strict_json import JsonValue

McpUpstreamErrorKind = Literal[
    "forbidden",  # the URL or its address may not be reached
    "unreachable",  # no connection, or it ended early
    "timeout",
    "busy",  # every connection that the limits allow is in use
    "unavailable",  # it has not answered lately, and is left alone for a moment
    "redirect",
    "loop",  # the request came back to the gateway that sent it
    "http",  # an HTTP error status without a JSON-RPC error in it; see ``status``
    "session_lost",  # 404 to a request with a session id: not taken by the upstream
    "rpc",  # a JSON-RPC error; see ``code``, ``data``, ``status``
    "rubbish",  # not an MCP answer: no JSON, wrong id, second answer, wrong shape
    "too_large",  # past a cap on bytes, pages or items
]


class McpUpstreamError(Exception):
    """``message`` is plain words (for ``rpc``: the upstream's own text) without secrets.

    ``status``: the HTTP status if there was one. ``code`` and ``data``: those of a JSON-RPC error.
    ``may_have_been_sent`` is False only when the upstream cannot have seen the request or says it did not take it.
    """

    def __init__(
        self,
        kind: McpUpstreamErrorKind,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        data: JsonValue = None,
        may_have_been_sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind: McpUpstreamErrorKind = kind
        self.message = message
        self.status = status
        self.code = code
        self.data = data
        self.may_have_been_sent = may_have_been_sent
        self.retry_after_s = 1
