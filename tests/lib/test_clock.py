"""The clock that counts suspensions of the machine."""

import sys
import time

import pytest

from app.lib import clock


@pytest.mark.skipif(sys.platform != "linux", reason="the clock of other systems has another name")
def test_boot_time_counts_the_time_for_which_the_machine_was_suspended() -> None:
    # CLOCK_MONOTONIC stops during a suspension; both are equal on a machine without one.
    assert clock._clock_of_boot() == time.CLOCK_BOOTTIME
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= clock.boot_time() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_system_without_such_a_clock_has_the_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_clock: int) -> float:
        raise OSError

    monkeypatch.setattr("time.clock_gettime", refuse)
    assert clock._clock_of_boot() is None
    monkeypatch.setattr(clock, "_BOOT", None)
    before = time.monotonic()
    assert before <= clock.boot_time() <= time.monotonic()
