"""Outbound HTTP: one guarded client for every request that leaves the process (ADR 5)."""

from app.outbound.http.client import VIA, LoopGuard, OutboundClient
from app.outbound.http.connection import Limits, OutboundResponse, Timeouts
from app.outbound.http.guard import (
    AddressPolicy,
    ForbiddenUrl,
    NotForwarded,
    Origin,
    OutboundError,
    Target,
    UpstreamError,
    UpstreamErrorKind,
    origin_of,
)

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
