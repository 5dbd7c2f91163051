"""What ``scopegate doctor`` notes of the console and of sessions: neither keeps the service from starting."""

import asyncpg
import pytest

from app.cli import doctor
from app.db.engine import SESSION_SETTINGS


@pytest.mark.parametrize(
    ("made", "says"), [(True, "ok    console   its styles are installed"), (False, "note  console")]
)
def test_the_doctor_says_whether_pages_have_their_looks(
    made: bool, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "are_made", lambda: made)
    doctor._console()
    said = capsys.readouterr().out
    assert said.startswith(says)
    assert made or "make assets" in said


async def test_the_doctor_names_the_limits_that_a_session_was_not_given(database_url: str) -> None:
    # A pooler that ignores what a session asks for gives it the server's own.
    ignored = await asyncpg.connect(database_url)
    given = await asyncpg.connect(database_url, server_settings=SESSION_SETTINGS)
    assert set(await doctor.missing_limits(ignored)) == {
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
    }
    assert await doctor.missing_limits(given) == {}
    await ignored.close()
    await given.close()
