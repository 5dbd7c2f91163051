"""Health of the audit writers, and the log lines of an outage."""

import asyncpg
import pytest

from app.db import recorder_health
from app.db.connection import NotReplicated, PrimaryUnavailable
from app.db.recorder_health import OutageLog, RecorderHealth, describe_fault

SECRET = "what somebody sent"


def because(cause: BaseException) -> PrimaryUnavailable:
    """The error of a failed connection with this cause."""
    fault = PrimaryUnavailable("no primary takes connections")
    fault.__cause__ = cause
    return fault


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (asyncpg.DiskFullError(SECRET), "the disk of the database is full"),
        (asyncpg.ReadOnlySQLTransactionError(SECRET), "the database is read-only"),
        (asyncpg.InternalServerError(SECRET), "the database does not take the log's rows (SQLSTATE XX000)"),
        (because(asyncpg.TooManyConnectionsError(SECRET)), "the database has no connection left"),
        (because(TimeoutError(SECRET)), "the database does not answer in time"),
        (because(ConnectionRefusedError(SECRET)), "the database cannot be reached"),
        (PrimaryUnavailable("the database is older"), "the database is older"),
        (NotReplicated(SECRET), "the wait for the synchronous standby was cancelled"),
        (TimeoutError(SECRET), "the database does not answer in time"),
        (asyncpg.InterfaceError(SECRET), "the database cannot be reached"),
    ],
)
def test_a_fault_is_said_in_words_that_are_none_of_its_own(fault: BaseException, words: str) -> None:
    assert describe_fault(fault) == words


def test_trouble_lasts_until_an_attempt_goes_well() -> None:
    health = RecorderHealth()
    assert health.reason() is None
    health.record_failure(asyncpg.DiskFullError())
    health.record_failure(TimeoutError())
    assert health.reason() == "the database does not answer in time"
    health.record_success()
    assert health.reason() is None


def test_trouble_that_nobody_meets_any_more_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a replica without calls would stay unready forever."""
    health = RecorderHealth()
    health.record_failure(asyncpg.DiskFullError())
    assert health.reason() is not None
    monkeypatch.setattr(recorder_health, "FRESH_S", 0.0)
    assert health.reason() is None


def test_an_outage_is_one_line_when_it_begins_one_a_minute_and_one_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    outage = OutageLog(lambda: now)
    outage.record_success()
    for second in range(130):
        now = float(second)
        outage.record_failure(because(ConnectionRefusedError(SECRET)))
    now = 135.0
    outage.record_success()
    outage.record_success()
    assert [record.getMessage() for record in caplog.records] == [
        "the database is away (the database cannot be reached): requests are answered 503 until it is back",
        "the database has been away for 60 s (the database cannot be reached)",
        "the database has been away for 120 s (the database cannot be reached)",
        "the database is back after 135 s",
    ]
