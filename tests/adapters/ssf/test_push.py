"""Pushed events: what is taken, what is refused and how, and that each is done once."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
from joserfc.jwk import ECKey, OctKey, RSAKey
from sqlalchemy import text

from app.adapters.ssf.push_routes import SKEW_S
from app.crypto import jwt as key_times
from app.crypto.jwt import MAX_CHARACTERS
from app.crypto.keys import Peppers
from app.domain.security_events import EventType
from tests.adapters.oidc.tokens import part, public, token
from tests.adapters.ssf.transmitter import AUDIENCE, Transmitter
from tests.adapters.ssf.world import OIDC_ISSUER, World, register
from tests.api import KEY, make_account

Json = dict[str, Any]
ADA: Json = {"format": "iss_sub", "iss": OIDC_ISSUER, "sub": "ada"}
DISABLED = EventType.ACCOUNT_DISABLED
FULL = (
    """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END $$""",
    "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON signal_streams FOR EACH ROW EXECUTE FUNCTION full_disk()",
)
OTHERS_KEY = ECKey.generate_key("P-256", {"kid": "first"})
UNKNOWN_KEY = ECKey.generate_key("P-256", {"kid": "nobodys"})
RSA_KEY = RSAKey.generate_key(2048, {"kid": "first"})


def said(world: Transmitter, **changed: Any) -> str:
    """An event token whose claims are good but for these."""
    return world.event(DISABLED, ADA, **changed)


def about(it: Transmitter, subject: object) -> str:
    """A good event about this."""
    return it.sign(it.claims(DISABLED, ADA, sub_id=subject))


def raw(it: Transmitter, claims: bytes) -> str:
    """Claims as they are written, well signed."""
    header = {"alg": "ES256", "typ": "secevent+jwt", "kid": "first"}
    return token(header, claims, it.keys[0])


def shared_secret(it: Transmitter) -> str:
    """Signed with the published key as if it were a shared secret."""
    secret = OctKey.import_key(json.dumps(public(it.keys[0])[0]))
    header = {"alg": "HS256", "typ": "secevent+jwt", "kid": "first"}
    return token(header, it.claims(DISABLED, ADA), secret)


def unsigned(it: Transmitter) -> str:
    header = {"alg": "none", "typ": "secevent+jwt"}
    return (part(header) + b"." + part(it.claims(DISABLED, ADA)) + b".").decode()


def brought_key(it: Transmitter) -> str:
    """Signed with a key that it brings along."""
    return it.sign(it.claims(DISABLED, ADA), OTHERS_KEY, jwk=public(OTHERS_KEY)[0])


def swapped(it: Transmitter) -> str:
    """The signature of one event under another."""
    first, second = said(it), it.event(DISABLED, ADA | {"sub": "eve"})
    return ".".join([*first.split(".")[:2], second.split(".")[2]])


def duplicate(it: Transmitter, name: str) -> str:
    """Claims that say one of them twice."""
    written = json.dumps(it.claims(DISABLED, ADA))
    return raw(it, f'{{"{name}": "x", {written[1:]}'.encode())


WRONG: dict[str, tuple[str, Callable[[Transmitter], str]]] = {
    "nothing": ("invalid_request", lambda it: ""),
    "no token": ("invalid_request", lambda it: "ada is disabled"),
    "no JSON": ("invalid_request", lambda it: raw(it, b"{")),
    "no object": ("invalid_request", lambda it: raw(it, b"[]")),
    "beyond ASCII": ("authentication_failed", lambda it: said(it) + "é"),
    "encrypted": ("invalid_request", lambda it: said(it) + ".a.b"),
    "unsigned": ("invalid_key", unsigned),
    "signed with the public key as a secret": ("invalid_key", shared_secret),
    "an algorithm that is not in the settings": (
        "invalid_key", lambda it: it.sign(it.claims(DISABLED, ADA), RSA_KEY, alg="RS256")),
    "a key that nobody publishes": ("invalid_key", lambda it: it.sign(it.claims(DISABLED, ADA), UNKNOWN_KEY)),
    "another's key under our name": (
        "authentication_failed", lambda it: it.sign(it.claims(DISABLED, ADA), OTHERS_KEY)),
    "a key brought along": ("authentication_failed", brought_key),
    "changed after it was signed": ("authentication_failed", swapped),
    "an ID token": ("invalid_request", lambda it: it.sign(it.claims(DISABLED, ADA), typ="JWT")),
    "an access token": ("invalid_request", lambda it: it.sign(it.claims(DISABLED, ADA), typ="at+jwt")),
    "a logout token": ("invalid_request", lambda it: it.sign(it.claims(DISABLED, ADA), typ="logout+jwt")),
    "no type": ("invalid_request", lambda it: it.sign(it.claims(DISABLED, ADA), typ=...)),
    "critical headers": ("invalid_request", lambda it: it.sign(it.claims(DISABLED, ADA), crit=["exp"])),
    "a kid that is no text": ("invalid_key", lambda it: it.sign(it.claims(DISABLED, ADA), kid=7)),
    "another issuer": ("invalid_issuer", lambda it: said(it, iss="https://other.example.com")),
    "the provider's own issuer": ("invalid_issuer", lambda it: said(it, iss=OIDC_ISSUER)),
    "an issuer of a slash less": ("invalid_issuer", lambda it: said(it, iss=it.issuer.rstrip("/"))),
    "issuers": ("invalid_issuer", lambda it: said(it, iss=[it.issuer])),
    "no issuer": ("invalid_issuer", lambda it: said(it, iss=...)),
    "another audience": ("invalid_audience", lambda it: said(it, aud="https://other.example.com")),
    "audiences without ours": ("invalid_audience", lambda it: said(it, aud=["https://other.example.com"])),
    "an audience that begins like ours": ("invalid_audience", lambda it: said(it, aud=AUDIENCE + "/x")),
    "an audience among other things": ("invalid_audience", lambda it: said(it, aud=[AUDIENCE, {"a": 1}])),
    "no audience": ("invalid_audience", lambda it: said(it, aud=...)),
    "an empty audience": ("invalid_audience", lambda it: said(it, aud=[])),
    "a sub": ("invalid_request", lambda it: said(it, sub="ada")),
    "an end": ("invalid_request", lambda it: said(it, exp=4_000_000_000)),
    "no jti": ("invalid_request", lambda it: said(it, jti=...)),
    "a jti that is a number": ("invalid_request", lambda it: said(it, jti=7)),
    "an empty jti": ("invalid_request", lambda it: said(it, jti="")),
    "a jti of 10 kB": ("invalid_request", lambda it: said(it, jti="j" * 10_000)),
    "a jti with a line in it": ("invalid_request", lambda it: said(it, jti="a\nforged line")),
    "a NUL": ("invalid_request", lambda it: said(it, jti="a\x00b")),
    "half of a pair": ("invalid_request", lambda it: said(it, jti="\ud800")),
    "no time": ("invalid_request", lambda it: said(it, iat=...)),
    "a time that is true": ("invalid_request", lambda it: said(it, iat=True)),
    "a time as text": ("invalid_request", lambda it: said(it, iat="1800000000")),
    "a time that no date holds": ("invalid_request", lambda it: said(it, iat=1e300)),
    "a time before all": ("invalid_request", lambda it: said(it, iat=-1)),
    "the future": ("invalid_request", lambda it: said(it, iat=it.claims(DISABLED, ADA)["iat"] + SKEW_S + 30)),
    "not a number": ("invalid_request", lambda it: said(it, iat=float("nan"))),
    "no events": ("invalid_request", lambda it: said(it, events=...)),
    "no event": ("invalid_request", lambda it: said(it, events={})),
    "two events": ("invalid_request", lambda it: said(it, events={DISABLED.value: {}, "urn:x": {}})),
    "events as a list": ("invalid_request", lambda it: said(it, events=[DISABLED.value])),
    "an event that is no object": ("invalid_request", lambda it: said(it, events={DISABLED.value: None})),
    "an event in an event's place": ("invalid_request", lambda it: said(it, events={"events": {DISABLED.value: {}}})),
    "a type of 10 kB": ("invalid_request", lambda it: said(it, events={"urn:" + "x" * 10_000: {}})),
    "a moment that is none": ("invalid_request", lambda it: said(it, payload={"event_timestamp": "now"})),
    "no subject": ("invalid_request", lambda it: about(it, ...)),
    "a subject that is text": ("invalid_request", lambda it: about(it, "ada")),
    "a subject of the event alone": ("invalid_request", lambda it: said(it, sub_id=..., payload={"subject": ADA})),
    "a subject without a format": ("invalid_request", lambda it: about(it, {"iss": OIDC_ISSUER, "sub": "ada"})),
    "a subject with more than its own": ("invalid_request", lambda it: about(it, ADA | {"email": "eve@example.com"})),
    "a subject of a list": ("invalid_request", lambda it: about(it, ADA | {"sub": ["ada", "eve"]})),
    "a subject of SQL wildcards and more": (
        "invalid_request", lambda it: about(it, {"format": "opaque", "id": {"like": "%"}})),
    "a subject too long": ("invalid_request", lambda it: about(it, {"format": "opaque", "id": "x" * 2_000})),
    "aliases of aliases": (
        "invalid_request",
        lambda it: about(it, {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [ADA]}]})),
    "aliases without end": ("invalid_request", lambda it: about(it, {"format": "aliases", "identifiers": [ADA] * 21})),
    "parts of parts": (
        "invalid_request",
        lambda it: about(it, {"format": "complex", "user": {"format": "complex", "user": ADA}})),
    "parts without end": (
        "invalid_request", lambda it: about(it, {"format": "complex"} | {f"p{n}": ADA for n in range(21)})),
    "issuer twice": ("invalid_request", lambda it: duplicate(it, "iss")),
    "subject twice": ("invalid_request", lambda it: duplicate(it, "sub_id")),
    "jti twice": ("invalid_request", lambda it: duplicate(it, "jti")),
    "a byte order mark": ("invalid_request", lambda it: raw(it, b"\xef\xbb\xbf{}")),
    "UTF-16": ("invalid_request", lambda it: raw(it, json.dumps(it.claims(DISABLED, ADA)).encode("utf-16"))),
    "NaN": ("invalid_request", lambda it: raw(it, b'{"exp": NaN}')),
    "a huge integer": ("invalid_request", lambda it: raw(it, b'{"exp": ' + b"9" * 401 + b"}")),
    "half of a surrogate pair": ("invalid_request", lambda it: raw(it, b'{"iss": "\\ud800"}')),
    "too deep": ("invalid_request", lambda it: raw(it, b'{"a":' * 200 + b"1" + b"}" * 200)),
}  # fmt: skip


async def test_hostile_events_are_refused_in_the_terms_of_the_protocol_and_leave_nothing(
    world: World,
) -> None:
    ada, it = await world.person(("oidc", "ada")), world.transmitter
    answers = {}
    for name, (_, make) in WRONG.items():
        answer = await world.push(make(it).encode())
        assert answer.headers["content-type"] == "application/json", name
        body = answer.json()
        assert set(body) == {"err", "description"}, name
        answers[name] = (answer.status_code, body["err"])
        assert "ada" not in body["description"], name
    assert answers == {name: (400, code) for name, (code, _) in WRONG.items()}
    assert await world.standing(ada) == "active"
    assert await world.rows("SELECT 1 FROM signal_events") == []
    # The keys of all these were asked for once, and once more for one that nobody publishes.
    assert it.paths().count("/keys") <= 2
    # A flood of refusals is an event for each of its kinds.
    refused = await world.recorded("signal.refused")
    assert {row.reason_code for row in refused} == {code for code, _ in WRONG.values()}
    assert len(refused) == 5
    await world.app.api.state.signals.refused.flush(all=True)
    refused = await world.recorded("signal.refused")
    assert sum(row.event_count for row in refused) == len(WRONG)


async def test_who_may_not_push_is_refused_and_nothing_is_looked_at(world: World) -> None:
    await world.person(("oidc", "ada"))
    event, peppers = said(world.transmitter), Peppers([KEY.encode()])
    nobody = await make_account(world.sessions, peppers, "provisioner")
    auditor = await make_account(world.sessions, peppers, "auditor")

    def told(answer: httpx2.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["err"]

    assert told(await world.push(event, "sgc_wrong")) == (401, "authentication_failed")
    assert told(await world.push(event, nobody.secret)) == (403, "access_denied")
    assert told(await world.push(event, auditor.secret)) == (403, "access_denied")
    answer = await world.push(event, **{"Content-Type": "application/json"})
    assert told(answer) == (415, "invalid_request")
    answer = await world.push(event, **{"Content-Encoding": "gzip"})
    assert told(answer) == (415, "invalid_request")
    assert told(await world.push("x" * (MAX_CHARACTERS + 1))) == (413, "invalid_request")
    assert (await world.push("x" * 1_100_000)).status_code == 413
    refused = await world.recorded("signal.refused")
    assert [(row.actor_id, row.reason_code) for row in refused] == [
        (nobody.id, "access_denied"),
        (auditor.id, "access_denied"),
        (world.account.id, "invalid_request"),
    ]
    off = await world.api.patch(f"/api/v1/identity-providers/{world.provider}", json={"status": "disabled"})
    assert off.status_code == 200, off.text
    assert told(await world.push(event)) == (403, "access_denied")
    on = await world.api.patch(f"/api/v1/identity-providers/{world.provider}", json={"status": "active"})
    assert on.status_code == 200
    # A bearer of the same account, a type by its other name, and a line's end, do as well.
    event = world.transmitter.sign(world.transmitter.claims(DISABLED, ADA), typ="application/SecEvent+JWT")
    assert (await world.push(event + "\r\n", world.account.bearer)).status_code == 202


async def test_an_event_is_done_once_however_often_and_at_once_it_comes(world: World) -> None:
    ada, it = await world.person(("oidc", "ada")), world.transmitter
    event = it.event(EventType.CREDENTIAL_COMPROMISE, ADA, jti="once")
    answers = await asyncio.gather(*(world.push(event) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {202}
    received = [row.changes for row in await world.recorded("signal.received")]
    effects = [changes for changes in received if "repeats" not in changes]
    assert [changes["tokens"] for changes in effects] == [[ada.token]]
    assert len(received) == 6
    assert len(await world.recorded("token.revoke")) == 1
    # A right that is given later is not taken by the same event again, whatever it says then.
    again = await world.token(ada.id)
    other = it.event(DISABLED, ADA, jti="once")
    assert (await world.push(other)).status_code == 202
    assert (await world.status(again), await world.standing(ada)) == ("active", "active")
    [row] = await world.rows("SELECT * FROM signal_events")
    first = next(one for one in await world.recorded("signal.received") if "repeats" not in one.changes)
    assert (row.jti, row.event_id) == ("once", first.id)


async def test_a_forged_event_does_not_use_up_the_jti_nor_does_another_provider(world: World) -> None:
    ada, it = await world.person(("oidc", "ada")), world.transmitter
    claims = it.claims(DISABLED, ADA, jti="wanted")
    assert (await world.push(it.sign(claims, OTHERS_KEY))).status_code == 400
    account = await make_account(world.sessions, Peppers([KEY.encode()]), "provisioner")
    await register(world, account, it, issuer="https://other.example.com")
    assert (await world.push(it.sign(claims), account.secret)).status_code == 202
    assert (await world.last())["ignored"] == "no_match"
    assert (await world.push(it.sign(claims))).status_code == 202
    assert await world.standing(ada) == "offboarded"


async def test_an_event_that_cannot_be_committed_is_not_taken_and_can_come_again(world: World) -> None:
    ada, event = await world.person(("oidc", "ada")), said(world.transmitter)
    async with world.sessions() as session:
        for statement in FULL:
            await session.execute(text(statement))
        await session.commit()
    # The last statement of all finds the disk full.
    answer = await world.push(event)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert await world.standing(ada) == "active"
    assert await world.rows("SELECT 1 FROM signal_events") == []
    async with world.sessions() as session:
        await session.execute(text("DROP TRIGGER full_disk ON signal_streams"))
        await session.commit()
    assert (await world.push(event)).status_code == 202
    assert await world.standing(ada) == "offboarded"


async def test_keys_change_and_go_away(world: World, monkeypatch: Any) -> None:
    ada, it = await world.person(("oidc", "ada")), world.transmitter
    await it.stop()
    answer = await world.push(said(it))
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    monkeypatch.setattr(key_times, "RETRY_S", 0.0)
    await it.start()
    old, it.keys = it.keys[0], [UNKNOWN_KEY]
    # With no keys known, what is published is asked for; a key that is gone opens nothing.
    assert (await world.push(it.sign(it.claims(DISABLED, ADA), old))).json()["err"] == "invalid_key"
    assert await world.standing(ada) == "active"
    assert (await world.push(said(it))).status_code == 202
    assert await world.standing(ada) == "offboarded"
