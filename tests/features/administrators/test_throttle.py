"""Attempts are limited by address and in total, and a refused attempt is not counted."""

import pytest

from app.features.administrators.break_glass import Throttle


class Clock:
    """A clock set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_address_has_its_attempts_and_gets_them_back_one_by_one(clock: Clock) -> None:
    throttle = Throttle(2, 100, clock)
    assert throttle.wait_s("192.0.2.1") == 0
    clock.now += 20
    assert throttle.wait_s("192.0.2.1") == 0
    assert throttle.wait_s("192.0.2.1") == 40
    assert throttle.wait_s("192.0.2.2") == 0
    clock.now += 39.5
    assert throttle.wait_s("192.0.2.1") == 1
    clock.now += 0.5
    assert throttle.wait_s("192.0.2.1") == 0
    assert throttle.wait_s("192.0.2.1") == 20


def test_many_addresses_together_are_held_back_too(clock: Clock) -> None:
    throttle = Throttle(2, 3, clock)
    assert [throttle.wait_s(f"192.0.2.{n}") for n in range(4)] == [0, 0, 0, 60]
    clock.now += 60
    assert throttle.wait_s("192.0.2.9") == 0


@pytest.mark.parametrize("here", ["127.0.0.1", "::1"])
def test_a_flood_leaves_the_machine_itself_its_own_attempts_and_no_more(clock: Clock, here: str) -> None:
    throttle = Throttle(2, 3, clock)
    for n in range(9):
        throttle.wait_s(f"192.0.2.{n}")
    assert throttle.wait_s("192.0.2.77") == 60
    assert [throttle.wait_s(here) for _ in range(3)] == [0, 0, 60]
    assert throttle.wait_s("not an address") == 60


def test_attempts_that_were_held_back_do_not_lengthen_the_wait(clock: Clock) -> None:
    throttle = Throttle(1, 100, clock)
    throttle.wait_s("192.0.2.1")
    for _ in range(50):
        assert throttle.wait_s("192.0.2.1") > 0
    clock.now += 60
    assert throttle.wait_s("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("a unix socket", "", False),
    ],
)
def test_addresses_of_one_subscriber_count_as_one(clock: Clock, one: str, other: str, same: bool) -> None:
    throttle = Throttle(1, 100, clock)
    throttle.wait_s(one)
    assert (throttle.wait_s(other) > 0) is same
