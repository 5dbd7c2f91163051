"""What the gateway says no with: an HTTP status around one JSON-RPC error."""

from typing import Any

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
RESOURCE_NOT_FOUND = -32002
"""Until 2025-11-25."""
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
RETRY_SOON = ((b"retry-after", b"1"),)


class Refused(Exception):
    """Raised anywhere below the dispatch, answered there with the caller's JSON-RPC id."""

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
    """The store cannot serve: nothing is allowed, coming back soon is right."""
    # mutation: store_unavailable
    return Refused(
        503,
        INTERNAL_ERROR,
        "The gateway cannot record calls at the moment. Try again shortly."
        if not why
        else f"The gateway takes no calls: {why}.",
        headers=RETRY_SOON,
    )


def no_such_server() -> Refused:
    """One answer for a slug that does not exist and for one out of reach."""
    return Refused(404, INVALID_REQUEST, "There is no server here that this token may use.")


def no_such_session() -> Refused:
    """A session that ended, never was, or is another token's or server's."""
    return Refused(404, INVALID_REQUEST, "The session has ended. Initialize a new one.")


def unknown_method(modern: bool) -> Refused:
    """A method that is not carried. Its name is not repeated."""
    return Refused(404 if modern else 200, METHOD_NOT_FOUND, "Method not found")


def unknown_tool(name: str, modern: bool) -> Refused:
    """The very answer for a tool that does not exist and for one that is hidden."""
    return Refused(400 if modern else 200, INVALID_PARAMS, f"Unknown tool: {name}")


def unknown_resource(uri: str, modern: bool) -> Refused:
    """The very answer for a resource that does not exist and for one that is hidden."""
    code = INVALID_PARAMS if modern else RESOURCE_NOT_FOUND
    return Refused(400 if modern else 200, code, "Resource not found", data={"uri": uri})


def invalid_params(message: str, modern: bool) -> Refused:
    """Parameters of a known method that have the wrong shape."""
    return Refused(400 if modern else 200, INVALID_PARAMS, message)


def unsupported_version(requested: str, supported: tuple[str, ...]) -> Refused:
    """A protocol version that is not offered here; ``supported`` is never empty."""
    return Refused(
        400,
        UNSUPPORTED_VERSION,
        "Unsupported protocol version",
        data={"supported": list(supported), "requested": requested},
    )


class UnknownVersion(Refused):
    """A protocol version that nobody speaks. A server may refuse one under the same code, which is its own affair."""

    def __init__(self, requested: str, supported: tuple[str, ...]) -> None:
        told = unsupported_version(requested, supported)
        super().__init__(told.status, told.code, told.message, data=told.data)
        self.requested = requested


_REASONS = {
    HEADER_MISMATCH: "headers_mismatch",
    INVALID_PARAMS: "parameters_invalid",
    MISSING_CAPABILITY: "parameters_invalid",
    METHOD_NOT_FOUND: "method_unknown",
    UNSUPPORTED_VERSION: "version_unsupported",
}


def reason_of(refused: Refused) -> str:
    """Under which reason a request is counted that was refused before anything was decided."""
    if refused.status == 404 and refused.code == INVALID_REQUEST:
        return "session_unknown"
    return _REASONS.get(refused.code, "request_malformed")


class CredentialRefused(Refused):
    """The server behind the gateway answered 401: it did not accept what it was sent."""

    def __init__(self) -> None:
        super().__init__(
            502, INTERNAL_ERROR, "The server behind the gateway does not accept the gateway's credential."
        )


def bad_upstream(message: str) -> Refused:
    """The server behind the gateway misbehaved."""
    return Refused(502, INTERNAL_ERROR, message)


def looped() -> Refused:
    """The answer to a request that this gateway sent itself."""
    return Refused(
        508, INVALID_REQUEST, "This request came back to the gateway that sent it. It is not served."
    )


def is_loop() -> Refused:
    """The server behind the gateway is the gateway."""
    return bad_upstream(
        "The server behind the gateway is the gateway itself, or leads back to it. Its administrator has to correct "
        "the URL of the server."
    )


def wrong_http_method(modern: bool) -> Refused:
    """GET in the modern era, and the rest (405)."""
    if modern:
        return Refused(405, -32600, "Only POST is taken here.", headers=((b"allow", b"POST"),))
    taken = ((b"allow", b"POST, GET, DELETE"),)
    return Refused(405, -32600, "Only POST, GET and DELETE are taken here.", headers=taken)
