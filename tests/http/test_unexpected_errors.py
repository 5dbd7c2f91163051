"""An unexpected error, on every face of the service as it runs: answer and log say where, and nothing of the data."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NoReturn

import httpx2
import pytest
import uvicorn

from app.gateway.authenticator import Authenticator
from app.http.requests import RequestLimits
from app.http.server_protocol import GuardedHttp
from app.http.service_address import ServiceAddress
from app.main import Scopegate
from tests.api import BASE_URL, Account
from tests.serving import listener, served

DATA = "what-a-client-sent"
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
EVENT = {"content-type": "application/secevent+jwt"}
PROBLEM = "application/problem+json"
CONSOLE = "text/html; charset=utf-8"
FACES = {
    "api": ("GET", "/api/v1/me", b"", {}, PROBLEM),
    "api change": ("POST", "/api/v1/groups", b'{"name": "x"}', JSON, PROBLEM),
    "scim": ("GET", "/scim/v2/Users", b"", {}, "application/scim+json"),
    "ssf": ("POST", "/ssf/events", b"a.b.c", EVENT, PROBLEM),
    "oauth": ("POST", "/oauth/token", b"grant_type=client_credentials", FORM, PROBLEM),
    "console": ("GET", "/console/login", b"", {}, CONSOLE),
    "gateway": ("POST", "/mcp", b"{}", JSON, "application/json"),
}


def fail(*_: Any, **__: Any) -> NoReturn:
    raise ValueError(DATA) from KeyError(DATA)


@asynccontextmanager
async def connected(app: Any, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application that is served as the service is."""
    config = uvicorn.Config(app, http=GuardedHttp, log_level="warning", lifespan="off", ws="none")
    with listener() as sock:
        async with served(config, sock):
            url, host = f"http://127.0.0.1:{sock.getsockname()[1]}", BASE_URL.removeprefix("http://")
            async with httpx2.AsyncClient(base_url=url, headers={"Host": host, **headers}) as client:
                yield client


@pytest.fixture
async def client(
    app: Scopegate, owner: Account, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service, in which whatever needs the database or a caller fails."""
    app.api.state.runtime = replace(app.api.state.runtime, sessions=fail)
    monkeypatch.setattr(Authenticator, "authenticate", fail)
    async with connected(app, Authorization=f"Bearer {owner.bearer}") as client:
        yield client


@pytest.mark.parametrize("face", FACES)
async def test_it_is_answered_in_the_form_of_the_face_and_logged_by_its_place(
    client: httpx2.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    face: str,
) -> None:
    method, path, body, headers, media_type = FACES[face]
    answer = await client.request(method, path, content=body, headers=headers)
    assert answer.status_code == (503 if face == "gateway" else 500), answer.text
    assert answer.headers["content-type"] == media_type
    if media_type == PROBLEM:
        assert answer.json()["code"] == "internal_error"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert answer.headers["x-request-id"] in caplog.text
    assert "ValueError" in caplog.text
    assert "in fail" in caplog.text
    assert DATA not in caplog.text + capsys.readouterr().err + answer.text


async def test_an_answer_that_had_begun_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async def begins(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        fail()

    async with connected(RequestLimits(begins, ServiceAddress(BASE_URL))) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/")
    assert "ValueError" in caplog.text
    assert "in begins" in caplog.text
    assert DATA not in caplog.text


async def test_what_fails_outside_of_everything_is_logged_by_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fails(_scope: Any, _receive: Any, _send: Any) -> None:
        fail()

    async with connected(fails) as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    logged = capsys.readouterr().err
    assert "in fail" in logged
    assert DATA not in logged + answer.text
