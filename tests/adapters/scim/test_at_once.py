"""Requests of a directory at the same time, and beside what else touches the same people: one after the other."""

import asyncio
from collections.abc import Awaitable

import httpx2
from sqlalchemy import text

from app.features.identities.queries import lock_first_sign_in, lock_identity
from app.models.identities import Identity, IdentityLink
from tests.adapters.scim.conftest import NewScim, patch, provider_of, user
from tests.adapters.scim.test_users import create, identity_of, links, refused
from tests.database import needs_lock_timeouts
from tests.features.administrators.people import until_waiting
from tests.features.principals import Sessions, events, plain

OFF = patch({"op": "replace", "path": "active", "value": False})


async def statuses(*requests: Awaitable[httpx2.Response]) -> list[int]:
    """What requests that are sent together are answered, in order of the numbers."""
    return sorted(answer.status_code for answer in await asyncio.gather(*requests))


async def test_of_what_only_one_can_have_one_gets_it(scim: httpx2.AsyncClient, sessions: Sessions) -> None:
    by_name = [scim.post("Users", json=user("ada", externalId=f"ext-{n}")) for n in range(4)]
    assert await statuses(*by_name) == [201, 409, 409, 409]
    # The external id is also who signs in.
    by_link = [scim.post("Users", json=user(f"bob-{n}", externalId="ext-bob")) for n in range(4)]
    assert await statuses(*by_link) == [201, 409, 409, 409]
    cyd, dan = await create(scim, user("cyd")), await create(scim, user("dan"))
    renames = [scim.put(f"Users/{one['id']}", json=user("eve")) for one in (cyd, dan)]
    assert await statuses(*renames) == [200, 409]
    listed = (await scim.get("Users")).json()
    assert listed["totalResults"] == 4
    assert len(await links(sessions, provider_of(scim))) == 4


async def test_the_deactivated_stay_so_through_concurrent_requests(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    shown = await create(scim, user("ada"))
    path = f"Users/{shown['id']}"
    changes = [scim.put(path, json=user("ada", title=f"Dr {n}")) for n in range(3)]
    assert await statuses(*changes, scim.patch(path, json=OFF), scim.patch(path, json=OFF)) == [200] * 5
    identity = await identity_of(api, shown)
    assert identity["status"] == "offboarded"
    told = (await api.get("/api/v1/audit-events?limit=200")).json()["items"]
    assert [event["action"] for event in told].count("identity.offboard") == 1


async def test_a_change_that_waited_is_made_to_what_it_then_finds(
    scim: httpx2.AsyncClient, sessions: Sessions
) -> None:
    shown = await create(scim, user("ada"))
    path = f"Users/{shown['id']}"
    async with sessions() as held:
        assert await lock_identity(held, plain(shown)) is not None
        title = asyncio.create_task(
            scim.patch(path, json=patch({"op": "replace", "path": "title", "value": "Dr"}))
        )
        await until_waiting(sessions)
        locale = asyncio.create_task(
            scim.patch(path, json=patch({"op": "replace", "path": "locale", "value": "de"}))
        )
        await until_waiting(sessions, 2)
        await held.rollback()
    assert await statuses(title, locale) == [200, 200]
    after = (await scim.get(path)).json()
    assert (after["title"], after["locale"]) == ("Dr", "de")

    async with sessions() as held:
        await lock_identity(held, plain(shown))
        gone = asyncio.create_task(scim.delete(path))
        await until_waiting(sessions)
        late = asyncio.create_task(scim.put(path, json=user("ada", active=True)))
        await until_waiting(sessions, 2)
        await held.rollback()
    assert (await gone).status_code == 204
    refused(await late, 404)


async def test_whoever_signs_in_for_the_first_time_meanwhile_is_the_same_person(
    new_scim: NewScim, sessions: Sessions
) -> None:
    scim = await new_scim()
    provider_id = plain({"id": provider_of(scim)})
    async with sessions() as signing_in:
        await lock_first_sign_in(signing_in, provider_id, "ext-ada")
        provisioned = asyncio.create_task(scim.post("Users", json=user("ada")))
        await until_waiting(sessions)
        person = Identity(kind="person", user_name="ada@example.com")
        signing_in.add(person)
        await signing_in.flush()
        signing_in.add(
            IdentityLink(identity_id=person.id, provider_id=provider_id, kind="oidc", value="ext-ada")
        )
        await signing_in.commit()
    answer = await provisioned
    assert answer.status_code == 201, answer.text
    assert plain(answer.json()) == person.id


@needs_lock_timeouts
async def test_two_that_wait_for_one_another_are_both_carried_out_once(
    scim: httpx2.AsyncClient, sessions: Sessions
) -> None:
    """Bulk requests in opposite orders: the database ends one of them, which is carried out again."""
    some = [await create(scim, user(name)) for name in ("ada", "bob", "cyd")]

    def bulk(order: list[dict[str, str]], title: str) -> dict[str, object]:
        value = {"op": "replace", "path": "title", "value": title}
        operations = [
            {"method": "PATCH", "path": f"/Users/{one['id']}", "data": patch(value)} for one in order
        ]
        return {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}

    async with sessions() as held:
        await held.execute(text("SELECT 1 FROM identities WHERE id = :id FOR UPDATE"), {"id": plain(some[1])})
        first = asyncio.create_task(scim.post("Bulk", json=bulk(some, "first")))
        await until_waiting(sessions)
        second = asyncio.create_task(scim.post("Bulk", json=bulk(some[::-1], "second")))
        await until_waiting(sessions, 2)
        await held.rollback()
    for answer in await asyncio.gather(first, second):
        assert answer.status_code == 200, answer.text
        assert [one["status"] for one in answer.json()["Operations"]] == ["200"] * 3
    titles = {one["title"] for one in (await scim.get("Users")).json()["Resources"]}
    assert len(titles) == 1
    # Of what was undone nothing is left, not even what stood in another savepoint.
    told = [action for one in some for action, _ in await events(sessions, one)]
    assert told.count("identity.update") == 6


async def test_a_request_whose_database_is_lost_is_answered_in_the_form_of_scim_and_nothing_is_done(
    scim: httpx2.AsyncClient, sessions: Sessions
) -> None:
    shown = await create(scim, user("ada"))
    path = f"Users/{shown['id']}"
    lost = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    title = {"op": "replace", "path": "title", "value": "Dr"}
    operation = {"method": "PATCH", "path": f"/{path}", "data": patch(title)}
    made = {"method": "POST", "path": "/Users", "bulkId": "1", "data": user("bob")}
    bulk = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [made, operation]}
    async with sessions() as held:
        await lock_identity(held, plain(shown))
        both = [
            asyncio.create_task(scim.patch(path, json=patch(title))),
            asyncio.create_task(scim.post("Bulk", json=bulk)),
        ]
        await until_waiting(sessions, 2)
        async with sessions() as other:
            assert await other.scalar(lost) == 2
        for answer in await asyncio.gather(*both):
            refused(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
        await held.rollback()
    assert (await scim.get(path)).json() == shown
    assert (await scim.get("Users")).json()["totalResults"] == 1
