"""Noticing that the other side of a connection is gone without a word: switched off, or cut off by a network."""

import asyncio
import socket

_OPTIONS = (
    # After a minute of silence, ask; after four questions without an answer, it is gone.
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    # The same where something was sent and nobody acknowledges it, in milliseconds.
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 120_000),
)


def enable_keepalive(transport: asyncio.BaseTransport) -> None:
    """Let the system end the connection within two minutes of its loss; nothing for what is not TCP."""
    found = transport.get_extra_info("socket")
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for level, name, value in _OPTIONS:
        # Not every system has all of them.
        if hasattr(socket, name):
            found.setsockopt(level, getattr(socket, name), value)
