"""What docs/sgctl.md says of `sgctl`."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from scopegate_client.cli.failing import ExitCode

Sgctl = Callable[..., tuple[int, str, str]]

PAGE = (Path(__file__).parents[2] / "docs" / "sgctl.md").read_text()
COMMANDS = [
    shlex.split(line[line.index("sgctl ") :].removeprefix("sgctl "), comments=True)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if re.match(r"(.*\| )?sgctl ", line)
]


@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(words) for words in COMMANDS])
def test_each_command_and_option_exists(sgctl: Sgctl, words: list[str]) -> None:
    path = [word for word in words[:2] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
    if path[:1] in (["offboard"], ["login"], ["whoami"]):
        del path[1:]
    code, help_text, err = sgctl(*path, "--help")
    assert code == 0, err
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(^|[ ,]){re.escape(option)}\b", help_text, re.MULTILINE), option


def test_each_exit_code_is_there() -> None:
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)} == set(ExitCode)
