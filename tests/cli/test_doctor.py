"""What ``scopegate doctor`` says of the console: its looks may be missing, and that keeps nothing from starting."""

import pytest

from app.cli import doctor


@pytest.mark.parametrize(
    ("made", "says"), [(True, "ok    console   its pages have their looks"), (False, "note  console")]
)
def test_the_doctor_says_whether_pages_have_their_looks(
    made: bool, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "are_made", lambda: made)
    doctor._console()
    said = capsys.readouterr().out
    assert said.startswith(says)
    assert made or "make assets" in said
