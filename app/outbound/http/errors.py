"""What can go wrong with an outbound request. No message ever holds a header, a body or a query."""

from typing import Literal

UpstreamErrorKind = Literal[
    "resolve",  # the name has no address
    "connect",  # nobody answers at the address
    "tls",  # the handshake failed (certificate, name)
    "busy",  # every connection that the limits allow is in use
    "unavailable",  # it has not answered lately, and is left alone for a moment
    "timeout",  # connected, but too slow
    "closed",  # the connection ended before the answer did
    "protocol",  # what came back is not an HTTP/1.1 answer that we accept
    "compressed",  # the answer is compressed although we asked for identity
    "too_large",  # the answer passed a cap
]


class OutboundError(Exception):
    """Base of all errors of an outbound request."""


class ForbiddenUrl(OutboundError):
    """The URL or an address behind it may not be reached; ``reason`` says why in plain words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotForwarded(OutboundError):
    """``before_send`` said no: no byte of the request was written."""

    def __init__(self) -> None:
        super().__init__("the request was not sent")


class UpstreamError(OutboundError):
    """The upstream failed. ``may_have_been_sent`` is False only when not one byte of the request was written,
    which is the only case in which sending again cannot do a thing twice."""

    def __init__(
        self, kind: UpstreamErrorKind, message: str, *, may_have_been_sent: bool, retry_after_s: int = 1
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.kind: UpstreamErrorKind = kind
        self.message = message
        self.may_have_been_sent = may_have_been_sent
