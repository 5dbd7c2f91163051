"""A mistake of the database's or of the operator's is one line and exit code 2 of every command, and no traceback."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from app.cli.commands import main
from tests.cli.test_failing_starts import KEYS

COMMANDS = (
    "migrate",
    "doctor",
    "bootstrap",
    "maintain",
    "keys list",
    "keys rotate",
    "audit verify",
    "audit checkpoint",
)
SECRET = "s3cret-of-the-tests"


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_port: int) -> Iterator[None]:
    for name in os.environ:
        if name.startswith("SCOPEGATE_") and not name.startswith("SCOPEGATE_TEST_"):
            monkeypatch.delenv(name)
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    monkeypatch.setenv("SCOPEGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SCOPEGATE_PORT", str(free_port))
    # What serves ends by signals, and ignores them from then on.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def line_of(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command says of what is wrong."""
    monkeypatch.setattr(sys, "argv", ["scopegate", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2, (command, said)
    # The doctor prints a line for each thing, of which these are the bad ones.
    lines = [*said.err.splitlines(), *(line for line in said.out.splitlines() if line.startswith("FAIL"))]
    assert len(lines) == 1, (command, said)
    assert SECRET not in said.out + said.err
    return lines[0]


def with_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{SECRET}@{parts.netloc.rpartition('@')[2]}"))


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"postgresql://u:{SECRET}@127.0.0.1:1/x", "cannot be reached"),
        (f"postgresql://u:{SECRET}@127.0.0.1,127.0.0.2:1/x", "cannot be reached"),
        (f"postgresql://u:{SECRET}@no-such-host.invalid/x", "cannot be reached"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/x?sslmode=wrong", "sslmode"),
        (f"postgresql://u:{SECRET}@127.0.0.1:port/x", "database"),
        (f"postgresql://u:{SECRET}@[::1/x", "SCOPEGATE_DATABASE_URL"),
        (f"postgresql://u:{SECRET}@/x?host=/a,/b&port=1,2,3", "database"),
        (f"postgresql://u:{SECRET}@/x?host=/no/such/directory", "cannot be reached"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line_of_every_command(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCOPEGATE_DATABASE_URL", url)
    for command in COMMANDS:
        assert words.lower() in line_of(command, monkeypatch, capsys).lower(), command


@pytest.mark.parametrize(
    ("role", "database", "words"),
    [("no_such_role", None, "no_such_role"), (None, "no_such_database", "no_such_database")],
)
def test_a_role_or_a_database_that_is_not_there_is_one_line_of_every_command(
    role: str | None,
    database: str | None,
    words: str,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = database_url if role is None else with_role(database_url, role)
    monkeypatch.setenv("SCOPEGATE_DATABASE_URL", url if database is None else with_database(url, database))
    for command in COMMANDS:
        assert words in line_of(command, monkeypatch, capsys), command


@pytest.fixture
async def stranger(database_url: str) -> AsyncIterator[str]:
    """A role that may log in, and that nothing was granted."""
    role = f"stranger_{uuid4().hex}"
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"CREATE ROLE {role} LOGIN")
    yield role
    await connection.execute(f"DROP OWNED BY {role}")
    await connection.execute(f"DROP ROLE {role}")
    await connection.close()


def test_a_role_without_rights_is_one_line_of_every_command(
    stranger: str, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCOPEGATE_DATABASE_URL", with_role(database_url, stranger))
    for command in COMMANDS:
        assert "permission denied" in line_of(command, monkeypatch, capsys), command


@pytest.fixture
async def newer(database_url: str) -> AsyncIterator[str]:
    """A database that a later version has migrated, as far that this one serves it no longer."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.execute("UPDATE compatibility SET oldest_generation = 1000000")
    yield database_url
    await connection.close()


def test_a_schema_that_is_newer_than_the_code_is_one_line_of_every_command(
    newer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCOPEGATE_DATABASE_URL", newer)
    for command in COMMANDS:
        assert "newer" in line_of(command, monkeypatch, capsys), command


@pytest.fixture
async def newer_and_served(database_url: str) -> AsyncIterator[str]:
    """A database that a later version has migrated, and that this one serves still."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    yield database_url
    await connection.close()


@pytest.mark.parametrize("command", ["migrate", "doctor"])
def test_migrate_and_doctor_say_that_a_schema_is_newer_where_this_version_serves_it_still(
    newer_and_served: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCOPEGATE_DATABASE_URL", newer_and_served)
    assert "9999" in line_of(command, monkeypatch, capsys)


def test_a_database_that_takes_no_writes_is_one_line_of_every_command_that_writes(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{database_url}{'&' if '?' in database_url else '?'}default_transaction_read_only=on"
    monkeypatch.setenv("SCOPEGATE_DATABASE_URL", url)
    for command in ("bootstrap", "maintain"):
        assert "read-only" in line_of(command, monkeypatch, capsys), command


def test_a_data_directory_that_cannot_be_made_is_one_line_of_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCOPEGATE_DATA_DIR", str(tmp_path / "file" / "data"))
    for command in (*COMMANDS, "serve", "dev"):
        assert str(tmp_path / "file") in line_of(command, monkeypatch, capsys), command
