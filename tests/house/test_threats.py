"""The page of threats names existing tests in every row."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "threats.md"
ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
ATTACKS = [row for row in ROWS if not row.startswith("| attack |")]
DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """The names of all tests."""
    files = (ROOT / "tests").rglob("test_*.py")
    return {
        name
        for file in files
        if "node_modules" not in file.parts
        for name in DEFINED.findall(file.read_text(encoding="utf-8"))
    }


def test_every_threat_has_a_test_that_is_there(tests: set[str]) -> None:
    assert len(ATTACKS) > 40
    for row in ATTACKS:
        named = re.findall(r"`(test_\w+)`", row.split("|")[3])
        assert named, f"no test: {row}"
        assert set(named) <= tests, set(named) - tests
