"""Identities: people and agents, their names, owners and status, and moved versions."""

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
    agent,
    events,
    fresh,
    history,
    person,
    plain,
    pointers,
)

PATH = "/api/v1/identities"


async def offboard(sessions: Sessions, identity: Json, days_ago: int = 0) -> None:
    async with sessions() as session:
        await session.execute(
            text(
                "UPDATE identities SET status = 'offboarded', offboarded_at = now() - make_interval(days => :days) "
                "WHERE id = :id"
            ),
            {"id": plain(identity), "days": days_ago},
        )
        await session.commit()


async def test_a_person_is_made_read_and_changed(api: httpx2.AsyncClient) -> None:
    made = await person(api, display_name="Ada", email="ada@example.com")
    assert (made["status"], made["source"], made["links"], made["revision"]) == ("active", "manual", [], 1)
    answer = await api.get(f"{PATH}/{made['id']}")
    assert answer.json() == made
    assert answer.headers["etag"] == '"1"'
    answer = await api.patch(f"{PATH}/{made['id']}", json={"email": None, "display_name": "Ada L."})
    assert answer.status_code == 200
    assert (answer.json()["email"], answer.json()["display_name"]) == (None, "Ada L.")
    assert answer.headers["etag"] == '"2"'


async def test_a_change_against_an_old_revision_is_refused_and_changes_nothing(
    api: httpx2.AsyncClient,
) -> None:
    made = await person(api)
    path = f"{PATH}/{made['id']}"
    assert (await api.patch(path, json={"email": "a@b.c"}, headers={"If-Match": '"1"'})).status_code == 200
    answer = await api.patch(path, json={"email": "x@y.z"}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "revision_mismatch")
    assert (await api.get(path)).json()["email"] == "a@b.c"


async def test_a_patch_that_changes_nothing_leaves_the_revision(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    made = await person(api)
    versions = Versions(sessions, made)
    await versions.look()
    answer = await api.patch(f"{PATH}/{made['id']}", json={"user_name": made["user_name"]})
    assert answer.json()["revision"] == 1
    assert await versions.moved() == set()
    assert [action for action, _ in await events(sessions, made)] == ["identity.create"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"kind": "robot", "user_name": "x"}, ("/kind", "literal_error")),
        ({"kind": "person"}, ("/user_name", "required")),
        ({"kind": "person", "user_name": ""}, ("/user_name", "string_too_short")),
        ({"kind": "person", "user_name": "x" * 201}, ("/user_name", "string_too_long")),
        ({"kind": "person", "user_name": 7}, ("/user_name", "string_type")),
        ({"kind": "person", "user_name": "x", "status": "active"}, ("/status", "unknown_field")),
        ({"kind": "person", "user_name": "x", "email": "no"}, ("/email", "string_pattern_mismatch")),
        ({"kind": "agent", "user_name": "x"}, ("/owner_id", "required")),
        ({"kind": "agent", "user_name": "x", "owner_id": format_id("grp", new_id())}, ("/owner_id", "value_error")),
        ({"kind": "agent", "user_name": "x", "owner_id": format_id("idn", new_id())}, ("/owner_id", "not_found")),
        (
            {"kind": "person", "user_name": "x", "owner_id": format_id("idn", new_id())},
            ("/owner_id", "not_for_a_person"),
        ),
    ],
)  # fmt: skip
async def test_bad_input_names_the_field(
    api: httpx2.AsyncClient, body: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert pointers(await api.post(PATH, json=body)) == {expected}


async def test_attributes_are_merged_and_each_change_moves_the_version_and_is_kept(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada = await person(api, attributes={"department": "finance", "site": "Berlin"})
    path = f"{PATH}/{ada['id']}"
    versions = Versions(sessions, ada)
    await versions.look()
    answer = await api.patch(path, json={"attributes": {"site": None, "level": "3"}})
    assert answer.json()["attributes"] == {"department": "finance", "level": "3"}
    assert (answer.json()["revision"], await versions.moved()) == (2, {ada["id"]})
    again = await api.patch(path, json={"attributes": {"site": None}})
    assert (again.json()["revision"], await versions.moved()) == (2, set())
    full = {f"key {n}": "x" for n in range(64)}
    assert pointers(await api.patch(path, json={"attributes": full})) == {("/attributes", "too_many")}
    assert pointers(await api.patch(path, json={"attributes": None})) == {("/attributes", "dict_type")}
    wrong = {"kind": "person", "user_name": "x", "attributes": {"level": 3}}
    assert pointers(await api.post(PATH, json=wrong)) == {("/attributes/level", "string_type")}
    # Personal data is stored where it can be erased, and not in the audit log.
    kept = [
        (content["attributes"], current)
        for content, current in await history(sessions, "identity")
        if content["attributes"]
    ]
    assert kept == [
        ({"department": "finance", "site": "Berlin"}, False), ({"department": "finance", "level": "3"}, True)
    ]  # fmt: skip
    said = [changes["attributes"] for _, changes in await events(sessions, ada)]
    assert said == [{"personal": True}] * 2


async def test_the_history_knows_status_and_owner_at_any_time(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    first, second = await person(api), await person(api)
    bot = await agent(api, first)
    await api.patch(f"{PATH}/{bot['id']}", json={"owner_id": second["id"]})
    await api.patch(f"{PATH}/{bot['id']}", json={"display_name": "Bot"})
    await api.post(f"{PATH}/{bot['id']}/suspend")
    await api.post(f"{PATH}/{bot['id']}/reinstate")
    left = await api.post(f"{PATH}/{second['id']}/offboard", json={"reason": "left"})
    assert left.status_code == 200
    kept = [
        (content["status"], content["owner_id"], current)
        for content, current in await history(sessions, "identity")
        if content["kind"] == "agent"
    ]
    a, b = str(plain(first)), str(plain(second))
    assert kept == [
        ("active", a, False), ("active", b, False), ("suspended", b, False), ("active", b, False),
        ("suspended", b, True),
    ]  # fmt: skip


async def test_lone_surrogates_are_refused(api: httpx2.AsyncClient) -> None:
    answer = await api.post(
        PATH,
        content=b'{"kind": "person", "user_name": "\\ud800"}',
        headers={"content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


async def test_null_for_what_may_not_be_null_is_refused(api: httpx2.AsyncClient) -> None:
    made = await person(api)
    answer = await api.patch(f"{PATH}/{made['id']}", json={"user_name": None})
    assert pointers(answer) == {("/user_name", "string_type")}


async def test_user_names_are_unique_whatever_their_case(api: httpx2.AsyncClient) -> None:
    made = await person(api)
    body = {"kind": "person", "user_name": made["user_name"].upper()}
    answer = await api.post(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "user_name_taken")
    other = await person(api)
    answer = await api.patch(f"{PATH}/{other['id']}", json={"user_name": made["user_name"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "user_name_taken")


async def test_user_names_that_look_the_same_are_the_same(api: httpx2.AsyncClient) -> None:
    made = await person(api, user_name="\uff21da Byron\u200b ")
    assert made["user_name"] == "Ada Byron"
    bob = await person(api, user_name="bob")
    for name in ("ada byron", "Ada\u00a0Byron", "ada byron\u2060", "\ufeffADA BYRON "):
        answer = await api.post(PATH, json={"kind": "person", "user_name": name})
        assert (answer.status_code, answer.json()["code"]) == (409, "user_name_taken"), name
        answer = await api.patch(f"{PATH}/{bob['id']}", json={"user_name": name})
        assert (answer.status_code, answer.json()["code"]) == (409, "user_name_taken"), name
        found = (await api.get(PATH, params={"user_name": name})).json()["items"]
        assert [one["id"] for one in found] == [made["id"]], name
    answer = await api.post(
        f"{PATH}/offboard", params={"user_name": "ada\u00a0byron "}, json={"reason": "left"}
    )
    assert answer.json()["identity"]["id"] == made["id"], answer.text


async def test_a_user_name_that_deceives_the_eye_is_refused_in_words(api: httpx2.AsyncClient) -> None:
    bob = await person(api, user_name="bob")
    for name, words in (
        ("ada\u202e", "U+202E, a control character"),
        ("\u2066ada", "U+2066, a control character"),
        ("a\nb", "U+000A, a control character"),
        ("\u200b \u3164", "nothing that can be seen"),
        ("\ufdfa" * 30, "more than 200 characters"),
    ):
        for answer in (
            await api.post(PATH, json={"kind": "person", "user_name": name}),
            await api.patch(f"{PATH}/{bob['id']}", json={"user_name": name}),
        ):
            (error,) = answer.json()["errors"]
            assert (answer.status_code, error["pointer"]) == (422, "/user_name")
            assert words in error["detail"]


async def test_external_ids_are_unique(api: httpx2.AsyncClient) -> None:
    value = fresh("external")
    await person(api, external_id=value)
    answer = await api.post(PATH, json={"kind": "person", "user_name": fresh("x"), "external_id": value})
    assert (answer.status_code, answer.json()["code"]) == (409, "external_id_taken")


async def test_the_user_name_of_an_offboarded_identity_rests_for_90_days(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    made = await person(api)
    await offboard(sessions, made, days_ago=89)
    body = {"kind": "person", "user_name": made["user_name"].upper()}
    answer = await api.post(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "user_name_reserved")
    other = await person(api)
    answer = await api.patch(f"{PATH}/{other['id']}", json={"user_name": made["user_name"]})
    assert answer.json()["code"] == "user_name_reserved"
    await offboard(sessions, made, days_ago=91)
    assert (await api.post(PATH, json=body)).status_code == 201


async def test_an_agents_owner_is_an_active_person(api: httpx2.AsyncClient) -> None:
    ada = await person(api)
    bot = await agent(api, ada)
    body = {"kind": "agent", "user_name": fresh("bot"), "owner_id": bot["id"]}
    assert pointers(await api.post(PATH, json=body)) == {("/owner_id", "not_a_person")}
    await api.post(f"{PATH}/{ada['id']}/suspend")
    body["owner_id"] = ada["id"]
    assert pointers(await api.post(PATH, json=body)) == {("/owner_id", "not_active")}
    answer = await api.patch(f"{PATH}/{bot['id']}", json={"owner_id": bot["id"]})
    assert pointers(answer) == {("/owner_id", "not_a_person")}
    answer = await api.patch(f"{PATH}/{bot['id']}", json={"owner_id": None})
    assert answer.status_code == 422


async def test_an_agent_goes_to_another_owner_and_its_version_moves(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    first, second = await person(api), await person(api)
    bot, later = await agent(api, second), await person(api)
    versions = Versions(sessions, bot)
    for owner in (first, later):
        await versions.look()
        answer = await api.patch(f"{PATH}/{bot['id']}", json={"owner_id": owner["id"]})
        assert (answer.status_code, answer.json()["owner_id"]) == (200, owner["id"])
        assert await versions.moved() == {bot["id"]}
    action, changes = (await events(sessions, bot))[-1]
    assert (action, changes) == (
        "identity.update", {"owner_id": {"from": first["id"], "to": later["id"]}}
    )  # fmt: skip


async def test_suspending_a_person_moves_the_person_and_their_agents(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, other = await person(api), await person(api)
    bot = await agent(api, ada)
    versions = Versions(sessions, ada, bot, other)
    await versions.look()
    answer = await api.post(f"{PATH}/{ada['id']}/suspend")
    assert (answer.status_code, answer.json()["status"]) == (200, "suspended")
    assert await versions.moved() == {ada["id"], bot["id"]}
    assert (await api.get(f"{PATH}/{bot['id']}")).json()["status"] == "active"
    again = await api.post(f"{PATH}/{ada['id']}/suspend")
    assert again.json() == answer.json()
    assert await versions.moved() == set()
    answer = await api.post(f"{PATH}/{ada['id']}/reinstate")
    assert answer.json()["status"] == "active"
    assert await versions.moved() == {ada["id"], bot["id"]}
    assert await events(sessions, ada) == [
        ("identity.create", {"kind": {"from": None, "to": "person"}, "user_name": {"personal": True}}),
        (
            "identity.suspend",
            {"status": {"from": "active", "to": "suspended"}, "stopped_agents": [bot["id"]]},
        ),
        ("identity.reinstate", {"status": {"from": "suspended", "to": "active"}}),
    ]


async def test_an_agent_is_not_reinstated_under_an_owner_who_is_not_active(api: httpx2.AsyncClient) -> None:
    ada = await person(api)
    bot = await agent(api, ada)
    for thing in (bot, ada):
        await api.post(f"{PATH}/{thing['id']}/suspend")
    answer = await api.post(f"{PATH}/{bot['id']}/reinstate")
    assert (answer.status_code, answer.json()["code"]) == (409, "owner_not_active")
    await api.post(f"{PATH}/{ada['id']}/reinstate")
    assert (await api.post(f"{PATH}/{bot['id']}/reinstate")).json()["status"] == "active"


async def test_an_offboarded_identity_can_be_read_and_reinstated_but_not_changed(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada = await person(api)
    await offboard(sessions, ada)
    path = f"{PATH}/{ada['id']}"
    assert (await api.get(path)).json()["status"] == "offboarded"
    for answer in (await api.patch(path, json={"email": "a@b.c"}), await api.post(f"{path}/suspend")):
        assert (answer.status_code, answer.json()["code"]) == (409, "identity_offboarded")
    answer = await api.post(f"{path}/reinstate")
    assert (answer.json()["status"], answer.json()["offboarded_at"]) == ("active", None)


async def test_reinstating_fails_when_the_name_was_given_on(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada = await person(api)
    await offboard(sessions, ada, days_ago=100)
    await person(api, user_name=ada["user_name"])
    answer = await api.post(f"{PATH}/{ada['id']}/reinstate")
    assert (answer.status_code, answer.json()["code"]) == (409, "user_name_taken")
    assert (await api.get(f"{PATH}/{ada['id']}")).json()["status"] == "offboarded"


async def test_personal_values_are_not_in_the_audit_log(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    ada = await person(api, display_name="Secret Name", email="hidden@example.com", external_id=fresh("hid"))
    await api.patch(f"{PATH}/{ada['id']}", json={"email": "other@example.com"})
    recorded = await events(sessions, ada)
    assert recorded[1] == ("identity.update", {"email": {"personal": True}})
    for value in ("Secret Name", "@example.com", ada["user_name"], ada["external_id"]):
        assert value not in str(recorded)


async def test_lists_filter_page_and_bind_their_cursors(api: httpx2.AsyncClient) -> None:
    owner = await person(api, display_name="100%_sure")
    agents = [await agent(api, owner) for _ in range(3)]
    first = (await api.get(PATH, params={"owner_id": owner["id"], "limit": 2})).json()
    assert [item["id"] for item in first["items"]] == [agents[2]["id"], agents[1]["id"]]
    after = {"owner_id": owner["id"], "limit": 2, "cursor": first["next_cursor"]}
    second = (await api.get(PATH, params=after)).json()
    assert ([item["id"] for item in second["items"]], second["next_cursor"]) == ([agents[0]["id"]], None)
    answer = await api.get(PATH, params={"kind": "agent", "cursor": first["next_cursor"]})
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_mismatch")
    found = (await api.get(PATH, params={"q": "0%_s"})).json()["items"]
    assert [item["id"] for item in found] == [owner["id"]]
    assert (await api.get(PATH, params={"q": "0__s"})).json()["items"] == []
    found = (await api.get(PATH, params={"user_name": owner["user_name"].upper()})).json()["items"]
    assert [item["id"] for item in found] == [owner["id"]]
    both = await api.get(PATH, params=[("kind", "agent"), ("kind", "person"), ("status", "suspended")])
    assert both.json()["items"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "status=gone", "owner_id=grp_x", "nonsense=1", "q=%00"]
)
async def test_bad_list_parameters_are_refused(api: httpx2.AsyncClient, query: str) -> None:
    assert (await api.get(f"{PATH}?{query}")).status_code == 422


async def test_what_does_not_exist_is_404_and_ids_of_another_kind_422(api: httpx2.AsyncClient) -> None:
    missing = format_id("idn", new_id())
    assert (await api.get(f"{PATH}/{missing}")).status_code == 404
    assert (await api.patch(f"{PATH}/{missing}", json={})).status_code == 404
    assert (await api.post(f"{PATH}/{missing}/suspend")).status_code == 404
    assert (await api.post(f"{PATH}/{missing}/reinstate")).status_code == 404
    assert (await api.get(f"{PATH}/{format_id('grp', new_id())}")).status_code == 422


@pytest.mark.parametrize("role", ["issuer", "approver", "auditor"])
async def test_readers_may_not_change_identities(api: httpx2.AsyncClient, api_as: ApiAs, role: str) -> None:
    ada, reader = await person(api), await api_as(role)
    assert (await reader.get(f"{PATH}/{ada['id']}")).status_code == 200
    for answer in (
        await reader.post(PATH, json={"kind": "person", "user_name": fresh("x")}),
        await reader.patch(f"{PATH}/{ada['id']}", json={}),
        await reader.post(f"{PATH}/{ada['id']}/suspend"),
        await reader.post(f"{PATH}/{ada['id']}/reinstate"),
    ):
        assert answer.status_code == 403
        assert "identities.write" in answer.json()["detail"]
