"""A signal ends a command at any point, and every ``with`` on the way cleans up."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from app.cli.signals import Stopped, signals_cancel, signals_stop

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """What the tests' own process does on signals stays what it was."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_stops_and_others_are_ignored(number: signal.Signals) -> None:
    with pytest.raises(Stopped), signals_stop():
        os.kill(os.getpid(), number)
    for other in SIGNALS:
        os.kill(os.getpid(), other)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_loop_that_is_in_the_midst_of_something_is_stopped_too(number: signal.Signals) -> None:
    cleaned = []

    async def works_for_ever() -> None:
        # Within a callback, where the loop reports exceptions and continues.
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(Stopped), signals_stop(), signals_cancel():
        asyncio.run(works_for_ever())
    assert cleaned == [True]
    for other in SIGNALS:
        os.kill(os.getpid(), other)


def test_a_signal_that_comes_as_the_loop_is_done_is_not_lost() -> None:
    async def is_done() -> None:
        asyncio.current_task().add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGTERM))  # type: ignore[union-attr]

    with pytest.raises(Stopped), signals_stop(), signals_cancel():
        asyncio.run(is_done())


def test_after_a_loop_that_no_signal_ended_signals_stop_as_before() -> None:
    def goes_on() -> None:
        with signals_cancel():
            asyncio.run(asyncio.sleep(0))
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped), signals_stop():
        goes_on()
