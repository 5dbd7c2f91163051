"""The break-glass administrator: off unless configured, rate-limited, fully audited."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from app.cli.database import maintain
from app.domain.token_format import format_credential
from app.features.administrators import break_glass
from app.http import live
from app.lib.ids import KEY, new_id, parse_id
from app.main import Scopegate, create_app
from app.settings import Settings
from tests.api import KEY as TEST_KEY
from tests.api import client_of
from tests.features.administrators.people import Sessions, recorded, rows, run
from tests.streams import listening

PASSWORD = "correct horse battery staple"
# Hashes of this password and of another one, with a cost that suits tests.
HASH = "$argon2id$v=19$m=64,t=1,p=1$GUOIUSqlVOodg5AypnRuDQ$XW39KGKtwGOTPKAOhGTbLSLegQ7Mm6mOSN1b+RSBh5s"
ANOTHER = "$argon2id$v=19$m=64,t=1,p=1$3JvTmpMSolRKqZWSMiYkxA$bqQ26hXHnW+YFqz85CLRqGHpuz2d6ARLSHEabpVRjUM"
PATH = "/api/v1/break-glass"


async def started(database_url: str, hashed: str | None) -> AsyncIterator[Scopegate]:
    key = SecretStr(TEST_KEY)
    app = create_app(
        Settings(
            database_url=SecretStr(database_url),
            token_pepper=key,
            encryption_key=key,
            signing_key=key,
            break_glass_password_hash=None if hashed is None else SecretStr(hashed),
        )
    )
    async with app.api.router.lifespan_context(app.api):
        yield app


@pytest.fixture
async def guarded(database_url: str) -> AsyncIterator[Scopegate]:
    """The application with a break-glass password."""
    async for app in started(database_url, HASH):
        yield app


@pytest.fixture
async def door(guarded: Scopegate) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a credential."""
    async with client_of(guarded) as client:
        yield client


async def attempt(door: httpx2.AsyncClient, password: str = PASSWORD, **more: Any) -> httpx2.Response:
    return await door.post(PATH, json={"password": password, "reason": "The provider is down.", **more})


async def opened(door: httpx2.AsyncClient) -> dict[str, str]:
    answer = await attempt(door)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def test_without_a_configured_password_there_is_no_such_administrator(
    anonymous: httpx2.AsyncClient, sessions: Sessions
) -> None:
    assert (await attempt(anonymous)).status_code == 404
    bearer = format_credential("sge", new_id(), bytes(32))
    answer = await anonymous.get("/api/v1/me", headers={"Authorization": f"Bearer {bearer}"})
    assert answer.status_code == 401


async def test_the_password_gives_an_owner_for_a_quarter_of_an_hour(
    door: httpx2.AsyncClient, sessions: Sessions
) -> None:
    answer = await attempt(door)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    me = await door.get("/api/v1/me", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert (me.json()["type"], me.json()["role"], me.json()["identity_id"]) == ("break_glass", "owner", None)
    [row] = await rows(sessions, "SELECT *, expires_at - created_at AS lasts FROM break_glass_sessions")
    assert me.json()["id"] == f"key_{me.json()['id'].partition('_')[2]}"
    assert parse_id(KEY, me.json()["id"]) == row.id
    assert 899 < row.lasts.total_seconds() < 901
    assert row.reason == "The provider is down."


async def test_a_wrong_password_is_refused_and_recorded_with_where_it_came_from(
    door: httpx2.AsyncClient, sessions: Sessions
) -> None:
    answer = await attempt(door, "not the password")
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    [event] = await rows(
        sessions,
        "SELECT e.*, c.ip FROM audit_events e JOIN audit_clients c ON c.id = e.client_id"
        " WHERE action = 'break_glass.sign_in'",
    )
    assert (event.outcome, event.decision, event.reason_code, event.actor_type, event.object_id, event.ip) == (
        "denied", "deny", "wrong_password", "anonymous", None, "127.0.0.1",
    )  # fmt: skip
    assert event.request_id == answer.headers["x-request-id"]
    assert await rows(sessions, "SELECT 1 FROM break_glass_sessions") == []


async def test_every_use_is_recorded_a_failing_one_too(door: httpx2.AsyncClient, sessions: Sessions) -> None:
    bearer = await opened(door)
    assert (await door.get("/api/v1/identities", headers=bearer)).status_code == 200
    missing = f"/api/v1/identities/idn_{'0' * 26}"
    assert (await door.get(missing, headers=bearer)).status_code == 404
    assert (await door.post("/api/v1/identities", headers=bearer, json={})).status_code == 422
    assert await recorded(sessions) == [
        ("break_glass.sign_in", None),
        ("break_glass.use", {"method": "GET", "route": "/api/v1/identities"}),
        ("break_glass.use", {"method": "GET", "route": "/api/v1/identities/{identity_id}"}),
        ("break_glass.use", {"method": "POST", "route": "/api/v1/identities"}),
    ]


async def test_a_live_stream_is_one_use_however_often_it_looks(
    guarded: Scopegate, door: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_EVERY_S", 0.02)
    bearer = await opened(door)
    used = "break_glass.use"
    async with listening(guarded, "/api/v1/audit-events/stream", bearer, {"action": "token.issue"}) as stream:
        await stream.block()
        for _ in range(3):
            await run(
                sessions,
                "INSERT INTO audit_events (id, action, actor_type) VALUES (gen_random_uuid(), 'token.issue', 'system')",
            )
            await stream.event()
        assert len(await recorded(sessions, used)) == 1


async def test_what_cannot_be_recorded_is_not_served(door: httpx2.AsyncClient, sessions: Sessions) -> None:
    bearer = await opened(door)
    [month] = await rows(sessions, "SELECT to_char(now() AT TIME ZONE 'UTC', '\"y\"YYYY\"m\"MM') AS name")
    await run(sessions, f"DROP TABLE audit_events_{month.name}")
    for answer in (
        await door.get("/api/v1/identities", headers=bearer),
        await attempt(door),
        await attempt(door, "not the password"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert len(await rows(sessions, "SELECT 1 FROM break_glass_sessions")) == 1


async def test_what_it_does_is_attributed_to_its_session(
    door: httpx2.AsyncClient, sessions: Sessions
) -> None:
    bearer = await opened(door)
    me = (await door.get("/api/v1/me", headers=bearer)).json()
    made = await door.post("/api/v1/identities", headers=bearer, json={"kind": "person", "user_name": "ada"})
    assert made.status_code == 201
    events = await door.get("/api/v1/audit-events", headers=bearer, params={"actor_id": me["id"]})
    assert {event["action"] for event in events.json()["items"]} >= {
        "break_glass.sign_in", "break_glass.use", "identity.create",
    }  # fmt: skip
    shown = next(event for event in events.json()["items"] if event["action"] == "identity.create")
    assert shown["actor"] == {"type": "break_glass", "id": me["id"], "name": "break-glass administrator"}


async def test_another_password_ends_the_sessions_of_the_one_before(
    door: httpx2.AsyncClient, database_url: str
) -> None:
    bearer = await opened(door)
    async for app in started(database_url, ANOTHER):
        async with client_of(app) as other:
            assert (await other.get("/api/v1/me", headers=bearer)).status_code == 401
    async for app in started(database_url, None):
        async with client_of(app) as other:
            assert (await other.get("/api/v1/me", headers=bearer)).status_code == 401
    assert (await door.get("/api/v1/me", headers=bearer)).status_code == 200


async def test_an_expired_or_forged_bearer_is_refused_like_any_other(
    door: httpx2.AsyncClient, sessions: Sessions
) -> None:
    bearer = await opened(door)
    [row] = await rows(sessions, "SELECT id FROM break_glass_sessions")
    forged = format_credential("sge", row.id, bytes(32))
    refused = await door.get("/api/v1/me", headers={"Authorization": f"Bearer {forged}"})
    assert refused.status_code == 401
    await run(sessions, "UPDATE break_glass_sessions SET expires_at = clock_timestamp()")
    expired = await door.get("/api/v1/me", headers=bearer)
    assert expired.status_code == 401
    assert {**expired.json(), "request_id": ""} == {**refused.json(), "request_id": ""}
    assert [action for action, _ in await recorded(sessions)] == ["break_glass.sign_in"]


async def test_guesses_are_throttled_and_the_flood_is_one_event(
    door: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(break_glass, "matches_hash", lambda password, hashed: False)
    for _ in range(break_glass.MAX_ATTEMPTS_PER_ADDRESS):
        assert (await attempt(door, "guess")).status_code == 401
    for _ in range(3):
        answer = await attempt(door)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    events = await rows(sessions, "SELECT reason_code, count(*) AS n FROM audit_events GROUP BY reason_code")
    assert {event.reason_code: event.n for event in events} == {
        "wrong_password": break_glass.MAX_ATTEMPTS_PER_ADDRESS,
        "throttled": 1,
    }


async def test_hashing_neither_stops_the_loop_nor_runs_twice_at_once(
    door: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, begun, let_go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    running: list[str] = []
    most: list[int] = []

    def slow(password: str, hashed: str) -> bool:
        running.append(password)
        most.append(len(running))
        loop.call_soon_threadsafe(begun.set)
        let_go.wait(30)
        running.pop()
        return False

    monkeypatch.setattr(break_glass, "matches_hash", slow)
    attempts = [asyncio.create_task(attempt(door, "guess")) for _ in range(3)]
    await begun.wait()
    assert (await door.get("/livez")).status_code == 200
    let_go.set()
    assert {answer.status_code for answer in await asyncio.gather(*attempts)} == {401}
    assert most == [1, 1, 1]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"password": PASSWORD},
        {"password": PASSWORD, "reason": ""},
        {"password": "", "reason": "why"},
        {"password": "x" * 1025, "reason": "why"},
        {"password": 7, "reason": "why"},
        {"password": None, "reason": "why"},
        {"password": "lone \ud800", "reason": "why"},
        {"password": PASSWORD, "reason": "nul \x00"},
        {"password": PASSWORD, "reason": "why", "role": "owner"},
    ],
)
async def test_a_malformed_attempt_says_what_is_wrong_and_never_repeats_the_password(
    door: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await door.post(PATH, content=json.dumps(body).encode(), headers=headers)
    assert answer.status_code in {400, 422}
    assert PASSWORD not in answer.text
    assert "x" * 20 not in answer.text


async def test_a_stranger_cannot_have_a_large_body_looked_at(door: httpx2.AsyncClient) -> None:
    many = {f"k{number}": "" for number in range(5_000)}
    answer = await attempt(door, **many)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    longest = {"password": "\U0001f600" * 1024, "reason": "\U0001f600" * 500}
    headers = {"Content-Type": "application/json"}
    answer = await door.post(PATH, content=json.dumps(longest).encode(), headers=headers)
    assert answer.status_code == 401


async def test_neither_password_nor_bearer_is_stored_anywhere(
    door: httpx2.AsyncClient, sessions: Sessions
) -> None:
    bearer = (await opened(door))["Authorization"].removeprefix("Bearer ")
    await attempt(door, "not the password")
    for table in ("break_glass_sessions", "audit_events", "audit_clients"):
        for row in await rows(sessions, f"SELECT to_jsonb(t)::text AS line FROM {table} t"):
            assert PASSWORD not in row.line
            assert "not the password" not in row.line
            assert bearer.rpartition("_")[2][:20] not in row.line


async def test_its_bearer_does_not_open_the_gateway(door: httpx2.AsyncClient) -> None:
    bearer = await opened(door)
    answer = await door.post("/mcp", headers=bearer, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert answer.status_code == 401


async def test_maintenance_forgets_a_session_when_its_events_are_past_what_is_kept(
    door: httpx2.AsyncClient, sessions: Sessions, database_url: str
) -> None:
    await opened(door)
    await run(sessions, "UPDATE break_glass_sessions SET expires_at = '2026-01-31 23:59:59+00'")
    await opened(door)
    url = SecretStr(database_url)

    async def left() -> int:
        return len(await rows(sessions, "SELECT 1 FROM break_glass_sessions"))

    # The events of January are dropped when the whole month is past retention.
    for now, sessions_left in (("2026-02-28", 2), ("2026-03-01", 1), ("2026-03-01", 1)):
        at = datetime.fromisoformat(now).replace(tzinfo=UTC) + timedelta(hours=23)
        await break_glass.forget_sessions(database_url, keep=timedelta(days=28), now=at)
        assert await left() == sessions_left

    await run(sessions, "UPDATE break_glass_sessions SET expires_at = '2026-01-31 23:59:59+00'")
    key = SecretStr(TEST_KEY)
    settings = Settings(database_url=url, token_pepper=key, encryption_key=key, signing_key=key)
    await asyncio.to_thread(maintain, settings.model_copy(update={"audit_retention": timedelta(days=1)}))
    assert await left() == 0
