"""Error answers of the gateway: an HTTP status with one JSON-RPC error."""

from typing import Any

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
RESOURCE_NOT_FOUND = -32002
"""Used until 2025-11-25."""
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
RETRY_SOON = ((b"retry-after", b"1"),)


class Refused(Exception):
    """A refused request. The dispatch answers it with the caller's JSON-RPC id."""

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        *,
        data: Any = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.data = data
        self.headers = headers


def unavailable(why: str = "") -> Refused:
    """Return the answer when the database is unavailable: nothing is allowed, and the client may retry soon."""
    # mutation: store_unavailable
    return Refused(
        503,
        INTERNAL_ERROR,
        "The gateway cannot record calls at the moment. Try again shortly."
        if not why
        else f"The gateway does not accept calls: {why}.",
        headers=RETRY_SOON,
    )


def no_such_server() -> Refused:
    """Return the one answer for an unknown slug and for a server out of reach."""
    return Refused(404, INVALID_REQUEST, "There is no server here that this token may use.")


def no_such_session() -> Refused:
    """Return the answer to a session that ended, never existed, or is of another token or server."""
    return Refused(404, INVALID_REQUEST, "The session has ended. Initialize a new one.")


def unknown_method(modern: bool) -> Refused:
    """Return the answer to an unsupported method, without its name."""
    return Refused(404 if modern else 200, METHOD_NOT_FOUND, "Method not found")


def unknown_tool(name: str, modern: bool) -> Refused:
    """Return the one answer for an unknown tool and for a hidden one."""
    return Refused(400 if modern else 200, INVALID_PARAMS, f"Unknown tool: {name}")


def unknown_resource(uri: str, modern: bool) -> Refused:
    """Return the one answer for an unknown resource and for a hidden one."""
    code = INVALID_PARAMS if modern else RESOURCE_NOT_FOUND
    return Refused(400 if modern else 200, code, "Resource not found", data={"uri": uri})


def invalid_params(message: str, modern: bool) -> Refused:
    """Return the answer to malformed parameters of a known method."""
    return Refused(400 if modern else 200, INVALID_PARAMS, message)


def unsupported_version(requested: str, supported: tuple[str, ...]) -> Refused:
    """Return the answer to a protocol version that is not offered; ``supported`` is never empty."""
    return Refused(
        400,
        UNSUPPORTED_VERSION,
        "Unsupported protocol version",
        data={"supported": list(supported), "requested": requested},
    )


class UnknownVersion(Refused):
    """A protocol version that the gateway does not know. (A server may refuse a known one with the same code.)"""

    def __init__(self, requested: str, supported: tuple[str, ...]) -> None:
        refused = unsupported_version(requested, supported)
        super().__init__(refused.status, refused.code, refused.message, data=refused.data)
        self.requested = requested


_REASONS = {
    HEADER_MISMATCH: "headers_mismatch",
    INVALID_PARAMS: "parameters_invalid",
    MISSING_CAPABILITY: "parameters_invalid",
    METHOD_NOT_FOUND: "method_unknown",
    UNSUPPORTED_VERSION: "version_unsupported",
}


def refusal_reason(refused: Refused) -> str:
    """Return the reason code for counting a request that was refused before a decision."""
    if refused.status == 404 and refused.code == INVALID_REQUEST:
        return "session_unknown"
    return _REASONS.get(refused.code, "request_malformed")


class CredentialRefused(Refused):
    """The server behind the gateway answered 401: it did not accept the upstream credential."""

    def __init__(self) -> None:
        super().__init__(
            502, INTERNAL_ERROR, "The server behind the gateway does not accept the gateway's credential."
        )


def bad_upstream(message: str) -> Refused:
    """Return the answer when the server behind the gateway violates the protocol."""
    return Refused(502, INTERNAL_ERROR, message)


def upstream_loop() -> Refused:
    """Return the answer when the server behind the gateway is the gateway itself."""
    return bad_upstream(
        "The server behind the gateway is the gateway itself, or forwards to it. An administrator must correct the "
        "URL of the server."
    )


def not_allowed(text: str, allow: bytes = b"POST") -> Refused:
    """Return the answer to an unsupported HTTP method (405)."""
    return Refused(405, INVALID_REQUEST, text, headers=((b"allow", allow),))


def wrong_http_method(modern: bool) -> Refused:
    """Return the answer to an HTTP method that no endpoint supports in this era."""
    if modern:
        return not_allowed("Only POST is supported here.")
    return not_allowed("Only POST, GET and DELETE are supported here.", b"POST, GET, DELETE")
