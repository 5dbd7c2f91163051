"""Command servers: allowed commands, and the binding of their credentials."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.access.credentials import open_credential
from app.crypto.keys import Sealer
from app.lib.ids import parse_id
from app.main import create_app
from app.models.servers import Server
from app.outbound.stdio import read_commands
from app.settings import Settings
from tests.api import KEY, Account, client_of

Sessions = async_sessionmaker[AsyncSession]
VALUE = "a-secret-value-0123456789"
GIT: dict[str, Any] = {
    "slug": "git",
    "transport": "stdio",
    "command": "/opt/git",
    "args": ["--key", "in-an-argument"],
    "env_names": ["GIT_TOKEN"],
}
ENV = {"kind": "env", "variables": {"GIT_TOKEN": VALUE}}


GIT_SETTING = ["GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"]
COMMANDS = json.dumps([{"command": "/opt/git *", "variables": ["GIT_TOKEN", *GIT_SETTING]}, "/opt/time"])


@asynccontextmanager
async def serving(database_url: str, owner: Account, commands: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application whose operator allows these commands."""
    key = SecretStr(KEY)
    settings = Settings(
        database_url=SecretStr(database_url),
        token_pepper=key,
        encryption_key=key,
        signing_key=key,
        stdio_allowed_commands=read_commands(commands),
    )
    app = create_app(settings)
    async with app.api.router.lifespan_context(app.api), client_of(app, owner.bearer) as client:
        yield client


@pytest.fixture
async def api(database_url: str, owner: Account) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(database_url, owner, COMMANDS) as client:
        yield client


async def register(api: httpx2.AsyncClient, **fields: Any) -> str:
    answer = await api.post("/api/v1/servers", json={**GIT, **fields})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def test_an_allowed_command_is_registered_and_shown(api: httpx2.AsyncClient) -> None:
    server = (await api.get(await register(api))).json()
    assert {name: server[name] for name in GIT} == GIT
    assert server["url"] is None
    bare = (
        await api.get(await register(api, slug="time", command="/opt/time", args=None, env_names=None))
    ).json()
    assert (bare["args"], bare["env_names"]) == ([], [])


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"command": "/bin/sh"}, "/command", "stdio_not_allowed"),
        ({"command": "/opt/time", "args": ["--more"]}, "/command", "stdio_not_allowed"),
        ({"command": None}, "/command", "required"),
        ({"url": "https://mcp.example.com/mcp"}, "/url", "not_for_stdio"),
        ({"env_names": ["GIT_TOKEN", "LD_PRELOAD"]}, "/env_names/1", "stdio_not_allowed"),
        ({"env_names": ["GIT_DIR"]}, "/env_names/0", "stdio_not_allowed"),
        ({"command": "/opt/time", "args": []}, "/env_names/0", "stdio_not_allowed"),
        ({"env_names": ["A=B"]}, "/env_names/0", "value_error"),
    ],
)
async def test_what_may_not_run_is_refused(
    api: httpx2.AsyncClient, changes: dict[str, Any], pointer: str, code: str
) -> None:
    answer = await api.post("/api/v1/servers", json={**GIT, **changes})
    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]


async def test_a_name_that_the_operator_does_not_list_is_refused_with_what_would_allow_it(
    api: httpx2.AsyncClient, database_url: str, owner: Account
) -> None:
    answer = await api.post("/api/v1/servers", json={**GIT, "env_names": ["GIT_SEQUENCE_EDITOR"]})
    assert answer.status_code == 422
    assert '"variables": ["GIT_SEQUENCE_EDITOR"]' in answer.json()["errors"][0]["detail"]
    path = await register(api)
    for commands in ('["/opt/git *"]', '["/opt/time"]'):
        async with serving(database_url, owner, commands) as narrowed:
            answer = await narrowed.put(f"{path}/credential", json=ENV)
            assert (answer.status_code, answer.json()["code"]) == (422, "stdio_not_allowed")
            assert answer.json()["errors"][0]["pointer"] == "/variables/GIT_TOKEN"
            assert VALUE not in answer.text
            # What is registered stays readable, and what does not concern the command can change.
            assert (await narrowed.patch(path, json={"name": commands})).status_code == 200
    assert (await api.put(f"{path}/credential", json=ENV)).status_code == 200


async def test_a_change_of_the_command_is_checked_and_means_a_new_sync(api: httpx2.AsyncClient) -> None:
    path = await register(api)
    assert (await api.patch(path, json={"command": "/bin/sh"})).json()["code"] == "stdio_not_allowed"
    assert (await api.patch(path, json={"url": "https://x.example"})).status_code == 422
    answer = await api.patch(path, json={"args": ["--other"], "env_names": []})
    assert answer.status_code == 200, answer.text
    assert answer.json()["args"] == ["--other"]
    assert answer.json()["sync"]["state"] == "never"


async def test_git_is_given_no_setting_that_runs_a_program(api: httpx2.AsyncClient) -> None:
    path = f"{await register(api, env_names=GIT_SETTING)}/credential"

    def setting(key: str, value: str) -> dict[str, Any]:
        return {"kind": "env", "variables": dict(zip(GIT_SETTING, ("1", key, value), strict=True))}

    for key in ("core.sshCommand", "core.fsmonitor", "alias.status", "CORE.PAGER", "safe.directory\n", ""):
        answer = await api.put(path, json=setting(key, "/bin/sh"))
        assert answer.status_code == 422, key
        assert "/bin/sh" not in answer.text
        assert "safe.directory" in answer.json()["errors"][0]["detail"]
    for key in ("safe.directory", "Safe.Directory", "user.name"):
        assert (await api.put(path, json=setting(key, "/srv/wiki"))).status_code == 200, key


async def test_values_are_given_to_this_very_command_and_shown_to_no_one(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    path = await register(api)
    answer = await api.put(f"{path}/credential", json=ENV)
    assert answer.status_code == 200, answer.text
    assert answer.json()["kind"] == "env"
    assert answer.json()["origin"].startswith("stdio:")
    assert VALUE not in answer.text
    async with sessions() as session:
        row = await session.get_one(Server, parse_id("srv", path.rpartition("/")[2]))
        opened = await open_credential(session, Sealer([KEY.encode()]), row)
    assert opened.variables == (("GIT_TOKEN", VALUE),)
    assert VALUE not in repr(opened)
    moved = await api.patch(path, json={"args": ["--other"]})
    assert (moved.status_code, moved.json()["code"]) == (409, "credential_bound_to_origin")
    assert (await api.patch(path, json={"name": "Git"})).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"kind": "bearer", "token": VALUE}, "/kind", "not_for_stdio"),
        ({"kind": "env", "variables": {}}, "/variables", "too_short"),
        ({"kind": "env", "variables": {"OTHER": VALUE}}, "/variables", "not_env_names"),
        ({"kind": "env", "variables": {"GIT_TOKEN": "x" * 16_385}}, "/variables/GIT_TOKEN", "too_long"),
    ],
)
async def test_a_command_takes_no_other_credential(
    api: httpx2.AsyncClient, body: dict[str, Any], pointer: str, code: str
) -> None:
    answer = await api.put(f"{await register(api)}/credential", json=body)
    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]
    assert VALUE not in answer.text


async def test_a_url_takes_no_variables(api: httpx2.AsyncClient) -> None:
    made = await api.post("/api/v1/servers", json={"slug": "wiki", "url": "https://mcp.example.com/mcp"})
    answer = await api.put(f"{made.headers['location']}/credential", json=ENV)
    assert answer.json()["errors"][0]["code"] == "not_for_streamable_http"


async def test_the_audit_trail_keeps_no_argument(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    path = await register(api)
    await api.patch(path, json={"args": ["--other"]})
    async with sessions() as session:
        rows = list(await session.scalars(text("SELECT changes FROM audit_events WHERE changes IS NOT NULL")))
    trail = json.dumps(rows)
    assert "/opt/git" in trail
    assert "2 words, sha256 " in trail
    assert "in-an-argument" not in trail
    assert "--other" not in trail


async def test_a_host_that_runs_no_commands_says_so_at_a_sync(api: httpx2.AsyncClient) -> None:
    path = await register(api)
    synced = (await api.post(f"{path}/sync")).json()
    assert synced["sync"]["state"] == "error"
    assert "this host runs none" in synced["sync"]["error"]
