"""Changes of identities, tokens and grants are notified once, with the change and never without it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import event, text
from sqlmodel import col

import app
from app.crypto.keys import Peppers
from app.db.change import Change
from app.db.engine import commit
from app.db.webhook_events import WebhookEvent
from app.features.service_accounts.service import bootstrap
from app.features.tokens.service import revoke_tokens
from app.http.authorization import Caller, Role
from app.lib.ids import EVENT, IDENTITY, TOKEN, format_id, parse_id
from app.models.identities import Identity
from app.models.tokens import Token
from app.models.webhooks import Webhook
from tests.features.principals import Json, Sessions, agent, grant, group, person
from tests.features.tokens.world import in_days

SYSTEM = Caller.system(Role.ADMIN)


class Subscriber:
    """The messages to a webhook that receives everything, step by step."""

    def __init__(self, api: httpx2.AsyncClient, sessions: Sessions) -> None:
        self.api = api
        self.sessions = sessions

    async def since(self) -> list[tuple[str, Json]]:
        """The messages since the last call, by type; each has an audit event, which is removed from ``data``."""
        async with self.sessions() as session:
            rows = await session.execute(text("DELETE FROM webhook_deliveries RETURNING type, data"))
            said = sorted(((row.type, dict(row.data)) for row in rows), key=repr)
            for _, data in said:
                found = "SELECT action FROM audit_events WHERE id = :id"
                event_id = parse_id(EVENT, data.pop("event_id"))
                assert await session.scalar(text(found), {"id": event_id}) is not None
            await session.commit()
        return said

    async def after(self, method: str, path: str, body: Any = None, **fields: Any) -> list[tuple[str, Json]]:
        """The messages of one successful request."""
        answer = await self.api.request(method, f"/api/v1/{path}", json=body, **fields)
        assert answer.is_success, answer.text
        return await self.since()


@pytest.fixture
async def subscriber(api: httpx2.AsyncClient, sessions: Sessions) -> Subscriber:
    async with sessions() as session:
        # Paused, so that no worker delivers what the test reads.
        everything = Webhook(name="all", url="https://example.com", events=list(WebhookEvent))
        session.add(everything)
        await session.flush()
        await session.execute(text("UPDATE webhooks SET held_until = now() + interval '1 day'"))
        await session.commit()
    return Subscriber(api, sessions)


async def test_each_change_of_an_identity_is_sent_once(subscriber: Subscriber) -> None:
    ada = await person(subscriber.api, email="ada@example.com")
    about, path = {"identity_id": ada["id"]}, f"identities/{ada['id']}"
    assert await subscriber.since() == [("identity.created", about)]
    assert await subscriber.after("PATCH", path, {"email": "a@example.com"}) == [("identity.updated", about)]
    assert await subscriber.after("PATCH", path, {"email": "a@example.com"}) == []
    assert await subscriber.after("POST", f"{path}/suspend") == [("identity.suspended", about)]
    assert await subscriber.after("POST", f"{path}/suspend") == []
    assert await subscriber.after("POST", f"{path}/reinstate") == [("identity.reinstated", about)]
    assert await subscriber.after("POST", f"{path}/reinstate") == []
    answer = await subscriber.api.patch(f"/api/v1/{path}", json={"email": None}, headers={"If-Match": '"1"'})
    assert (answer.status_code, await subscriber.since()) == (412, [])
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    later = {"reason": "leaves", "effective_at": at.astimezone(timezone(timedelta(hours=9))).isoformat()}
    moment = about | {"effective_at": at.isoformat().replace("+00:00", "Z")}
    assert await subscriber.after("POST", f"{path}/offboard", later) == [
        ("identity.offboarding_scheduled", moment)
    ]
    [waiting] = (await subscriber.api.get("/api/v1/scheduled-offboardings")).json()["items"]
    cancel = ("DELETE", f"scheduled-offboardings/{waiting['id']}")
    assert await subscriber.after(*cancel) == [("identity.offboarding_cancelled", about)]
    assert await subscriber.after("POST", f"{path}/offboard?dry_run=true", {"reason": "left"}) == []
    [(type, data)] = await subscriber.after("POST", f"{path}/offboard", {"reason": "left"})
    answer = await subscriber.api.post(f"/api/v1/{path}/offboard", json={"reason": "left"})
    assert (type, data) == ("identity.offboarded", about | {"receipt_id": answer.json()["receipt_id"]})
    assert await subscriber.since() == []
    assert await subscriber.after("POST", f"{path}/erase") == [("identity.erased", about)]
    assert await subscriber.after("POST", f"{path}/erase") == []


async def test_each_change_of_a_token_and_of_those_below_it_is_sent_once(subscriber: Subscriber) -> None:
    ada = await person(subscriber.api)
    await subscriber.since()
    whose = {"identity_id": ada["id"]}

    async def issue(**fields: Any) -> tuple[Json, str]:
        body = whose | {"name": "laptop", "scope": {"kind": "grants"}, "expires_at": in_days(9)}
        answer = await subscriber.api.post("/api/v1/tokens", json=body | fields)
        assert answer.status_code == 201, answer.text
        token = answer.json()["token"]
        return whose | {"token_id": token["id"]}, f"tokens/{token['id']}"

    first, path = await issue()
    assert await subscriber.since() == [("token.issued", first)]
    second, child = await issue(parent_id=first["token_id"], expires_at=in_days(8))
    assert await subscriber.since() == [("token.issued", second | {"parent_id": first["token_id"]})]
    assert await subscriber.after("PATCH", path, {"name": "desk"}) == [("token.updated", first)]
    assert await subscriber.after("PATCH", path, {"name": "desk"}) == []
    assert await subscriber.after("PATCH", path, {"expires_at": in_days(7)}) == [
        ("token.updated", first),
        ("token.updated", second),
    ]
    assert await subscriber.after("POST", f"{path}/rotate", {}) == [("token.rotated", first)]
    assert await subscriber.after("POST", f"{path}/revoke?dry_run=true", {"reason": "lost"}) == []
    ended = [("token.revoked", first), ("token.revoked", second)]
    assert await subscriber.after("POST", f"{path}/revoke", {"reason": "lost"}) == ended
    assert await subscriber.after("POST", f"{child}/revoke", {"reason": "lost"}) == []
    await subscriber.api.post(f"/api/v1/identities/{ada['id']}/suspend")
    await subscriber.since()
    body = whose | {"name": "late", "scope": {"kind": "grants"}, "expires_at": in_days(9)}
    refused = await subscriber.api.post("/api/v1/tokens", json=body)
    assert (refused.status_code, await subscriber.since()) == (409, [])


async def test_each_change_of_a_grant_is_sent_once_and_those_of_a_group_end_with_it(
    subscriber: Subscriber,
) -> None:
    ada, team = await person(subscriber.api), await group(subscriber.api)
    await subscriber.since()
    own = await grant(subscriber.api, ada)
    about, path = {"grant_id": own["id"], "identity_id": ada["id"]}, f"grants/{own['id']}"
    assert await subscriber.since() == [("grant.created", about)]
    assert await subscriber.after("PATCH", path, {"expires_at": in_days(9)}) == [("grant.updated", about)]
    assert await subscriber.after("PATCH", path, {"prompts": True}) == []
    assert await subscriber.after("DELETE", path) == [("grant.ended", about)]
    shared = [await grant(subscriber.api, team) for _ in range(2)]
    theirs = [{"grant_id": one["id"], "group_id": team["id"]} for one in shared]
    assert await subscriber.since() == [("grant.created", one) for one in theirs]
    assert await subscriber.after("DELETE", f"groups/{team['id']}") == [
        ("grant.ended", one) for one in theirs
    ]


async def test_all_that_an_offboarding_ends_is_told(subscriber: Subscriber) -> None:
    ada, heir = await person(subscriber.api), await person(subscriber.api)
    robot, mine = await agent(subscriber.api, ada), await grant(subscriber.api, ada)
    order = {"identity_id": robot["id"], "name": "job", "scope": {"kind": "grants"}}
    token = (await made_token(subscriber.api, order | {"expires_at": in_days(5)}))["id"]
    await subscriber.since()
    said = await subscriber.after("POST", f"identities/{ada['id']}/offboard", {"reason": "left"})
    assert [(type, data) for type, data in said if type != "identity.offboarded"] == [
        ("grant.ended", {"grant_id": mine["id"], "identity_id": ada["id"]}),
        ("identity.suspended", {"identity_id": robot["id"]}),
        ("token.revoked", {"token_id": token, "identity_id": robot["id"]}),
    ]
    # A transferred agent and its tokens stay active.
    other = await agent(subscriber.api, heir)
    await subscriber.since()
    to = await person(subscriber.api)
    await subscriber.since()
    body = {"reason": "left", "transfer_agents_to": to["id"]}
    said = await subscriber.after("POST", f"identities/{heir['id']}/offboard", body)
    assert ("identity.updated", {"identity_id": other["id"]}) in said
    assert len(said) == 2


async def made_token(api: httpx2.AsyncClient, body: Json) -> Json:
    answer = await api.post("/api/v1/tokens", json=body)
    assert answer.status_code == 201, answer.text
    token: Json = answer.json()["token"]
    return token


@asynccontextmanager
async def statements(sessions: Sessions) -> AsyncIterator[list[str]]:
    """The statements sent to the database until the end of the block."""
    engine, sent = sessions.kw["bind"].sync_engine, list[str]()

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_many_tokens_that_end_together_take_one_statement_and_none_without_subscribers(
    sessions: Sessions,
) -> None:
    async def end(tokens: int) -> list[str]:
        """The statements of a revocation of this many tokens."""
        async with sessions() as session:
            who = Identity(kind="person", user_name=uuid4().hex)
            session.add(who)
            await session.flush()
            values = {"id": who.id, "times": tokens}
            await session.execute(text(
                "INSERT INTO tokens (id, identity_id, name, scope, expires_at) SELECT gen_random_uuid(), :id, 'one', "
                "'{}', now() + interval '9 days' FROM generate_series(1, :times)"
            ), values)  # fmt: skip
            await session.commit()
            async with statements(sessions) as sent:
                mine = [col(Token.identity_id) == who.id]
                await revoke_tokens(Change(session, SYSTEM, None, datetime.now(UTC)), mine, "lost")
                await commit(session)
        return [one for one in sent if "webhook" in one]

    [asked] = await end(30)
    assert "INSERT" not in asked
    async with sessions() as session:
        session.add(Webhook(name="tokens", url="https://example.com", events=["token.revoked"]))
        session.add(Webhook(name="grants", url="https://example.com", events=["grant.ended"]))
        await session.commit()
    assert len(await end(1)) == len(await end(3000)) == 2
    async with sessions() as session:
        rows = (await session.execute(text("SELECT DISTINCT data FROM webhook_deliveries"))).all()
        ids = await session.execute(text("SELECT id, identity_id FROM tokens WHERE revoked_at IS NOT NULL"))
        owners = {format_id(TOKEN, row.id): format_id(IDENTITY, row.identity_id) for row in ids}
    assert len(rows) == 3001
    assert all(owners[row.data["token_id"]] == row.data["identity_id"] for row in rows)


async def test_what_was_refused_is_not_sent_and_a_repeated_request_not_again(
    subscriber: Subscriber,
) -> None:
    ada = await person(subscriber.api)
    await subscriber.since()
    taken = {"kind": "person", "user_name": ada["user_name"]}
    assert (await subscriber.api.post("/api/v1/identities", json=taken)).status_code == 409
    assert await subscriber.since() == []
    key = {"Idempotency-Key": uuid4().hex}
    body = {"kind": "person", "user_name": uuid4().hex}
    for _ in range(2):
        answer = await subscriber.api.post("/api/v1/identities", json=body, headers=key)
        assert answer.status_code == 201
    assert await subscriber.since() == [("identity.created", {"identity_id": answer.json()["id"]})]


async def test_who_gets_in_by_the_database_is_told_of(sessions: Sessions, peppers: Peppers) -> None:
    async with sessions() as session:
        session.add(Webhook(name="people", url="https://example.com", events=["identity.created"]))
        await session.flush()
        made = await bootstrap(session, peppers)
        await commit(session)
        [row] = await session.execute(text("SELECT data FROM webhook_deliveries"))
    assert row.data["identity_id"] == format_id(IDENTITY, made.identity_id)


def test_whatever_records_a_change_of_an_identity_token_or_grant_tells_of_it() -> None:
    """What the other tests check for existing changes, for later ones."""
    words = "create|update|suspend|reinstate|offboard|erase|issue|rotate|revoke|end|.*_offboarding"
    recorded = re.compile(rf'"(identity|token|grant)\.({words})"')
    # Not the console and schemas: they record nothing themselves, and name events as filters and examples.
    places = Path(app.__file__).parent.rglob("*.py")
    records = [path for path in places if "console" not in path.parts and not path.stem.endswith("schemas")]
    sources = {path: path.read_text() for path in records}
    recording = {path: source for path, source in sources.items() if recorded.search(source)}
    assert sum(len(recorded.findall(source)) for source in recording.values()) > 10
    assert [path for path, source in recording.items() if not re.search(r"_message\(|webhook=", source)] == []
