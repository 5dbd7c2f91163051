"""TCP keepalive, which detects that a peer is gone without closing the connection."""

import asyncio
import socket

_OPTIONS = (
    # Probe after a minute of silence; four unanswered probes end the connection.
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    # The limit for unacknowledged data, in milliseconds.
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 120_000),
)


def enable_keepalive(transport: asyncio.BaseTransport) -> None:
    """Have the system end a TCP connection within two minutes of its loss. Ignores other transports."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for level, name, value in _OPTIONS:
        # Not every system supports all options.
        if hasattr(socket, name):
            sock.setsockopt(level, getattr(socket, name), value)
