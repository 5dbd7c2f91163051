"""What is in the way of a start is said in one line, with exit code 2, and no secret in it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from app.cli.commands import main

ROOT = Path(__file__).parents[2]
KEY = "a-key-of-the-tests-with-more-than-32-characters"
KEYS = {f"SCOPEGATE_{name}": KEY for name in ("TOKEN_PEPPER", "ENCRYPTION_KEY", "SIGNING_KEY")}

# Each of them starts the command, which takes seconds.
pytestmark = pytest.mark.slow


def run(command: str, data_dir: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCOPEGATE_")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", command],
        env=environment | {"SCOPEGATE_DATA_DIR": str(data_dir)} | settings,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def the_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("scopegate: ")
    return lines[0]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"SCOPEGATE_PROT": "8080"}, "SCOPEGATE_PROT"),
        ({"SCOPEGATE_PORT": "eighty"}, "SCOPEGATE_PORT"),
        ({"SCOPEGATE_TOKEN_PEPPER": "s3cret"}, "SCOPEGATE_TOKEN_PEPPER"),
        ({"SCOPEGATE_TOKEN_PEPPER_FILE": "/nowhere/s3cret"}, "SCOPEGATE_TOKEN_PEPPER_FILE"),
        ({"SCOPEGATE_DATABASE_URL": "mysql://root:s3cret@db/x"}, "SCOPEGATE_DATABASE_URL"),
        ({"SCOPEGATE_DATABASE_URL": "postgresql://u:s3cret@db/x"}, "SCOPEGATE_TOKEN_PEPPER"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "dev", "migrate"])
def test_a_bad_setting_stops_the_start_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    settings: dict[str, str],
    named: str,
) -> None:
    for name in os.environ:
        if name.startswith("SCOPEGATE_"):
            monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["scopegate", command])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert named in said[0]
    assert "s3cret" not in said[0]


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_a_port_in_use_stops_the_start_before_anything_is_made(tmp_path: Path, command: str) -> None:
    data_dir = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = the_line(run(command, data_dir, SCOPEGATE_PORT=str(port)))
    assert f"127.0.0.1:{port}" in line
    assert "SCOPEGATE_PORT" in line
    assert not data_dir.exists()


def test_a_database_that_is_not_migrated_stops_the_start(
    tmp_path: Path, free_port: int, empty_database_url: str
) -> None:
    settings = {"SCOPEGATE_DATABASE_URL": empty_database_url, "SCOPEGATE_PORT": str(free_port)}
    assert "scopegate migrate" in the_line(run("serve", tmp_path, **settings, **KEYS))


async def test_a_database_that_no_longer_serves_this_code_stops_the_start(
    tmp_path: Path, free_port: int, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE compatibility SET oldest_generation = 1000000")
    await connection.close()
    settings = {"SCOPEGATE_DATABASE_URL": database_url, "SCOPEGATE_PORT": str(free_port)}
    assert "no longer serves this code" in the_line(run("serve", tmp_path, **settings, **KEYS))


def test_the_demo_without_a_running_service_says_how_to_start_one(tmp_path: Path) -> None:
    assert "make run" in the_line(run("demo", tmp_path))
