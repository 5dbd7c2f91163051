"""A browser session allows no more than its sign-in, person, provider and lifetime do."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.crypto.keys import Peppers
from app.db.change import Change
from app.db.engine import commit
from app.db.rows import Lock, lock
from app.domain.errors import Unauthenticated
from app.domain.token_format import BROWSER_SESSION, parse_credential
from app.features.administrators import browser_sessions
from app.features.administrators.browser_sessions import Lifetimes, SignedIn, SignedOut
from app.features.administrators.sign_in import sign_in
from app.features.browser_sessions.service import end_browser_sessions
from app.features.identities.queries import lock_identity
from app.features.identity_providers import service
from app.features.identity_providers.schemas import IdentityProviderUpdate, Provider
from app.http.authorization import Caller, Role
from app.http.etags import Precondition
from app.lib.ids import IDENTITY_PROVIDER, format_id, new_id
from app.models.identity_providers import IdentityProvider
from app.outbound.http import AddressPolicy
from tests.features.administrators.people import (
    NOW,
    Sessions,
    claims,
    person_of,
    recorded,
    rows,
    run,
    stored_provider,
    until_waiting,
)

LIFETIMES = Lifetimes(idle=timedelta(hours=1), most=timedelta(hours=12))
Open = Callable[..., Coroutine[Any, Any, str]]


@pytest.fixture
async def provider(sessions: Sessions) -> Provider:
    provider = await stored_provider(sessions)
    # Settings that a sign-in by claims does not need.
    settings = {
        "audiences": [], "algorithms": [], "token_types": [], "role_claim": "groups", "link_claim": "sub",
        "role_map": provider.role_map, "workloads": [],
    }  # fmt: skip
    await run(
        sessions, "UPDATE identity_providers SET settings = CAST(:it AS jsonb)", it=json.dumps(settings)
    )
    return provider


@pytest.fixture
def open_session(sessions: Sessions, peppers: Peppers, provider: Provider) -> Open:
    """Sign a person in with these claims and open a session."""

    async def sign_in_and_open(*said: str, sid: str | None = None, iat: int = NOW) -> str:
        held = claims(*said, iat=iat)
        caller = await sign_in(sessions, provider, held, None)
        signed_in = SignedIn(provider, held, held["sub"], sid, f"the ID token of {held['sub']}")
        async with sessions() as session:
            change = await Change.begin(session, caller, "req")
            cookie = await browser_sessions.open_session(change, peppers, signed_in, LIFETIMES)
            await commit(session)
        return cookie

    return sign_in_and_open


@pytest.fixture
def read(sessions: Sessions, peppers: Peppers) -> Callable[[str], Awaitable[Caller | None]]:
    """The caller of a cookie; None if it is not valid."""

    async def read(cookie: str) -> Caller | None:
        async with sessions() as session:
            try:
                return await browser_sessions.read_session(session, peppers, cookie, LIFETIMES.idle)
            except Unauthenticated:
                return None

    return read


async def test_a_session_is_its_person_with_the_roles_of_the_sign_in_and_no_secret_of_it_is_stored(
    sessions: Sessions, provider: Provider, open_session: Open, read: Any
) -> None:
    cookie = await open_session("ada", "sg-admins", "sg-auditors", "staff")
    caller = await read(cookie)
    assert caller.kind == "administrator"
    assert caller.roles == {Role.ADMIN, Role.AUDITOR}
    assert caller.identity_id == await person_of(sessions, provider, "ada")
    credential = parse_credential(cookie, BROWSER_SESSION)
    assert credential is not None
    [row] = await rows(sessions, "SELECT *, CAST(browser_sessions AS text) AS whole FROM browser_sessions")
    assert credential.secret not in row.whole
    assert b"ID token" not in row.id_token
    assert "staff" not in row.role_values
    said = {"provider_id": format_id(IDENTITY_PROVIDER, provider.id)}
    assert await recorded(sessions, "session.open") == [("session.open", said)]
    # A forged one with a known id.
    assert await read(cookie[:-7] + ("a" if cookie[-7] != "a" else "b") + cookie[-6:]) is None
    await run(sessions, "UPDATE browser_sessions SET digest = sha256('another')")
    assert await read(cookie) is None


async def test_a_role_ends_with_the_providers_map_and_with_a_later_sign_in_without_it(
    sessions: Sessions, provider: Provider, open_session: Open, read: Any
) -> None:
    cookie = await open_session("ada", "sg-owners", "sg-auditors")
    await run(sessions, "UPDATE identity_providers SET settings = settings #- '{role_map,sg-owners}'")
    assert (await read(cookie)).roles == {Role.AUDITOR}
    await sign_in(sessions, provider, claims("ada", "sg-admins", iat=NOW + 1), None)
    left = await read(cookie)
    assert left.roles == set()
    assert left.kind == "identity"


ENDS = (
    "UPDATE browser_sessions SET expires_at = clock_timestamp()",
    "UPDATE browser_sessions SET seen_at = clock_timestamp() - interval '1 hour'",
    "UPDATE identities SET status = 'suspended'",
    "UPDATE administrators SET status = 'disabled'",
    "UPDATE identity_providers SET status = 'disabled'",
    "UPDATE identity_providers SET ended_at = now()",
    "UPDATE identity_links SET value = 'another person'",
)


async def test_a_session_opens_nothing_once_anything_that_it_rests_on_has_ended(
    sessions: Sessions, peppers: Peppers, open_session: Open
) -> None:
    cookie = await open_session("ada", "sg-admins")
    for end in ("SELECT 1", *ENDS):
        async with sessions() as session:
            await session.execute(text(end))
            read = browser_sessions.read_session(session, peppers, cookie, LIFETIMES.idle)
            if end in ENDS:
                with pytest.raises(Unauthenticated):
                    await read
            else:
                await read
            await session.rollback()


async def test_requests_keep_a_session_from_idling_but_not_past_its_end(
    sessions: Sessions, peppers: Peppers, open_session: Open
) -> None:
    cookie = await open_session("ada", "sg-admins")
    await run(sessions, "UPDATE browser_sessions SET seen_at = seen_at - interval '59 minutes'")
    before = await rows(sessions, "SELECT expires_at FROM browser_sessions")
    async with sessions() as session:
        await browser_sessions.read_session(session, peppers, cookie, LIFETIMES.idle)
        await commit(session)
    fresh = "SELECT expires_at FROM browser_sessions WHERE seen_at > clock_timestamp() - interval '1 minute'"
    assert await rows(sessions, fresh) == before


async def test_a_sign_in_that_races_a_suspension_leaves_no_session(
    sessions: Sessions, provider: Provider, open_session: Open
) -> None:
    await open_session("ada", "sg-admins")
    async with sessions() as stopping:
        identity = await lock_identity(stopping, await person_of(sessions, provider, "ada"))
        assert identity is not None
        late = asyncio.create_task(open_session("ada", "sg-admins"))
        await until_waiting(sessions)
        identity.status = "suspended"
        await end_browser_sessions(stopping, identity.id)
        await commit(stopping)
    with pytest.raises(Unauthenticated):
        await late
    assert await rows(sessions, "SELECT 1 FROM browser_sessions") == []


async def test_a_sign_in_that_was_taken_back_before_its_session_was_opened_opens_none(
    sessions: Sessions, peppers: Peppers, provider: Provider
) -> None:
    held = claims("ada", "sg-admins")
    caller = await sign_in(sessions, provider, held, None)
    taken_back = "UPDATE identities SET sign_ins_after = to_timestamp(:until)"

    async def open_it() -> None:
        signed_in = SignedIn(provider, held, "ada", None, "the ID token")
        async with sessions() as session:
            await browser_sessions.open_session(
                await Change.begin(session, caller, "req"), peppers, signed_in, LIFETIMES
            )
            await commit(session)

    await run(sessions, taken_back, until=NOW)
    with pytest.raises(Unauthenticated):
        await open_it()
    assert await rows(sessions, "SELECT 1 FROM browser_sessions") == []
    await run(sessions, taken_back, until=NOW - 1)
    await open_it()


async def test_a_provider_that_was_disabled_brings_no_session_back(
    sessions: Sessions, provider: Provider, open_session: Open, read: Any
) -> None:
    """Nor is a session opened by a sign-in that began before it was disabled."""
    cookie, owner = (
        await open_session("ada", "sg-admins"),
        Caller("administrator", new_id(), frozenset({Role.OWNER})),
    )
    async with sessions() as session:
        await lock(session, IdentityProvider, provider.id, Lock.UPDATE)
        late = asyncio.create_task(open_session("ada", "sg-admins"))
        await until_waiting(sessions)
        await service.update_provider(
            await Change.begin(session, owner),
            AddressPolicy(),
            provider.id,
            IdentityProviderUpdate(status="disabled"),
            Precondition(None),
        )
        await commit(session)
    with pytest.raises(Unauthenticated):
        await late
    async with sessions() as session:
        await service.update_provider(
            await Change.begin(session, owner),
            AddressPolicy(),
            provider.id,
            IdentityProviderUpdate(status="active"),
            Precondition(None),
        )
        await commit(session)
    assert await read(cookie) is None
    assert await rows(sessions, "SELECT 1 FROM browser_sessions") == []


async def test_a_provider_ends_the_session_or_the_person_that_it_names_and_no_later_sign_in(
    sessions: Sessions, provider: Provider, open_session: Open, read: Any
) -> None:
    laptop, phone = [await open_session("ada", "sg-admins", sid=sid) for sid in ("laptop", "phone")]
    other = await open_session("bob", "sg-admins", sid="laptop of bob")

    async def say(subject: str | None, sid: str | None, ago: int = 0) -> int:
        async with sessions() as session:
            said_at = datetime.now(UTC) - timedelta(seconds=ago)
            ended = await browser_sessions.end_at_provider(
                session, SignedOut(provider.id, subject, sid, said_at)
            )
            await commit(session)
        return ended

    # An old message from before these sign-ins, sent again.
    assert await say("ada", None, ago=3600) == 0
    assert await say("ada", "laptop") == 1
    assert await read(laptop) is None
    assert await read(phone) is not None
    assert await say("ada", None) == 1
    assert await read(phone) is None
    assert await read(other) is not None


async def test_signing_out_gives_the_id_token_back_to_the_cookie_that_sealed_it(
    sessions: Sessions, provider: Provider, open_session: Open, read: Any
) -> None:
    cookie = await open_session("ada", "sg-admins")
    caller = await read(cookie)
    async with sessions() as session:
        ended = await browser_sessions.end_session(await Change.begin(session, caller, "req"), cookie)
        assert ended is not None
        assert (ended[0].id, ended[1]) == (provider.id, "the ID token of ada")
        await commit(session)
    assert await read(cookie) is None
    assert [action for action, _ in await recorded(sessions, "session.end")] == ["session.end"]


async def test_of_two_who_sign_out_of_one_session_at_once_one_ends_it(
    sessions: Sessions, open_session: Open, read: Any
) -> None:
    cookie = await open_session("ada", "sg-admins")
    caller = await read(cookie)

    async def sign_out() -> None:
        async with sessions() as session:
            await browser_sessions.end_session(
                await Change.begin(session, caller, "req of the second"), cookie
            )
            await commit(session)

    async with sessions() as first:
        await browser_sessions.end_session(await Change.begin(first, caller, "req of the first"), cookie)
        await first.flush()
        second = asyncio.create_task(sign_out())
        await until_waiting(sessions)
        await commit(first)
    await second
    assert [action for action, _ in await recorded(sessions, "session.end")] == ["session.end"]


async def test_a_session_that_a_new_sign_in_replaces_ends_on_record_as_its_persons_and_once(
    sessions: Sessions, provider: Provider, peppers: Peppers, open_session: Open, read: Any
) -> None:
    replaced, other = await open_session("ada", "sg-admins"), await open_session("bob", "sg-admins")
    ada = await person_of(sessions, provider, "ada")
    made_up = replaced[:-7] + ("a" if replaced[-7] != "a" else "b") + replaced[-6:]

    async def replace(cookie: str, *, is_done: bool) -> None:
        async with sessions() as session:
            await browser_sessions.end_replaced_session(session, peppers, cookie, "req of the new one")
            await (commit(session) if is_done else session.rollback())

    ends = (
        "SELECT actor_type, actor_id, on_behalf_of, object_type, object_id, request_id FROM audit_events "
        "WHERE action = 'session.end'"
    )
    await replace(made_up, is_done=True)
    # A failed sign-in ends nothing and records no end.
    await replace(replaced, is_done=False)
    assert await read(replaced) is not None
    assert await rows(sessions, ends) == []
    await replace(replaced, is_done=True)
    await replace(replaced, is_done=True)
    assert await read(replaced) is None
    assert await read(other) is not None
    credential = parse_credential(replaced, BROWSER_SESSION)
    assert credential is not None
    [end] = await rows(sessions, ends)
    assert tuple(end) == ("identity", ada, ada, "browser_session", credential.id, "req of the new one")
