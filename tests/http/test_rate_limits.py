"""A quota lets so many through in a minute of each key, shared out among workers, and stays small."""

import pytest

from app.http import rate_limits
from app.http.rate_limits import Quota, source_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_pass_and_no_more_until_the_minute_of_the_first_is_over() -> None:
    clock = Clock()
    quota = Quota("requests", 3, now=clock)
    assert [quota.take("a") for _ in range(4)] == [True, True, True, False]
    clock.now += 59.5
    assert not quota.take("a")
    standing = quota.standing("a")
    assert standing is not None
    assert (standing.remaining, standing.reset_s) == (0, 1)
    assert quota.take("b")
    clock.now += 0.5
    assert quota.take("a")


def test_the_headers_are_structured_fields() -> None:
    quota = Quota("requests", 3, now=Clock())
    quota.take("a")
    standing = quota.standing("a")
    assert standing is not None
    assert standing.headers() == {
        "RateLimit-Policy": '"requests";q=3;w=60',
        "RateLimit": '"requests";r=2;t=60',
    }


@pytest.mark.parametrize(("limit", "workers", "share"), [(100, 4, 25), (3, 8, 1), (10, 3, 3)])
def test_each_worker_has_its_share_and_one_at_least(limit: int, workers: int, share: int) -> None:
    quota = Quota("requests", limit, workers=workers, now=Clock())
    assert [quota.take("a") for _ in range(share + 1)] == [True] * share + [False]


def test_a_limit_of_zero_is_none() -> None:
    quota = Quota("requests", 0, workers=4)
    assert all(quota.take("a") for _ in range(1000))
    assert quota.standing("a") is None


def test_a_flood_of_keys_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "REMEMBERED", 10)
    clock = Clock()
    quota = Quota("requests", 1, now=clock)
    for number in range(100):
        assert quota.take(number)
    assert len(quota._used) == 10
    assert not quota.take(99)
    clock.now += 60
    quota.take("a")
    assert list(quota._used) == ["a"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_a_subscriber_is_one_source(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same
