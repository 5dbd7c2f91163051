"""The pause that an endpoint asks for, for any header value."""

from datetime import UTC, datetime

import pytest

from app.features.webhooks.deliver import DELAYS, delay_after
from app.outbound.delivery import MAX_PAUSE_S, pause_of

NOW = datetime(2026, 5, 3, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, 0),
        (b"", 0),
        (b"120", 120),
        (b"Sun, 03 May 2026 12:02:00 GMT", 120),
        (b"Sun, 03 May 2026 12:02:00", 120),
        (b"Sun, 03 May 2026 11:00:00 GMT", 0),
        (b"9" * 10_000, MAX_PAUSE_S),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", MAX_PAUSE_S),
        (b"Sun, 03 May 2026 12:02:00 -9999", 0),
        (b"-5", 0),
        (b"1.5", 0),
        (b"soon", 0),
        ("²".encode(), 0),
        (b"\xff\xfe", 0),
    ],
)
def test_what_an_endpoint_asks_for_is_bounded_and_what_is_no_time_is_none(
    retry_after: bytes | None, seconds: float
) -> None:
    assert pause_of(retry_after, NOW) == seconds


@pytest.mark.parametrize("attempts", [1, 2, len(DELAYS), len(DELAYS) + 1, 1000])
def test_pauses_grow_to_the_longest_and_are_spread(attempts: int) -> None:
    least = DELAYS[min(attempts, len(DELAYS)) - 1]
    found = {delay_after(attempts) for _ in range(20)}
    assert len(found) > 1
    assert all(least <= delay <= least * 1.2 for delay in found)
