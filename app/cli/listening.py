"""The socket that a command binds, for its workers to listen on once they are configured."""

import os
import socket

from app.cli.errors import CannotStart
from app.settings import Settings


def bound_socket(settings: Settings) -> socket.socket:
    """Bind the configured address, without listening: until a worker does, connections are refused.

    Raises:
        CannotStart: it is in use, or not an address of this machine.
    """
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotStart(f"cannot listen on {where}: {error.strerror}; set SCOPEGATE_HOST") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise cannot_listen(settings, error) from None
    bound.set_inheritable(True)
    return bound


def cannot_listen(settings: Settings, error: OSError) -> CannotStart:
    """What to say of an address that cannot be bound or listened on."""
    where, why = f"{settings.host}:{settings.port}", os.strerror(error.errno or 0)
    return CannotStart(f"cannot listen on {where}: {why}; stop what uses it, or set SCOPEGATE_PORT")
