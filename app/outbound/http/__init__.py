"""Outbound HTTP: one guarded client for every request that leaves the process."""

from app.outbound.http.client import OutboundClient
from app.outbound.http.errors import (
    ForbiddenUrl,
    NotForwarded,
    OutboundError,
    UpstreamError,
    UpstreamErrorKind,
)
from app.outbound.http.guard import AddressPolicy, Origin, Target, origin_of
from app.outbound.http.limits import Limits, Timeouts
from app.outbound.http.loops import VIA, LoopGuard
from app.outbound.http.response import OutboundResponse

__all__ = [
    "VIA",
    "AddressPolicy",
    "ForbiddenUrl",
    "Limits",
    "LoopGuard",
    "NotForwarded",
    "Origin",
    "OutboundClient",
    "OutboundError",
    "OutboundResponse",
    "Target",
    "Timeouts",
    "UpstreamError",
    "UpstreamErrorKind",
    "origin_of",
]
