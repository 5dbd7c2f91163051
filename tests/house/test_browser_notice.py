"""Without a browser, the test run reports that page tests were skipped, and how to install one."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import chromium, conftest


class Terminal:
    """What a run writes at its end."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write_line(self, line: str, **_: Any) -> None:
        self.lines.append(line)


def machine_with(monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in programs else None)


def test_a_run_of_all_tests_says_last_that_the_browser_tests_did_not_run(
    monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.setattr(pytestconfig, "args_source", pytest.Config.ArgsSource.TESTPATHS)
    machine_with(monkeypatch, "node", "npm")
    terminal = Terminal()
    conftest.pytest_terminal_summary(terminal, pytestconfig)
    assert terminal.lines == [
        "The browser tests did not run, for want of",
        "  Chromium: apt-get install chromium",
    ]
    machine_with(monkeypatch)
    assert [line.rpartition(": ")[2] for line in chromium.lacking()[1:]] == [
        "apt-get install chromium",
        "apt-get install nodejs npm",
    ]


def test_no_notice_is_shown_if_browser_tests_run_or_are_deselected(
    monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    terminal = Terminal()
    machine_with(monkeypatch)
    monkeypatch.setattr(pytestconfig, "args_source", pytest.Config.ArgsSource.ARGS)
    conftest.pytest_terminal_summary(terminal, pytestconfig)
    machine_with(monkeypatch, "chromium", "node", "npm")
    monkeypatch.setattr(pytestconfig, "args_source", pytest.Config.ArgsSource.TESTPATHS)
    conftest.pytest_terminal_summary(terminal, pytestconfig)
    assert terminal.lines == []


def test_browser_tests_use_one_fixture() -> None:
    room = Path(__file__).parents[1]
    itself = {room / "chromium.py", Path(__file__)}
    others = [path for path in room.rglob("*.py") if path not in itself and "node_modules" not in path.parts]
    assert [path for path in others if "async_playwright" in path.read_text(encoding="utf-8")] == []
