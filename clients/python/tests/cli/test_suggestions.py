"""What `sgctl` suggests for a mistyped name: nothing that changes or reveals something."""

from collections.abc import Callable

import pytest
from scopegate_client.cli import run

Sgctl = Callable[..., tuple[int, str, str]]

READING = {"list", "show", "search", "tail", "whoami", "claude-code", "cursor", "vscode", "codex"}


def changing_commands() -> list[tuple[str, ...]]:
    """Each command that does more than read."""
    own = [(str(each.name),) for each in run.app.registered_commands]
    inner = [
        (str(group.name), str(each.name))
        for group in run.app.registered_groups
        if group.typer_instance is not None
        for each in group.typer_instance.registered_commands
    ]
    return [words for words in own + inner if words[-1] not in READING]


@pytest.mark.parametrize("words", changing_commands(), ids=" ".join)
def test_no_command_that_changes_something_is_suggested(sgctl: Sgctl, words: tuple[str, ...]) -> None:
    code, _, err = sgctl(*words[:-1], words[-1][:-1] + "x")
    assert code == 2
    assert words[-1] not in err


def test_create_suggests_no_other_command(sgctl: Sgctl) -> None:
    assert "Did you mean" not in sgctl("identity", "create", "ada")[2]
    assert "Did you mean" not in sgctl("token", "create")[2]


def test_a_command_that_reads_is_suggested(sgctl: Sgctl) -> None:
    assert "Did you mean list?" in sgctl("server", "lst")[2]
    assert "Did you mean token?" in sgctl("tokne", "list")[2]


def test_no_option_that_does_more_is_suggested(sgctl: Sgctl) -> None:
    assert "--yes" not in sgctl("token", "revoke", "--ye")[2]
    assert "--reveal" not in sgctl("token", "issue", "--revea")[2]
    assert "--dry-run" in sgctl("token", "revoke", "--dry-rn")[2]
