"""The socket that a command listens on."""

import os
import socket

from app.cli.errors import CannotStart
from app.settings import Settings


def listening_socket(settings: Settings) -> socket.socket:
    """Bind the configured address.

    Raises:
        CannotStart: it is in use, or not an address of this machine.
    """
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotStart(f"cannot listen on {where}: {error.strerror}; set SCOPEGATE_HOST") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        # Another process may have bound the same address without listening yet: only now is it ours.
        listening.listen(2048)
    except OSError as error:
        listening.close()
        mend = "stop what uses it, or set SCOPEGATE_PORT"
        raise CannotStart(f"cannot listen on {where}: {os.strerror(error.errno or 0)}; {mend}") from None
    listening.set_inheritable(True)
    return listening
