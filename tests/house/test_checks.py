"""What the runner of the checks does with parts that pass and parts that fail."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.house.tracked import ROOT

PASSES = [sys.executable, "-c", "print('fine')"]
SUMMARY = "1 failed, 2 passed in {} (0:06:30)"


def failing(*lines: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({chr(10).join(lines)!r}); sys.exit(3)"]


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The runner, with parts of the test's own and an output of its own."""
    spec = importlib.util.spec_from_file_location("checks", ROOT / ".ci" / "checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "checks", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "OUTPUT", tmp_path / "checks")
    monkeypatch.setattr(module, "GATE", {"first": PASSES, "second": PASSES, "third": PASSES})
    monkeypatch.setattr(module, "REST", {"slow": PASSES})
    return module


def test_a_gate_that_passes_says_so_last(checks: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    assert checks.main(["gate"]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert printed[-1] == "gate: passed"
    assert [line.split()[:2] for line in printed[-5:-2]] == [
        ["first", "ok"],
        ["second", "ok"],
        ["third", "ok"],
    ]


def test_the_gate_ends_at_the_first_failure_and_names_it_last(
    checks: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    checks.GATE["second"] = failing("FAILED tests/test_a.py::test_b - assert 1 == 2")
    assert checks.main(["gate"]) == 3
    printed = capfd.readouterr().out.splitlines()
    assert printed[-1].startswith("gate: FAILED at second (exit code 3) after 0 s; see ")
    assert printed[-1].endswith("checks/second.log")
    assert not any(line.startswith("=== third") for line in printed)


def test_every_part_runs_to_its_end_and_the_table_has_the_first_failures(
    checks: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    failures = [f"FAILED tests/test_a.py::test_{number}" for number in range(5)]
    checks.GATE["first"] = failing("no failure is named here", "app/x.py")
    checks.GATE["second"] = failing("other output", *failures)
    assert checks.main(["all"]) == 1
    printed = capfd.readouterr().out
    table = printed[printed.index("part ") :].splitlines()
    assert [line.split()[:2] for line in table if not line.startswith(" ")] == [
        ["part", "result"],
        ["first", "FAILED"],
        ["second", "FAILED"],
        ["third", "ok"],
        ["slow", "ok"],
        ["all", table[-2].split()[1]],
        ["check:", "FAILED:"],
    ]
    assert [line.strip() for line in table if line.startswith(" ")] == ["app/x.py", *failures[:3]]
    assert table[-1] == "check: FAILED: first, second"


def test_named_parts_alone_are_repeated(checks: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    assert checks.main(["all", "slow", "third"]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("===")] == [
        f"=== {part}: {' '.join(PASSES)}" for part in ("third", "slow")
    ]
    assert printed[-1] == "check: passed"


def test_an_unknown_part_is_refused_with_the_names_of_all(
    checks: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    assert checks.main(["all", "slow", "fast"]) == 2
    assert capfd.readouterr().out == "No part is named fast. Parts: first, second, third, slow\n"


@pytest.mark.parametrize(("seconds", "warned"), [("359.90s", False), ("361.20s", True)])
def test_quick_tests_over_their_budget_are_a_warning(
    checks: ModuleType, capfd: pytest.CaptureFixture[str], seconds: str, warned: bool
) -> None:
    checks.GATE["test"] = [sys.executable, "-c", f"print({SUMMARY.format(seconds)!r})"]
    assert checks.main(["gate"]) == 0
    assert ("WARNING: the quick tests took 361 s" in capfd.readouterr().out) == warned


def test_the_gate_runs_without_an_environment() -> None:
    """Before ``make install`` there is the standard library alone."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / ".ci" / "checks.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "gate" in done.stdout
