"""Groups: names, members, end; permissions for changes; moved versions and history."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx2
import pytest
from sqlalchemy import text

from app.lib.ids import format_id, new_id
from app.models.access import Policy
from tests.api import ApiAs
from tests.features.principals import (
    Sessions,
    Versions,
    events,
    fresh,
    grant,
    group,
    history,
    made,
    member_path,
    person,
    plain,
    pointers,
)
from tests.worker_clock import worker_clock_off

if TYPE_CHECKING:
    pass

PATH = "/api/v1/groups"


async def test_a_group_is_made_read_changed_and_ended(api: httpx2.AsyncClient) -> None:
    made_group = await group(api, description="All of it")
    path = f"{PATH}/{made_group['id']}"
    assert (await api.get(path)).json() == made_group
    answer = await api.patch(path, json={"description": None}, headers={"If-Match": '"1"'})
    assert (answer.json()["description"], answer.headers["etag"]) == (None, '"2"')
    assert (await api.patch(path, json={"name": "x"}, headers={"If-Match": '"1"'})).status_code == 412
    assert (await api.delete(path, headers={"If-Match": '"1"'})).status_code == 412
    assert (await api.delete(path)).status_code == 204
    for answer in (await api.get(path), await api.patch(path, json={}), await api.delete(path)):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_ended_group_is_shown_only_when_asked_and_to_those_who_audit(
    api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    ended = await group(api)
    await api.delete(f"{PATH}/{ended['id']}")
    issuer = await api_as("issuer")
    ask = {"include": "ended"}
    answer = await api.get(f"{PATH}/{ended['id']}", params=ask)
    assert (answer.status_code, answer.json()["ended_at"] is None) == (200, False)
    assert ended["id"] in {item["id"] for item in (await api.get(PATH, params=ask)).json()["items"]}
    assert ended["id"] not in {item["id"] for item in (await api.get(PATH)).json()["items"]}
    for answer in (
        await issuer.get(f"{PATH}/{ended['id']}", params=ask),
        await issuer.get(PATH, params=ask),
    ):
        assert answer.status_code == 403
        assert "audit.read" in answer.json()["detail"]


async def test_group_names_are_unique_whatever_their_case_until_the_group_ends(
    api: httpx2.AsyncClient,
) -> None:
    first = await group(api)
    body = {"name": first["name"].upper()}
    answer = await api.post(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")
    other = await group(api)
    assert (await api.patch(f"{PATH}/{other['id']}", json=body)).json()["code"] == "name_taken"
    await api.delete(f"{PATH}/{first['id']}")
    assert (await api.post(PATH, json=body)).status_code == 201


async def test_an_owner_group_must_exist_and_be_another(api: httpx2.AsyncClient) -> None:
    owner = await group(api)
    owned = await group(api, owner_group_id=owner["id"])
    missing = format_id("grp", new_id())
    expected = {("/owner_group_id", "not_found")}
    assert pointers(await api.post(PATH, json={"name": "x", "owner_group_id": missing})) == expected
    path = f"{PATH}/{owned['id']}"
    assert pointers(await api.patch(path, json={"owner_group_id": missing})) == expected
    assert pointers(await api.patch(path, json={"owner_group_id": owned["id"]})) == {
        ("/owner_group_id", "itself")
    }
    assert (await api.patch(path, json={"owner_group_id": None})).json()["owner_group_id"] is None


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x", "members": []}, []])
async def test_bad_groups_are_refused(api: httpx2.AsyncClient, body: object) -> None:
    assert (await api.post(PATH, json=body)).status_code == 422


async def test_renaming_a_group_moves_its_version_and_describing_it_does_not(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    some = await group(api)
    versions = Versions(sessions, some)
    await versions.look()
    await api.patch(f"{PATH}/{some['id']}", json={"description": "x"})
    assert await versions.moved() == set()
    await api.patch(f"{PATH}/{some['id']}", json={"name": fresh("name")})
    assert await versions.moved() == {some["id"]}


async def test_joining_and_leaving_move_the_identity_and_are_kept(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, some = await person(api), await group(api)
    path = member_path(some, ada)
    versions = Versions(sessions, ada, some)
    await versions.look()
    answer = await api.put(path)
    assert (answer.status_code, answer.headers["location"]) == (201, path)
    assert await versions.moved() == {ada["id"]}
    assert (await api.put(path)).status_code == 200
    assert await versions.moved() == set()
    assert (await api.get(path)).json() == answer.json()
    listed = (await api.get(f"{PATH}/{some['id']}/members")).json()
    assert listed == {"items": [answer.json()], "next_cursor": None}
    mine = (await api.get(PATH, params={"member_id": ada["id"]})).json()["items"]
    assert [item["id"] for item in mine] == [some["id"]]
    content = {"group_id": str(plain(some)), "identity_id": str(plain(ada))}
    assert await history(sessions, "membership") == [(content, True)]
    assert (await api.delete(path)).status_code == 204
    assert await versions.moved() == {ada["id"]}
    assert await history(sessions, "membership") == [(content, False)]
    assert (await api.delete(path)).status_code == 404
    assert (await api.get(path)).status_code == 404
    assert [event for event in await events(sessions, some) if "member" in event[0]] == [
        ("group.add_member", {"identity_id": ada["id"]}),
        ("group.remove_member", {"identity_id": ada["id"]}),
    ]
    assert (await api.put(path)).status_code == 201
    assert [current for _, current in await history(sessions, "membership")] == [False, True]


async def test_only_identities_that_are_not_offboarded_join_only_groups_that_exist(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, some = await person(api), await group(api)
    missing = {"id": format_id("idn", new_id())}, {"id": format_id("grp", new_id())}
    assert (await api.put(member_path(some, missing[0]))).status_code == 404
    assert (await api.put(member_path(missing[1], ada))).status_code == 404
    assert (await api.delete(member_path(some, missing[0]))).status_code == 404
    assert (await api.get(f"{PATH}/{missing[1]['id']}/members")).status_code == 404
    async with sessions() as session:
        await session.execute(
            text("UPDATE identities SET status = 'offboarded' WHERE id = :id"), {"id": plain(ada)}
        )
        await session.commit()
    assert (await api.put(member_path(some, ada))).json()["code"] == "identity_offboarded"


async def test_ending_a_group_ends_its_grants_and_memberships_and_moves_all(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, bob = await person(api), await person(api)
    some, other = await group(api, ada, bob), await group(api, ada)
    first, second, foreign = await grant(api, some), await grant(api, some), await grant(api, other)
    versions = Versions(sessions, ada, bob, some, other, first, second, foreign)
    await versions.look()
    assert (await api.delete(f"{PATH}/{some['id']}")).status_code == 204
    assert await versions.moved() == {thing["id"] for thing in (ada, bob, some, first, second)}
    for ended in (first, second):
        assert (await api.get(f"/api/v1/grants/{ended['id']}")).status_code == 404
    assert (await api.get(f"/api/v1/grants/{foreign['id']}")).status_code == 200
    current = [content["group_id"] for content, current in await history(sessions, "membership") if current]
    assert current == [str(plain(other))]
    current = [content["group_id"] for content, current in await history(sessions, "grant") if current]
    assert current == [str(plain(other))]
    action, changes = (await events(sessions, some))[-1]
    assert action == "group.end"
    assert set(changes["ended_grants"]) == {first["id"], second["id"]}
    assert set(changes["removed_members"]) == {ada["id"], bob["id"]}


async def test_a_provisioner_may_not_change_members_where_that_would_be_granting(
    api: httpx2.AsyncClient, api_as: ApiAs, sessions: Sessions
) -> None:
    provisioner = await api_as("provisioner")
    ada, bob = await person(provisioner), await person(provisioner)
    some = await group(provisioner, ada)
    right = await grant(api, some, not_before="2100-01-01T00:00:00Z")
    path = f"{PATH}/{some['id']}"
    for answer in (
        await provisioner.put(member_path(some, bob)),
        await provisioner.delete(member_path(some, ada)),
        await provisioner.delete(path),
    ):
        assert answer.status_code == 403
        assert "grants.write" in answer.json()["detail"]
    assert (await provisioner.get(member_path(some, ada))).status_code == 200
    assert (await provisioner.get(member_path(some, bob))).status_code == 404
    assert (await api.delete(f"/api/v1/grants/{right['id']}")).status_code == 204
    assert (await provisioner.put(member_path(some, bob))).status_code == 201
    expired = await grant(api, some)
    async with sessions() as session:
        await session.execute(
            text("UPDATE grants SET expires_at = now() - interval '1 s' WHERE id = :id"),
            {"id": plain(expired)},
        )
        await session.commit()
    assert (await provisioner.delete(member_path(some, bob))).status_code == 204
    scim = await group(api)
    await grant(api, scim)
    async with sessions() as session:
        await session.execute(text("UPDATE groups SET source = 'scim' WHERE id = :id"), {"id": plain(scim)})
        await session.commit()
    # Nor members of a provisioned group, which its directory changes by SCIM with its own people.
    assert (await provisioner.put(member_path(scim, bob))).status_code == 403
    assert (await provisioner.delete(path)).status_code == 204


async def test_a_provisioner_does_not_shape_a_group_that_a_policy_names(
    api: httpx2.AsyncClient, api_as: ApiAs, sessions: Sessions
) -> None:
    """Neither by members nor by creating, renaming or ending one: these are ways to approve, or to be exempt."""
    provisioner = await api_as("provisioner")
    bob, approvers, named = await person(provisioner), await group(provisioner), await group(provisioner)
    other, loose = await group(provisioner), fresh("Empty group")
    texts = [
        f'@require_approval("{approvers["name"].upper()}") forbid (principal, action, resource);',
        f'@require_approval("{loose}") forbid (principal, action, resource);',
        f'forbid (principal, action, resource) unless {{ principal in Group::"{named["id"]}" }};',
    ]
    async with sessions() as session:
        rows = [
            Policy(
                name=fresh("policy"), text=text, status="published", version=1, published_text=text,
                published_mode="enforce",
            )
            for text in texts
        ]  # fmt: skip
        session.add_all(
            [*rows, Policy(name=fresh("draft"), text=f'@require_approval("{other["name"]}") {texts[2]}')]
        )
        await session.commit()
    refused = [
        await provisioner.put(member_path(approvers, bob)),
        await provisioner.put(member_path(named, bob)),
        await provisioner.delete(f"{PATH}/{approvers['id']}"),
        await provisioner.patch(f"{PATH}/{approvers['id']}", json={"name": fresh("x")}),
        await provisioner.patch(f"{PATH}/{other['id']}", json={"name": loose}),
        await provisioner.post(PATH, json={"name": loose.lower()}),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text
        assert "policy" in answer.json()["detail"]
    assert (await provisioner.put(member_path(other, bob))).status_code == 201
    renamed = await provisioner.patch(f"{PATH}/{other['id']}", json={"description": "x", "name": fresh("x")})
    assert renamed.status_code == 200
    assert (await api.put(member_path(approvers, bob))).status_code == 201
    assert (await api.post(PATH, json={"name": loose})).status_code == 201


async def test_a_worker_whose_clock_is_ahead_does_not_let_a_provisioner_grant(
    api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    provisioner = await api_as("provisioner")
    some, bob = await group(provisioner), await person(provisioner)
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    await grant(api, some, expires_at=expires_at.isoformat())
    with worker_clock_off(timedelta(hours=2)):
        assert (await provisioner.put(member_path(some, bob))).status_code == 403


async def test_many_who_join_at_once_join_once_each(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    some = await group(api)
    people = [await person(api) for _ in range(3)]
    answers = await asyncio.gather(*(api.put(member_path(some, one)) for one in people for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200] * 6 + [201] * 3
    assert len(await history(sessions, "membership")) == 3


async def test_a_grant_made_while_a_provisioner_adds_a_member_never_lets_both_slip(
    api: httpx2.AsyncClient, api_as: ApiAs, sessions: Sessions
) -> None:
    """In either order of the locks: a member added after the grant is refused."""
    provisioner = await api_as("provisioner")
    ada, some = await person(api), await group(api)
    async with sessions() as session:
        await session.execute(
            text("SELECT 1 FROM groups WHERE id = :id FOR NO KEY UPDATE"), {"id": plain(some)}
        )
        joining = asyncio.create_task(provisioner.put(member_path(some, ada)))
        async with asyncio.timeout(50):
            while not await _has_lock_waiter(sessions):  # noqa: ASYNC110  # The event is the database's.
                await asyncio.sleep(0.01)
        await session.execute(
            text(
                "INSERT INTO grants (id, group_id, servers, tools, resources, prompts) "
                'VALUES (:id, :group_id, \'{"kind": "all"}\', \'{"kind": "all"}\', true, true)'
            ),
            {"id": new_id(), "group_id": plain(some)},
        )
        await session.commit()
    assert (await joining).status_code == 403


async def _has_lock_waiter(sessions: Sessions) -> bool:
    async with sessions() as session:
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(await session.scalar(waiting))


async def test_lists_of_groups_filter_by_name_and_text(api: httpx2.AsyncClient) -> None:
    word = fresh("word")
    some = await made(api, "groups", {"name": fresh("a"), "description": f"about {word}"})
    for params in ({"q": word.upper()}, {"name": some["name"].upper()}):
        found = (await api.get(PATH, params=params)).json()["items"]
        assert [item["id"] for item in found] == [some["id"]]
