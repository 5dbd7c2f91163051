"""``Idempotency-Key``: a POST that creates may be sent again, by anybody's retry, and creates once."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.http.idempotency import delete_expired_responses
from tests.api import ApiAs
from tests.contract.test_preconditions import DOCUMENT
from tests.contract.things import Things

KINDS = [
    "servers", "tools", "identities", "groups", "grants", "tokens", "service-accounts", "credentials",
    "identity-providers", "policies", "webhooks", "audit-sinks",
]  # fmt: skip
KEY = {"Idempotency-Key": "retry-1"}
Sessions = async_sessionmaker[AsyncSession]


async def rows(sessions: Sessions, statement: str, **values: Any) -> list[Any]:
    async with sessions() as session:
        return list(await session.execute(text(statement), values))


def without_secret(answer: dict[str, Any]) -> dict[str, Any]:
    nulled = {name: None for name in ("secret", "client_secret") if name in answer}
    return answer | nulled | ({"secret_available": False} if nulled else {})


def test_every_post_that_creates_takes_a_key() -> None:
    for path, item in DOCUMENT["paths"].items():
        operation = item.get("post")
        if operation is None or "201" not in operation["responses"]:
            continue
        headers = {p["name"] for p in operation.get("parameters", []) if p["in"] == "header"}
        assert "idempotency-key" in {name.lower() for name in headers}, path


@pytest.mark.parametrize("kind", KINDS)
async def test_a_repeat_gets_the_first_answer_and_no_secret(
    things: Things, sessions: Sessions, kind: str
) -> None:
    path, body = await things.order(kind)
    table = "service_account_credentials" if kind == "credentials" else kind.replace("-", "_")
    first = await things.api.post(path, json=body, headers=KEY)
    assert first.status_code == 201, first.text
    assert "Idempotency-Replayed" not in first.headers
    before = await rows(sessions, f"SELECT count(*) FROM {table}")
    again = await things.api.post(path, json=body, headers=KEY)
    assert again.status_code == 201, again.text
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == without_secret(first.json())
    for name in ("Location", "ETag"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert await rows(sessions, f"SELECT count(*) FROM {table}") == before


async def test_twenty_at_once_with_one_key_make_one_object(things: Things, sessions: Sessions) -> None:
    path, body = await things.order("tokens")
    before = await rows(sessions, "SELECT count(*) FROM audit_events WHERE action = 'token.issue'")
    answers = await asyncio.gather(*(things.api.post(path, json=body, headers=KEY) for _ in range(20)))
    seen = [(answer.status_code, answer.json().get("code")) for answer in answers]
    assert set(seen) <= {(201, None), (409, "idempotency_in_flight")}, seen
    created = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.json()["token"]["id"] for answer in created}) == 1
    assert sum(answer.json()["secret"] is not None for answer in created) == 1
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 409)
    assert await rows(sessions, "SELECT count(*) FROM tokens") == [(1,)]
    assert await rows(sessions, "SELECT count(*) FROM token_secrets") == [(1,)]
    after = await rows(sessions, "SELECT count(*) FROM audit_events WHERE action = 'token.issue'")
    assert after[0][0] == before[0][0] + 1


async def test_while_the_first_is_being_answered_the_second_is_told_so(
    things: Things, sessions: Sessions
) -> None:
    path, body = await things.order("tokens")
    assert body is not None
    async with sessions() as session:
        # Who issues a token waits for the identity's row.
        await session.execute(text("SELECT 1 FROM identities FOR UPDATE"))
        first = asyncio.create_task(things.api.post(path, json=body, headers=KEY))
        while not first.done():
            holders = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
            own = "(SELECT oid FROM pg_database WHERE datname = current_database())"
            if (await rows(sessions, holders + own))[0][0]:
                break
        second = await things.api.post(path, json=body, headers=KEY)
        assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_flight")
        assert second.headers["Retry-After"] == "1"
        await session.rollback()
    assert (await first).status_code == 201


async def test_another_request_with_the_key_is_refused(things: Things) -> None:
    path, body = await things.order("groups")
    assert body is not None
    assert (await things.api.post(path, json=body, headers=KEY)).status_code == 201
    for other, at in ((body | {"description": "x"}, path), (body, f"{path}?x=1")):
        answer = await things.api.post(at, json=other, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_the_same_content_in_another_spelling_is_the_same_request(things: Things) -> None:
    path, _ = await things.order("groups")
    spellings = (b'{"name": "a", "description": "b"}', b'{"description":"b",\n"name":"\\u0061"}')
    headers = KEY | {"Content-Type": "application/json"}
    first, again = [await things.api.post(path, content=body, headers=headers) for body in spellings]
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()


async def test_a_key_is_bound_to_its_caller_and_its_route(things: Things, api_as: ApiAs) -> None:
    path, body = await things.order("groups")
    assert body is not None
    first = await things.api.post(path, json=body, headers=KEY)
    other = await (await api_as("admin")).post(path, json=body | {"name": "theirs"}, headers=KEY)
    assert other.status_code == 201
    assert other.json()["id"] != first.json()["id"]
    path, body = await things.order("identities")
    assert (await things.api.post(path, json=body, headers=KEY)).status_code == 201


async def test_a_request_that_failed_leaves_its_key_free(things: Things) -> None:
    path, body = await things.order("groups")
    assert body is not None
    taken = await things.api.post(path, json=body)
    failed = await things.api.post(path, json=body, headers=KEY)
    assert (failed.status_code, failed.json()["code"]) == (409, "name_taken")
    await things.api.delete(taken.headers["Location"])
    assert (await things.api.post(path, json=body, headers=KEY)).status_code == 201


async def test_who_may_not_create_any_more_gets_no_kept_answer(things: Things, api_as: ApiAs) -> None:
    admin = await api_as("admin")
    path, body = await things.order("groups")
    assert (await admin.post(path, json=body, headers=KEY)).status_code == 201
    mine = (await admin.get("/api/v1/me")).json()["id"]
    changed = await things.api.patch(f"/api/v1/service-accounts/{mine}", json={"role": "auditor"})
    assert changed.status_code == 200
    assert (await admin.post(path, json=body, headers=KEY)).status_code == 403


@pytest.mark.parametrize("key", [b"", b" ", b"a b", b"x" * 256, b"\x7f", b"\xc3\xbc"])
async def test_a_malformed_key_is_named(api: httpx2.AsyncClient, key: bytes) -> None:
    answer = await api.post("/api/v1/groups", json={"name": "x"}, headers={b"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_malformed")
    assert (await api.get("/api/v1/groups")).json()["items"] == []


async def test_two_keys_are_none(api: httpx2.AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await api.post("/api/v1/groups", json={"name": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_malformed")


async def test_nothing_kept_holds_a_secret(things: Things, sessions: Sessions) -> None:
    for kind in KINDS:
        path, body = await things.order(kind)
        assert (await things.api.post(path, json=body, headers=KEY)).status_code == 201
    kept = await rows(sessions, "SELECT route, body::text, headers::text FROM idempotency_keys")
    assert len(kept) == len(KINDS)
    for route, body, headers in kept:
        assert not re.search(r"sg[a-z]_[0-9A-Za-z]{22}|whsec_", body + headers), route


def test_no_answer_model_holds_a_secret_that_would_be_kept() -> None:
    """A model with a secret says how it looks without."""
    source = "\n".join(path.read_text() for path in (Path(__file__).parents[2] / "app").rglob("schemas.py"))
    models = re.findall(r"^class (\w+)\((\w+)\):(.*?)(?=^class |\Z)", source, re.MULTILINE | re.DOTALL)
    revealing = {
        name: base for name, base, body in models if re.search(r"^    (\w+_)?secret: str", body, re.MULTILINE)
    }
    assert revealing.keys() == {"TokenSecretView", "IssuedCredential", "WebhookSecretView"}
    assert set(revealing.values()) == {"Revealed"}


async def test_after_a_day_a_key_is_new_and_what_was_kept_is_forgotten(
    things: Things, sessions: Sessions, database_url: str
) -> None:
    path, body = await things.order("groups")
    assert body is not None
    await things.api.post(path, json=body, headers=KEY)
    await things.api.post(path, json=body | {"name": "b"}, headers={"Idempotency-Key": "retry-2"})
    async with sessions() as session:
        await session.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
        await session.commit()
    again = await things.api.post(path, json=body | {"name": "c"}, headers=KEY)
    assert again.status_code == 201
    assert again.json()["name"] == "c"
    assert await rows(sessions, "SELECT key FROM idempotency_keys") == [("retry-1",)]
    async with sessions() as session:
        await session.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
        await session.commit()
    assert await delete_expired_responses(database_url) == 1
    assert await delete_expired_responses(database_url) == 0
