"""Signals: SIGINT, SIGTERM and SIGHUP raise an exception, so that every ``with`` block cleans up.

Also binds the socket of a command, on which its workers listen after they are configured.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from types import FrameType

from app.cli.errors import CannotStart
from app.settings import Settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal requested the end. Not an ``Exception``, so that it is not handled as a fault."""


@contextlib.contextmanager
def signals_stop() -> Iterator[None]:
    """Raise ``Stopped`` in the main thread at the first signal, and ignore further signals.

    They stay ignored afterwards: a second Ctrl-C must not interrupt the cleanup.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        _ignore()
        raise Stopped

    for number in _SIGNALS:
        signal.signal(number, stop)
    try:
        yield
    finally:
        _ignore()


@contextlib.contextmanager
def signals_cancel() -> Iterator[None]:
    """Cancel the tasks of an event loop at the first signal, and end the block with ``Stopped``.

    For use within ``signals_stop``. An exception in a callback would be handled as a fault of that callback.
    """
    is_stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopped
        is_stopped = True
        _ignore()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise Stopped from None
        loop.call_soon_threadsafe(_cancel_all)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        if is_stopped:
            raise Stopped
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def hold_signals() -> Iterator[None]:
    """Defer signals until the end of the block."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


def _ignore() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def bound_socket(settings: Settings) -> socket.socket:
    """Bind the configured address, without listening: connections are refused until a worker listens.

    Raises:
        CannotStart: it is in use, or is not an address of this machine.
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
    """The error for an address that cannot be bound or listened on."""
    where, why = f"{settings.host}:{settings.port}", os.strerror(error.errno or 0)
    return CannotStart(f"cannot listen on {where}: {why}; stop what uses it, or set SCOPEGATE_PORT")
