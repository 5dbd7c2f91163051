"""Outbound HTTP: one guarded client for every request that leaves the process."""

from app.kit.outbound.client import OutboundClient
from app.kit.outbound.errors import (
    ForbiddenUrl,
    NotForwarded,
    OutboundError,
    UpstreamError,
    UpstreamErrorKind,
)
from app.kit.outbound.guard import AddressPolicy, Origin, Target, origin_of
from app.kit.outbound.limits import Limits, Timeouts
from app.kit.outbound.loops import VIA, LoopGuard
from app.kit.outbound.response import OutboundResponse

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
