"""Caps and times of outbound requests. Sizes in bytes, times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps that hold for every request of one client."""

    header_bytes: int = 32 * 1024
    """Status line and headers of one answer, informational answers before it included."""
    body_bytes: int = 16 * 1024 * 1024
    """What ``read`` accepts unless told otherwise."""
    buffer_bytes: int = 64 * 1024
    """Unread bytes of an answer at which reading from the socket pauses."""
    connections_per_origin: int = 256
    connections_per_caller: int = 64
    """Of these, so that nobody keeps all of them from others."""
    idle_connection: float = 4.0
    """An unused connection is closed after this; below the 5 s after which common servers close theirs."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times of one request, kept to within a tenth of a second. ``None`` is no limit."""

    connect: float = 5.0
    """Waiting for a free connection, and resolving, connecting and the TLS handshake: each."""
    first_byte: float | None = 60.0
    """From sending to the headers of the answer."""
    idle: float | None = 60.0
    """Between two pieces of the answer; does not run while our own reader holds the upstream back."""
    total: float | None = 300.0
    """From sending to the end of the answer."""


DEFAULT_LIMITS = Limits()
DEFAULT_TIMEOUTS = Timeouts()
