"""The how-to about deploying works as it stands: its own SQL and commands, with nothing but roles that may log in."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import httpx2
import pytest

from app.db.embedded_postgres import EmbeddedPostgres
from tests import debian_postgres
from tests.faults.harness import SERVE, Gateway
from tests.ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deploy.md"
SECONDS = 100
PLACEHOLDER = "@db.example.com/scopegate"

# Each starts a PostgreSQL server and the service.
pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server: its superuser's URL, and what stands for ``PLACEHOLDER`` in the how-to's URLs."""

    admin_url: str
    address: str


@contextmanager
def embedded() -> Iterator[Server]:
    # In a directory that root's system user can pass through.
    place = Path(tempfile.mkdtemp(prefix="sg-", dir="/tmp"))
    place.chmod(0o711)
    try:
        with EmbeddedPostgres(place / "data") as cluster:
            sockets = cluster.url("x", "x").partition("?host=")[2]
            yield Server(
                cluster.url("postgres", "postgres"), f"@/scopegate?{urlencode({'host': sockets}, safe='/')}"
            )
    finally:
        shutil.rmtree(place)


@contextmanager
def debian() -> Iterator[Server]:
    if debian_postgres.programs() is None:
        pytest.skip("no PostgreSQL of Debian here (apt-get install postgresql)")
    with debian_postgres.debian_postgres() as address:
        admin = f"{debian_postgres.ADMIN}:{debian_postgres.PASSWORD}"
        yield Server(f"postgresql://{admin}@{address}/postgres", f"@{address}/scopegate")


@pytest.fixture(params=[embedded, debian], ids=["embedded", "debian"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as running:
        yield running


def blocks(language: str, after: str) -> str:
    """The first block of a language under a heading of the how-to."""
    section = PAGE.read_text().partition(f"\n## {after}\n")[2]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return re.sub(r"^ +", "", found[1], flags=re.MULTILINE)


def run(command: str, environment: dict[str, str]) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        ["bash", "-euc", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


async def execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        # CREATE DATABASE does not run in the transaction that several statements make.
        for statement in statements.split(";"):
            if statement.strip():
                await connection.execute(statement)
    finally:
        await connection.close()


def configured(server: Server, place: Path) -> dict[str, str]:
    """The environment that the how-to's commands make, and a port and a directory of this test's own."""
    programs = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCOPEGATE_")}
    environment |= {"PATH": f"{programs}:{environment['PATH']}", "SCOPEGATE_DATA_DIR": str(place)}
    environment["SCOPEGATE_PORT"] = str(free_port())
    keys = re.findall(r"\| `(SCOPEGATE_[A-Z]+_(?:PEPPER|KEY))` \|", PAGE.read_text())
    assert len(keys) == 3
    for key in keys:
        environment[key] = run(blocks("sh", "Requirements"), environment).strip()
    exports = blocks("sh", "Two roles for the database").replace(PLACEHOLDER, server.address)
    names = " ".join(re.findall(r"export (\w+)=", exports))
    # The address of a socket has a character that a shell takes for a pattern.
    assigned = run(
        f'set -f\n{exports.replace("...", "pass-word")}\nfor name in {names}; do echo "$name=${{!name}}"; done',
        environment,
    )
    return environment | dict(line.split("=", 1) for line in assigned.splitlines())


async def test_the_commands_of_the_how_to_deploy_with_two_roles_that_may_log_in(
    server: Server, tmp_path: Path
) -> None:
    await execute(
        server.admin_url, blocks("sql", "Two roles for the database").replace("'...'", "'pass-word'")
    )
    environment = configured(server, tmp_path)
    *commands, last = blocks("sh", "Start").splitlines()
    assert last == "scopegate serve"
    said = {command: await asyncio.to_thread(run, command, environment) for command in commands}
    assert list(said) == ["scopegate migrate", "scopegate doctor", "scopegate bootstrap"]
    assert "FAIL" not in said["scopegate doctor"]
    assert "note  database" not in said["scopegate doctor"]
    account = dict(line.split() for line in said["scopegate bootstrap"].splitlines())

    # It has a port of its own.
    del environment["SCOPEGATE_PORT"]
    service = Gateway(environment["SCOPEGATE_DATABASE_URL"], tmp_path, SERVE, **environment)
    try:
        await service.start()
        async with httpx2.AsyncClient(base_url=service.url) as client:
            bearer = await client.post(
                "/oauth/token",
                data={"grant_type": "client_credentials"},
                auth=(account["client_id"], account["client_secret"]),
            )
            client.headers["Authorization"] = f"Bearer {bearer.json()['access_token']}"
            made = await client.post("/api/v1/identities", json={"kind": "person", "user_name": "nora"})
            assert made.status_code == 201, made.text
    finally:
        service.stop()
    for command in ("scopegate migrate", "scopegate maintain", "scopegate keys rotate"):
        await asyncio.to_thread(run, command, environment)
