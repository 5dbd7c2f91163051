"""Stopping on SIGINT, SIGTERM and SIGHUP by an exception, so that every ``with`` on the way cleans up."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked for the end. Not an ``Exception``: nothing on the way may take it for a fault."""


@contextlib.contextmanager
def signals_stop() -> Iterator[None]:
    """The first signal raises ``Stopped`` in the main thread; from then on signals are ignored.

    They stay ignored afterwards: a second Ctrl-C must not interrupt the cleaning up that follows.
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
    """For an event loop that runs within ``signals_stop``: the first signal cancels its tasks, and the block ends with
    ``Stopped``. Raised in the loop's midst, it would be taken for a fault of whatever the loop was at.
    """
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
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
        if asked:
            raise Stopped
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Put signals off while something is half done; they arrive at the end of the block."""
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
