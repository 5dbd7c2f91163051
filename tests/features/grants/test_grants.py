"""Grants: principal, selectors and expiry; status by time; moved versions and history of each change."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from app.lib.ids import format_id, new_id
from tests.api import ApiAs
from tests.features.principals import (
    Json,
    Sessions,
    Versions,
    events,
    fresh,
    grant,
    group,
    history,
    person,
    plain,
    pointers,
    server,
)

PATH = "/api/v1/grants"
ALL = {"kind": "all"}


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def update(sessions: Sessions, right: Json, assignment: str) -> None:
    async with sessions() as session:
        await session.execute(text(f"UPDATE grants SET {assignment} WHERE id = :id"), {"id": plain(right)})
        await session.commit()


async def test_a_grant_is_made_read_changed_and_ended(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    ada, target = await person(api), await server(sessions)
    right = await grant(
        api, ada, servers={"kind": "ids", "ids": [target]}, tools={"kind": "names", "names": ["log"]}
    )
    path = f"{PATH}/{right['id']}"
    assert right["servers"] == {"kind": "ids", "ids": [target]}
    assert (right["resources"], right["prompts"], right["status"]) == (False, False, "active")
    answer = await api.get(path)
    assert (answer.json(), answer.headers["etag"]) == (right, '"1"')
    body = {"tools": ALL, "expires_at": at(3600)}
    answer = await api.patch(path, json=body, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["tools"], answer.headers["etag"]) == (200, ALL, '"2"')
    assert answer.json()["resources"] is False
    assert (await api.patch(path, json={}, headers={"If-Match": '"1"'})).status_code == 412
    assert (await api.patch(path, json={"expires_at": None})).json()["expires_at"] is None
    assert (await api.delete(path)).status_code == 204
    for answer in (await api.get(path), await api.patch(path, json={}), await api.delete(path)):
        assert answer.status_code == 404
    kept = await api.get(path, params={"include": "ended"})
    assert (kept.status_code, kept.json()["status"]) == (200, "ended")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tools": ALL}, (True, True)),
        ({"tools": {"kind": "risk", "risk": ["read"]}}, (False, False)),
        ({"tools": {"kind": "names", "names": []}}, (False, False)),
        ({"tools": ALL, "resources": False}, (False, True)),
        ({"tools": {"kind": "risk", "risk": ["read"]}, "prompts": True}, (False, True)),
    ],
)
async def test_resources_and_prompts_come_with_all_tools_only(
    api: httpx2.AsyncClient, fields: Json, expected: tuple[bool, bool]
) -> None:
    right = await grant(api, await person(api), **fields)
    assert (right["resources"], right["prompts"]) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"servers": {"kind": "ids", "ids": [format_id("srv", new_id())]}}, ("/servers/ids/0", "not_found")),
        ({"servers": {"kind": "ids", "ids": [format_id("grp", new_id())]}}, ("/servers/ids/0", "value_error")),
        ({"servers": {"kind": "some"}}, ("/servers", "union_tag_invalid")),
        ({"servers": {}}, ("/servers", "union_tag_not_found")),
        ({"servers": {"kind": "all", "ids": []}}, ("/servers/ids", "unknown_field")),
        ({"servers": {"kind": "labels", "labels": {"a": 1}}}, ("/servers/labels/a", "string_type")),
        ({"tools": {"kind": "risk", "risk": ["mild"]}}, ("/tools/risk/0", "enum")),
        ({"tools": {"kind": "names", "names": ["x" * 257]}}, ("/tools/names/0", "string_too_long")),
        ({"tools": None}, ("/tools", "model_attributes_type")),
        ({"principal": {"type": "identity", "id": format_id("idn", new_id())}}, ("/principal/id", "not_found")),
        ({"principal": {"type": "group", "id": format_id("grp", new_id())}}, ("/principal/id", "not_found")),
        ({"principal": {"type": "group", "id": format_id("idn", new_id())}}, ("/principal/id", "value_error")),
        ({"principal": {"type": "server", "id": "x"}}, ("/principal", "union_tag_invalid")),
        ({"expires_at": "2020-01-01T00:00:00Z"}, ("/expires_at", "in_the_past")),
        ({"expires_at": "2100-01-01T00:00:00"}, ("/expires_at", "timezone_aware")),
        ({"expires_at": 4102444800}, ("/expires_at", "value_error")),
        (
            {"not_before": "2100-01-01T00:00:00Z", "expires_at": "2100-01-01T00:00:00Z"},
            ("/not_before", "not_before_end"),
        ),
        ({"ends_at": None}, ("/ends_at", "unknown_field")),
    ],
)  # fmt: skip
async def test_bad_input_names_the_field_and_makes_nothing(
    api: httpx2.AsyncClient, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    ada = await person(api)
    body = {"principal": {"type": "identity", "id": ada["id"]}, "servers": ALL, "tools": ALL} | fields
    assert pointers(await api.post(PATH, json=body)) == {expected}
    assert (await api.get(PATH)).json()["items"] == []


async def test_each_server_that_does_not_exist_is_named(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    known, ended, missing = await server(sessions), await server(sessions), format_id("srv", new_id())
    async with sessions() as session:
        await session.execute(
            text("UPDATE servers SET ended_at = now() WHERE id = :id"), {"id": plain({"id": ended})}
        )
        await session.commit()
    right = await grant(api, await person(api))
    body = {"servers": {"kind": "ids", "ids": [missing, known, ended]}}
    expected = {("/servers/ids/0", "not_found"), ("/servers/ids/2", "not_found")}
    assert pointers(await api.patch(f"{PATH}/{right['id']}", json=body)) == expected


async def test_nothing_is_granted_to_who_is_offboarded_or_ended(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, some = await person(api), await group(api)
    await api.delete(f"/api/v1/groups/{some['id']}")
    async with sessions() as session:
        await session.execute(
            text("UPDATE identities SET status = 'offboarded' WHERE id = :id"), {"id": plain(ada)}
        )
        await session.commit()
    for kind, thing, code in (("identity", ada, "offboarded"), ("group", some, "not_found")):
        body = {"principal": {"type": kind, "id": thing["id"]}, "servers": ALL, "tools": ALL}
        assert pointers(await api.post(PATH, json=body)) == {("/principal/id", code)}


async def test_empty_selectors_are_kept_empty(api: httpx2.AsyncClient) -> None:
    servers: Json = {"kind": "labels", "labels": {}}
    tools: Json = {"kind": "names", "names": []}
    right = await grant(api, await person(api), servers=servers, tools=tools)
    assert (right["servers"], right["tools"]) == (servers, tools)


@pytest.mark.parametrize("field", ["servers", "tools", "resources", "prompts"])
async def test_null_for_what_may_not_be_null_is_refused(api: httpx2.AsyncClient, field: str) -> None:
    right = await grant(api, await person(api))
    answer = await api.patch(f"{PATH}/{right['id']}", json={field: None})
    assert {pointer for pointer, _ in pointers(answer)} == {f"/{field}"}


async def test_the_principal_cannot_change(api: httpx2.AsyncClient) -> None:
    right = await grant(api, await person(api))
    answer = await api.patch(f"{PATH}/{right['id']}", json={"principal": right["principal"]})
    assert pointers(answer) == {("/principal", "unknown_field")}


async def test_a_window_is_checked_against_what_stays(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    right = await grant(api, await person(api), expires_at=at(3600))
    path = f"{PATH}/{right['id']}"
    assert pointers(await api.patch(path, json={"not_before": at(7200)})) == {
        ("/not_before", "not_before_end")
    }
    assert pointers(await api.patch(path, json={"expires_at": at(-1)})) == {("/expires_at", "in_the_past")}
    await update(sessions, right, "expires_at = now() - interval '1 s'")
    answer = await api.patch(path, json={"reason": "kept for the record"})
    assert (answer.status_code, answer.json()["status"]) == (200, "expired")
    assert (await api.patch(path, json={"expires_at": at(60)})).json()["status"] == "active"


async def test_the_status_follows_the_clock_and_filters_lists(
    api: httpx2.AsyncClient, api_as: ApiAs, sessions: Sessions
) -> None:
    ada = await person(api)
    rights = {
        "active": await grant(api, ada, not_before=at(-60), expires_at=at(3600)),
        "scheduled": await grant(api, ada, not_before=at(3600)),
        "expired": await grant(api, ada),
        "ended": await grant(api, ada),
    }
    await update(sessions, rights["expired"], "expires_at = now()")
    await api.delete(f"{PATH}/{rights['ended']['id']}")
    for status, right in rights.items():
        found = (await api.get(PATH, params={"status": status})).json()["items"]
        assert [(item["id"], item["status"]) for item in found] == [(right["id"], status)]
    assert len((await api.get(PATH, params={"identity_id": ada["id"]})).json()["items"]) == 3
    for params, expected in (
        ({"expires_before": at(1800)}, ["expired"]),
        ({"expires_after": at(1800), "expires_before": at(7200)}, ["active"]),
        # Grants without an expiry sort last.
        ({"expires_after": at(1800), "sort": "expires_at"}, ["active", "scheduled"]),
    ):
        found = (await api.get(PATH, params=params)).json()["items"]
        assert [item["status"] for item in found] == expected
    everything = {"identity_id": ada["id"], "include": "ended"}
    assert len((await api.get(PATH, params=everything)).json()["items"]) == 4
    issuer = await api_as("issuer")
    for params in ({"status": "ended"}, {"include": "ended"}):
        assert (await issuer.get(PATH, params=params)).status_code == 403
    assert (await issuer.get(PATH, params={"status": "expired"})).status_code == 200


async def test_lists_filter_by_principal_and_text(api: httpx2.AsyncClient) -> None:
    ada, some, word = await person(api), await group(api), fresh("why")
    mine, ours = await grant(api, ada), await grant(api, some, reason=f"because {word}")
    await grant(api, await person(api))
    both = {"identity_id": ada["id"], "group_id": some["id"]}
    for params, expected in (
        ({"identity_id": ada["id"]}, [mine]),
        ({"group_id": some["id"]}, [ours]),
        (both, [ours, mine]),
        ({"q": word}, [ours]),
    ):
        found = (await api.get(PATH, params=params)).json()["items"]
        assert [item["id"] for item in found] == [right["id"] for right in expected]


async def test_granting_moves_who_got_it_and_changing_moves_the_grant(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, member = await person(api), await person(api)
    some = await group(api, member)
    holders = Versions(sessions, ada, member, some)
    await holders.look()
    mine = await grant(api, ada)
    assert await holders.moved() == {ada["id"]}
    ours = await grant(api, some)
    assert await holders.moved() == {some["id"]}
    versions = Versions(sessions, ada, member, some, mine, ours)
    await versions.look()
    path = f"{PATH}/{ours['id']}"
    for body in (
        {"tools": {"kind": "risk", "risk": ["read"]}},
        {"servers": {"kind": "labels", "labels": {"a": "b"}}},
        {"resources": False},
        {"prompts": False},
        {"not_before": at(-60)},
        {"expires_at": at(60)},
    ):
        assert (await api.patch(path, json=body)).status_code == 200
        assert await versions.moved() == {ours["id"]}, body
        assert (await api.patch(path, json=body)).status_code == 200
        assert await versions.moved() == set()
    await api.delete(path)
    assert await versions.moved() == {ours["id"]}


async def test_each_version_of_a_grant_is_kept(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    right = await grant(api, await person(api))
    await api.patch(f"{PATH}/{right['id']}", json={"tools": {"kind": "names", "names": ["log"]}})
    kept = await history(sessions, "grant")
    assert [(content["tools"], current) for content, current in kept] == [
        (ALL, False),
        ({"kind": "names", "names": ["log"]}, True),
    ]
    await api.delete(f"{PATH}/{right['id']}")
    assert [current for _, current in await history(sessions, "grant")] == [False, False]


async def test_changes_are_recorded(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    ada = await person(api)
    right = await grant(api, ada)
    await api.patch(f"{PATH}/{right['id']}", json={"resources": False})
    await api.delete(f"{PATH}/{right['id']}")
    recorded = await events(sessions, right)
    assert [action for action, _ in recorded] == ["grant.create", "grant.update", "grant.end"]
    assert recorded[0][1]["principal"] == {"type": "identity", "id": ada["id"]}
    assert recorded[1][1] == {"resources": {"from": True, "to": False}}


@pytest.mark.parametrize("role", ["issuer", "approver", "auditor", "provisioner"])
async def test_only_those_who_may_grant_grant(api: httpx2.AsyncClient, api_as: ApiAs, role: str) -> None:
    ada, other = await person(api), await api_as(role)
    right = await grant(api, ada)
    body = {"principal": right["principal"], "servers": ALL, "tools": ALL}
    path = f"{PATH}/{right['id']}"
    for answer in (
        await other.post(PATH, json=body),
        await other.patch(path, json={"tools": ALL}),
        await other.delete(path),
    ):
        assert answer.status_code == 403
        assert "grants.write" in answer.json()["detail"]
    assert (await other.get(path)).status_code == (403 if role == "provisioner" else 200)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_a_time_that_the_database_takes_for_an_infinity_is_refused(
    api: httpx2.AsyncClient, moment: str
) -> None:
    ada = await person(api)
    right = await grant(api, ada, not_before="0001-01-01T00:00:01Z", expires_at="9999-12-31T23:59:59Z")
    assert (await api.get(f"{PATH}/{right['id']}")).json()["status"] == "active"
    for field in ("not_before", "expires_at"):
        answer = await api.patch(f"{PATH}/{right['id']}", json={field: moment})
        assert pointers(answer) == {(f"/{field}", "value_error")}
