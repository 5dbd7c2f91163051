"""What follows from a signed event, whom it is about, and that it is on record: each at the real application."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.crypto.keys import Peppers
from app.domain.security_events import EventType
from app.features.identities.schemas import IdentityUpdate
from app.features.identities.service import lock_for_update
from app.features.identity_providers.signals.receive import SKEW
from app.lib.ids import IDENTITY, parse_id
from tests.adapters.ssf.transmitter import Transmitter
from tests.adapters.ssf.world import OIDC_ISSUER, Person, World, register
from tests.api import KEY, make_account
from tests.features.administrators.people import until_waiting

Json = dict[str, Any]


def by_sub(sub: str, issuer: str = OIDC_ISSUER) -> Json:
    return {"format": "iss_sub", "iss": issuer, "sub": sub}


def opaque(id: str) -> Json:
    return {"format": "opaque", "id": id}


async def sent(world: World, type: str, subject: Json, **changed: Any) -> Json:
    """Push an event; what it did."""
    answer = await world.push(world.transmitter.event(type, subject, **changed))
    assert (answer.status_code, answer.content) == (202, b""), answer.text
    return await world.last()


async def test_each_event_does_what_its_type_says_and_no_more(world: World) -> None:
    ada, eve = await world.person(("oidc", "ada")), await world.person(("oidc", "eve"))
    agent = await world.made(
        "/api/v1/identities", {"kind": "agent", "user_name": "ada-agent", "owner_id": ada.id}
    )
    agents = await world.token(agent["id"])
    spared, at_eve = await world.browser(eve), eve.token

    await world.browser(ada)
    did = await sent(world, EventType.TOKEN_CLAIMS_CHANGE, by_sub("ada"), payload={"claims": {"role": "x"}})
    assert (did["sessions"], did["tokens"], did["identities"]) == (1, [], [ada.id])

    for payload in ({"change_type": "create"}, {"change_type": "update"}):
        did = await sent(world, EventType.CREDENTIAL_CHANGE, by_sub("ada"), payload=payload)
        assert did["ignored"] == "nothing_follows"
    did = await sent(world, EventType.ACCOUNT_ENABLED, by_sub("ada"))
    assert did["ignored"] == "nothing_follows"
    assert await world.status(ada.token) == "active"

    await world.browser(ada)
    did = await sent(world, EventType.CREDENTIAL_CHANGE, by_sub("ada"), payload={"change_type": "revoke"})
    assert (did["sessions"], did["tokens"]) == (1, [ada.token])
    assert (await world.status(ada.token), await world.status(agents)) == ("revoked", "active")

    again = await world.token(ada.id)
    did = await sent(world, EventType.CREDENTIAL_COMPROMISE, by_sub("ada"))
    assert sorted(did["tokens"]) == sorted([again, agents])

    did = await sent(world, EventType.ACCOUNT_DISABLED, by_sub("ada"))
    assert [await world.standing(ada), len(did["offboarded"])] == ["offboarded", 1]
    [offboarded] = await world.recorded("identity.offboard")
    [received] = [row for row in await world.recorded("signal.received") if row.changes.get("offboarded")]
    assert (received.actor_type, received.actor_id) == ("service_account", world.account.id)
    assert received.request_id == offboarded.request_id
    did = await sent(world, EventType.ACCOUNT_PURGED, by_sub("ada"))
    assert did["ignored"] == "offboarded_already"

    unknown = "https://example.com/secevent/ada@example.com"
    did = await sent(world, unknown, by_sub("eve"))
    assert (did["event"], did["ignored"]) == ("unknown", "unknown_event")
    assert await world.browsers() == {spared}
    assert (await world.status(at_eve), await world.standing(eve)) == ("active", "active")


async def test_the_providers_own_tokens_of_before_are_taken_back_and_never_given_again(world: World) -> None:
    people = {name: await world.person(("oidc", name)) for name in ("ada", "bea", "cid", "dan", "eve")}
    at = time.time() - 3600

    async def since() -> dict[str, float | None]:
        found = await world.rows("SELECT id, extract(epoch FROM sign_ins_after) AS at FROM identities")
        by_id = {row.id: None if row.at is None else float(row.at) for row in found}
        return {name: by_id[person.uuid] for name, person in people.items()}

    await sent(world, EventType.SESSION_REVOKED, by_sub("ada"), payload={"event_timestamp": at})
    await sent(world, EventType.CREDENTIAL_CHANGE, by_sub("bea"), payload={"change_type": "revoke"})
    await sent(world, EventType.CREDENTIAL_COMPROMISE, by_sub("cid"))
    await sent(world, EventType.TOKEN_CLAIMS_CHANGE, by_sub("dan"), payload={"claims": {"role": "x"}})
    await sent(world, EventType.ACCOUNT_ENABLED, by_sub("eve"))
    until = await since()
    assert until["ada"] == pytest.approx(at + SKEW.total_seconds())
    for name in ("bea", "cid", "dan"):
        # Not ahead of the clock: whoever signs in again is in.
        assert at + 3600 <= (until[name] or 0) <= time.time()
    assert until["eve"] is None

    await sent(world, EventType.SESSION_REVOKED, by_sub("dan"), payload={"event_timestamp": at})
    await sent(world, EventType.ACCOUNT_ENABLED, by_sub("ada"))
    assert await since() == until


async def test_an_agent_that_is_handed_over_while_an_event_comes_does_not_slip_past_it(world: World) -> None:
    ada, eve = await world.person(("oidc", "ada")), await world.person(("oidc", "eve"))
    agent = await world.made(
        "/api/v1/identities", {"kind": "agent", "user_name": "agent", "owner_id": eve.id}
    )
    agents = await world.token(agent["id"])
    async with world.sessions() as session:
        body = IdentityUpdate.model_validate({"owner_id": ada.id})
        moving = await lock_for_update(session, parse_id(IDENTITY, agent["id"]), body)
        moving.owner_id = ada.uuid
        await session.flush()
        sending = asyncio.create_task(sent(world, EventType.CREDENTIAL_COMPROMISE, by_sub("ada")))
        await until_waiting(world.sessions)
        await session.commit()
    assert sorted((await sending)["tokens"]) == sorted([ada.token, agents])
    assert (await world.status(agents), await world.status(eve.token)) == ("revoked", "active")


async def test_a_revoked_session_ends_what_is_older_and_spares_what_came_after(world: World) -> None:
    ada = await world.person(("oidc", "ada"))
    child = await world.token(ada.id, parent_id=ada.token)
    old = await world.browser(ada)
    at = time.time() - 3600
    for table, id in (("tokens", "name = 'laptop'"), ("browser_sessions", "true")):
        async with world.sessions() as session:
            await session.execute(
                text(f"UPDATE {table} SET created_at = now() - interval '2 hours' WHERE {id}")
            )
            await session.commit()
    new, new_browser = await world.token(ada.id), await world.browser(ada)
    did = await sent(world, EventType.SESSION_REVOKED, by_sub("ada"), payload={"event_timestamp": at})
    assert (sorted(did["tokens"]), did["sessions"]) == (sorted([ada.token, child]), 1)
    assert await world.status(new) == "active"
    assert await world.browsers() == {new_browser}
    assert old != new_browser
    # A clock that is ahead, or counts milliseconds, spares nothing.
    did = await sent(world, EventType.SESSION_REVOKED, by_sub("ada"), payload={"event_timestamp": at * 1000})
    assert (did["tokens"], did["sessions"]) == ([new], 1)


async def test_a_subject_means_people_of_that_provider_by_every_name_it_has_for_them(world: World) -> None:
    peppers = Peppers([KEY.encode()])
    account = await make_account(world.sessions, peppers, "provisioner")
    mine = world.provider
    world.provider = await register(world, account, world.transmitter, issuer="https://other.example.com")
    strangers = [
        await world.person(("oidc", "ada"), ("signal", "u-1"), email="ada@example.com", owned=True),
        await world.person(("scim", "u-1"), external_id="u-1", owned=True),
    ]
    world.provider = mine
    strangers.append(await world.person(email="ADA@example.com"))

    async def meant(subject: Json) -> list[str]:
        did = await sent(world, EventType.ACCOUNT_ENABLED, subject)
        identities: list[str] = did["identities"]
        return identities

    async def of(*links: tuple[str, str], **fields: Any) -> Person:
        return await world.person(*links, **fields)

    by_link, signal = await of(("oidc", "ada")), await of(("signal", "u-1"))
    scim, external = await of(("scim", "u-2")), await of(external_id="u-3", owned=True)
    mail = await of(email="Ada@Example.com", owned=True)
    twin = await of(("oidc", "twin"), email="ada@example.com")
    own = world.transmitter.issuer
    assert await meant(by_sub("ada")) == [by_link.id]
    assert await meant(opaque("u-1")) == [signal.id]
    assert await meant(by_sub("u-1", own)) == [signal.id]
    assert await meant(opaque("u-2")) == [scim.id]
    assert await meant(opaque("u-3")) == [external.id]
    # What fits several means all of them.
    assert await meant({"format": "email", "email": "ada@example.com"}) == sorted([mail.id, twin.id])
    assert await meant({"format": "account", "uri": "acct:ada@example.com"}) == sorted([mail.id, twin.id])
    aliases = {"format": "aliases", "identifiers": [by_sub("ada"), opaque("u-2"), opaque("u-2")]}
    assert await meant(aliases) == sorted([by_link.id, scim.id])
    parts = {"format": "complex", "user": by_sub("ada"), "device": opaque("u-2"), "session": opaque("u-3")}
    assert await meant(parts) == [by_link.id]
    for nobody in (
        by_sub("ada", "https://other.example.com"),
        by_sub("ADA"),
        opaque("ada"),
        opaque(by_link.id),
        {"format": "phone_number", "phone_number": "+12065550100"},
        {"format": "did", "url": "did:example:123456"},
        {"format": "complex", "device": opaque("u-1")},
    ):
        assert await meant(nobody) == [], nobody
    # The transmitter of the other provider means the others.
    answer = await world.push(
        world.transmitter.event(EventType.ACCOUNT_DISABLED, by_sub("ada")), account.secret
    )
    assert answer.status_code == 202
    assert (await world.last())["ignored"] == "no_match"
    assert [await world.standing(one) for one in strangers] == ["active"] * 3
    answer = await world.push(
        world.transmitter.event(EventType.ACCOUNT_DISABLED, opaque("u-1")), account.secret
    )
    assert [await world.standing(one) for one in (*strangers, signal)] == [
        *("offboarded", "offboarded", "active", "active")
    ]


async def test_an_erased_person_is_known_and_a_session_alone_is_all_that_ends(world: World) -> None:
    ada, eve = await world.person(("oidc", "ada"), ("signal", "u-1")), await world.person(("oidc", "eve"))
    assert (await world.api.post(f"/api/v1/identities/{ada.id}/offboard", json={"reason": "left"})).is_success
    assert (await world.api.post(f"/api/v1/identities/{ada.id}/erase")).is_success
    for subject in (by_sub("ada"), opaque("u-1")):
        did = await sent(world, EventType.ACCOUNT_DISABLED, subject)
        assert (did["identities"], did["ignored"]) == ([ada.id], "offboarded_already")
    one, other = await world.browser(eve, "sid-1"), await world.browser(eve, "sid-2")
    subject = {"format": "complex", "session": opaque("sid-1")}
    did = await sent(world, EventType.SESSION_REVOKED, subject)
    assert (did["sessions"], did["tokens"]) == (1, [])
    assert await world.browsers() == {other}
    assert one != other
    # Who is signed in with that subject is meant too, whatever claim people are known by.
    await world.browser(eve, subject="sub-of-eve")
    did = await sent(world, EventType.SESSION_REVOKED, by_sub("sub-of-eve"))
    assert (did["identities"], did["sessions"]) == ([eve.id], 2)


async def test_a_part_of_a_subject_that_is_critical_and_not_gone_by_leaves_the_event_alone(
    world: World,
) -> None:
    ada = await world.person(("oidc", "ada"))
    tenant = {"format": "complex", "user": by_sub("ada"), "tenant": opaque("t-1")}
    did = await sent(world, EventType.ACCOUNT_DISABLED, tenant)
    assert did["ignored"] == "critical_member"
    assert await world.standing(ada) == "active"


async def test_one_word_for_a_hundred_and_more_is_about_no_one(
    world: World, transmitter: Transmitter
) -> None:
    async with world.sessions() as session:
        await session.execute(
            text("""INSERT INTO identities (id, kind, user_name, email, provider_id)
            SELECT gen_random_uuid(), 'person', 'n-' || n, 'all@example.com', :provider
            FROM generate_series(1, 101) n"""),
            {"provider": world.provider_id},
        )
        await session.commit()
    event = transmitter.event(EventType.ACCOUNT_DISABLED, {"format": "email", "email": "all@example.com"})
    answer = await world.push(event)
    assert (answer.status_code, answer.json()["err"]) == (400, "invalid_request")
    assert await world.rows("SELECT 1 FROM identities WHERE status <> 'active'") == []
    assert await world.rows("SELECT 1 FROM signal_events") == []
    [refused] = await world.recorded("signal.refused")
    assert (refused.reason_code, refused.object_id) == ("invalid_request", world.provider_id)


async def test_nothing_personal_of_an_event_is_on_record(world: World) -> None:
    await world.person(email="ada@example.com", owned=True)
    subject = {"format": "email", "email": "ada@example.com"}
    jti = f"jti-{uuid4().hex}"
    await sent(world, EventType.CREDENTIAL_COMPROMISE, subject, jti=jti)
    event = world.transmitter.event("https://example.com/ada@example.com", subject)
    assert (await world.push(event)).status_code == 202
    [trail] = await world.rows("SELECT string_agg(row(audit_events.*)::text, ' ') AS said FROM audit_events")
    assert "ada@example.com" not in trail.said
    assert jti not in trail.said
