"""The supervisor of commands runs where the operator allows any, and nowhere else."""

import os
from pathlib import Path

import pytest

from app.cli import serve as supervisor
from app.cli.errors import CannotStart
from app.cli.serve import run_commands
from app.outbound.stdio import VARIABLE, AllowedCommand, AllowedCommands
from app.settings import Settings


def settings(tmp_path: Path, *entries: tuple[str, ...]) -> Settings:
    return Settings(
        data_dir=tmp_path, stdio_allowed_commands=AllowedCommands(tuple(map(AllowedCommand, entries)))
    )


def test_without_an_allowed_command_there_is_no_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "Child", None)
    with run_commands(settings(tmp_path)):
        assert VARIABLE not in os.environ


def test_elsewhere_than_on_linux_the_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with (
        pytest.raises(CannotStart, match="only run on Linux"),
        run_commands(settings(tmp_path, ("/bin/true",))),
    ):
        pass


def test_the_supervisor_is_given_nothing_of_our_environment_but_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, str] = {}

    class Given:
        exit_code = 1

        def __init__(self, *_: object, environment: dict[str, str], **__: object) -> None:
            given.update(environment)

        def stop(self) -> None:
            """Nothing runs."""

    monkeypatch.setattr(supervisor, "Child", Given)
    monkeypatch.setattr(supervisor, "hide_from_equals", lambda: None)
    monkeypatch.setenv(VARIABLE, "put back afterwards")
    monkeypatch.setenv("SCOPEGATE_ENCRYPTION_KEY", "a-key-that-is-not-shared-and-long-enough")
    with (
        pytest.raises(CannotStart, match="did not start"),
        run_commands(settings(tmp_path, ("/bin/true", "a b"))),
    ):
        pass
    assert set(given) - {"PATH", "TMPDIR", "LANG", "TZ"} == {
        VARIABLE,
        "SCOPEGATE_STDIO_ALLOWED_COMMANDS",
        "SCOPEGATE_STDIO_DATA_DIR",
        "SCOPEGATE_LIMIT_STDIO_PROCESSES",
    }
    assert given["SCOPEGATE_STDIO_ALLOWED_COMMANDS"] == (
        '[{"command": ["/bin/true", "a b"], "variables": []}]'
    )
