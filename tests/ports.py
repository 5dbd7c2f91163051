"""Ports for programs that are told theirs before they listen on it."""

import socket
from random import SystemRandom

# Below those that systems give to whoever connects: somebody may have one of these by the time the program starts, and
# who tries again and again to reach a program that is away, on such a port, is at last connected to itself.
_FROM, _TO = 12_000, 32_000
_random = SystemRandom()


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens, and which nobody gets by chance."""
    while True:
        port = _random.randrange(_FROM, _TO)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
