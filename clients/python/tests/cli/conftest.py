"""`sgctl`, run in this process."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scopegate_client.cli import main

Sgctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sgctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sgctl:
    """Runs a command; the value is its exit code and its two outputs."""
    for name in ("SCOPEGATE_URL", "SCOPEGATE_CLIENT_ID", "SCOPEGATE_ACCESS_TOKEN", "SGCTL_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SGCTL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("SGCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "codex"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
