"""Searching a directory over the protocol: what is found, what is refused, and that what is asked often is quick."""

import re
from typing import Any

import httpx2
import pytest
from scim2_models import SearchRequest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.scim import columns
from app.adapters.scim import storage as search
from app.adapters.scim.models import DirectoryUser, Group
from app.adapters.scim.storage import _Order
from app.lib.ids import format_id
from tests.adapters.scim.conftest import ENTERPRISE, NewScim, patch, user
from tests.adapters.scim.populations import add_provider
from tests.features.principals import Json, Sessions, group, person

SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

MANY = """
INSERT INTO identities (id, kind, user_name, external_id, provider_id, source)
SELECT gen_random_uuid(), 'person', 'user' || n, 'ext' || n, :provider_id, 'scim' FROM generate_series(1, 3000) n;
INSERT INTO scim_users (identity_id, provider_id, user_name, external_id, profile)
SELECT id, provider_id, user_name, external_id, jsonb_build_object('displayName', 'Name of ' || user_name, 'emails',
    jsonb_build_array(jsonb_build_object('type', 'work', 'value', user_name || '@Example.com'))) FROM identities;
INSERT INTO groups (id, name, external_id, provider_id, source)
SELECT gen_random_uuid(), 'Group ' || n, 'ext' || n, :provider_id, 'scim' FROM generate_series(1, 3000) n;
INSERT INTO group_members (id, group_id, identity_id)
SELECT gen_random_uuid(), groups.id, identities.id FROM groups JOIN identities ON right(groups.name, 2) =
    right(identities.user_name, 2);
ANALYZE identities; ANALYZE scim_users; ANALYZE groups; ANALYZE group_members
"""
LOOKUPS = {
    'userName eq "USER77"': "uq_scim_users_user_name",
    'externalId eq "ext77"': "uq_scim_users_external_id",
    'emails.value eq "user77@example.com"': "ix_scim_users_emails",
    'emails eq "user77@example.com"': "ix_scim_users_emails",
    'emails[type eq "work"].value eq "user77@example.com"': "ix_scim_users_emails",
    'emails[type eq "work" and value eq "user77@example.com"]': "ix_scim_users_emails",
    'displayName eq "name of user77"': "ix_scim_users_display_name",
    'userName eq "user77" and active eq true': "uq_scim_users_user_name",
    'id eq "{user}"': "ix_scim_users_provider_id_identity_id",
}
GROUP_LOOKUPS = {
    # Of the two over names, either will do.
    'displayName eq "group 77"': "name",
    'externalId eq "ext77"': "ix_groups_provider_id_external_id",
    'displayName eq "Group 77" and members[value eq "{user}"]': "name",
    'id eq "{group}"': "pk_groups",
    'members.value eq "{user}"': "ix_group_members_identity_id",
    'members[value eq "{user}"]': "ix_group_members_identity_id",
}


async def test_what_directories_look_up_is_found_by_an_index(sessions: Sessions) -> None:
    async with sessions() as session:
        provider_id = await add_provider(session)
        for statement in MANY.split(";"):
            await session.execute(
                text(statement), {"provider_id": provider_id} if ":provider_id" in statement else {}
            )
        ids = {
            name: await session.scalar(text(f"SELECT id FROM {table} WHERE external_id = 'ext77'"))
            for name, table in (("user", "identities"), ("group", "groups"))
        }
        texts = {"user": format_id("idn", ids["user"]), "group": format_id("grp", ids["group"])}
        for model, source, lookups in (
            (DirectoryUser, columns.users(provider_id, DirectoryUser), LOOKUPS),
            (Group, columns.groups(provider_id, Group), GROUP_LOOKUPS),
        ):
            for lookup, index in lookups.items():
                plan, found = await explain(session, source, model, lookup.format(**texts))
                assert index in plan, f"{lookup}\n{plan}"
                assert not re.search("Seq Scan on (scim_users|groups|identities)", plan), plan
                assert found, lookup


async def explain(session: AsyncSession, source: columns.Source, model: Any, lookup: str) -> tuple[str, int]:
    """The plan of a search, and how many it finds."""
    request: Any = SearchRequest
    query = _Order([source], request[model](filter=lookup)).sorted()
    compiled = query.compile(session.get_bind())
    values = tuple(compiled.params[name] for name in compiled.positiontup or ())
    connection = await session.connection()
    plan = await connection.exec_driver_sql(f"EXPLAIN {compiled}", values)
    return "\n".join(row[0] for row in plan), len((await session.execute(query)).all())


async def found(scim: httpx2.AsyncClient, path: str = "Users", /, **query: Any) -> Json:
    answer = await scim.get(path, params=query)
    assert answer.status_code == 200, answer.text
    listed: Json = answer.json()
    return listed


def names(listed: Json) -> list[str]:
    return [item.get("userName") or item["displayName"] for item in listed.get("Resources", [])]


@pytest.fixture
async def filled(scim: httpx2.AsyncClient) -> dict[str, str]:
    """Five users and two groups; their ids by their names."""
    ids = {}
    for name, title in (("ann", "Boss"), ("Bob", None), ("cyd", "boss"), ("dan", "clerk"), ("eve", None)):
        more = {} if title is None else {"title": title}
        body = user(name, emails=[{"type": "work", "value": f"{name}@Example.com"}], **more)
        ids[name] = (await scim.post("Users", json=body)).json()["id"]
    for name, members in (("Alpha", ["ann", "Bob"]), ("Beta", ["Bob"])):
        body = {"displayName": name, "members": [{"value": ids[member]} for member in members]}
        ids[name] = (await scim.post("Groups", json=body)).json()["id"]
    return ids


async def test_a_filter_that_nobody_can_meet_finds_nobody_whatever_it_is_sorted_by(
    scim: httpx2.AsyncClient, filled: dict[str, str]
) -> None:
    for by in ("meta.created", "userName", "displayName"):
        nobody = await found(scim, "", filter='members.value gt "x"', sortBy=by)
        assert (nobody["totalResults"], nobody.get("Resources", [])) == (0, [])


async def test_what_is_there_is_found_sorted_and_paged(
    scim: httpx2.AsyncClient, filled: dict[str, str], api: httpx2.AsyncClient, new_scim: NewScim
) -> None:
    # As Okta and Entra ID ask.
    assert names(await found(scim, filter='userName eq "BOB"')) == ["Bob"]
    assert names(await found(scim, filter='emails[type eq "work"].value eq "CYD@example.com"')) == ["cyd"]
    nobody = await found(scim, filter='externalId eq "EXT-ann"')
    assert (nobody["totalResults"], nobody.get("Resources", [])) == (0, [])
    assert names(await found(scim, startIndex=1, count=100)) == ["ann", "Bob", "cyd", "dan", "eve"]
    assert names(
        await found(scim, "Groups", filter='displayName eq "alpha"', excludedAttributes="members")
    ) == ["Alpha"]
    by_member = f'members.value eq "{filled["ann"]}" and displayName eq "Alpha"'
    assert names(await found(scim, "Groups", filter=by_member)) == ["Alpha"]
    assert names(await found(scim, filter=f'groups.value eq "{filled["Beta"]}"')) == ["Bob"]

    # Who is not active is found as well; who was deleted is not, nor anybody who is not the directory's.
    body = patch({"op": "replace", "path": "active", "value": False})
    assert (await scim.patch(f"Users/{filled['dan']}", json=body)).status_code == 200
    assert (await scim.delete(f"Users/{filled['eve']}")).status_code == 204
    await person(api, user_name="frank"), await group(api, name="Gamma")
    other = await new_scim("elsewhere")
    await other.post("Users", json=user("ann"))
    assert names(await found(other)) == ["ann"]
    everybody = await found(scim)
    assert (names(everybody), everybody["totalResults"]) == (["ann", "Bob", "cyd", "dan"], 4)
    assert names(await found(scim, filter="active eq false")) == ["dan"]
    assert names(await found(scim, filter='active eq "False"')) == ["dan"]

    # Sorted, whatever the case; without a value last, or first from the top.
    assert names(await found(scim, sortBy="userName", sortOrder="descending")) == ["dan", "cyd", "Bob", "ann"]
    assert names(await found(scim, sortBy="title")) == ["ann", "cyd", "dan", "Bob"]
    assert names(await found(scim, sortBy="title", sortOrder="descending")) == ["Bob", "dan", "cyd", "ann"]

    # Pages, and numbers that make no sense.
    page = await found(scim, startIndex=2, count=2)
    assert (names(page), page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (
        ["Bob", "cyd"],
        4,
        2,
        2,
    )
    assert names(await found(scim, startIndex=-5, count=1)) == ["ann"]
    pages: list[Json] = [{"count": 0}, {"count": -1}, {"startIndex": 99}, {"startIndex": 10**30}]
    for query in pages:
        none = await found(scim, **query)
        assert (none["totalResults"], names(none)) == (4, [])
    assert len(names(await found(scim, count=10**30))) == 4

    # Both types at the root, by GET and by POST.
    both = await found(scim, "", filter='displayName eq "beta" or userName sw "a"')
    assert sorted(names(both)) == ["Beta", "ann"]
    for path in (".search", "Users/.search"):
        wanted = {"schemas": [SEARCH], "filter": 'userName sw "c"', "attributes": ["title"]}
        answer = await scim.post(path, json=wanted)
        (one,) = answer.json()["Resources"]
        assert (one["title"], "userName" in one) == ("boss", False)


async def test_pages_by_cursor_are_stable_while_people_come_and_go(
    scim: httpx2.AsyncClient, filled: dict[str, str]
) -> None:
    first = await found(scim, cursor="", count=2, sortBy="userName")
    assert names(first) == ["ann", "Bob"]
    assert "previousCursor" not in first
    await scim.delete(f"Users/{filled['Bob']}")
    await scim.post("Users", json=user("abe")), await scim.post("Users", json=user("cys"))
    second = await found(scim, cursor=first["nextCursor"], count=2, sortBy="userName")
    assert names(second) == ["cyd", "cys"]
    third = await found(scim, cursor=second["nextCursor"], count=2, sortBy="userName")
    assert names(third) == ["dan", "eve"]
    assert "nextCursor" not in third
    back = await found(scim, cursor=second["previousCursor"], count=2, sortBy="userName")
    assert names(back) == ["abe", "ann"][::-1] or names(back) == ["abe", "ann"]
    assert "totalResults" not in second
    # Of another search, or of nobody, it is no cursor.
    others: list[Json] = [{"sortBy": "title", "count": 2}, {"sortBy": "userName", "count": 3}]
    for query in others:
        answer = await scim.get("Users", params={"cursor": first["nextCursor"], **query})
        assert answer.status_code == 400, answer.text
    assert (await scim.get("Users", params={"cursor": "abc"})).json()["scimType"] == "invalidCursor"


async def test_a_page_of_groups_is_shorter_where_they_have_many_members(
    scim: httpx2.AsyncClient, filled: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await scim.post("Groups", json={"displayName": "Gamma", "members": [{"value": filled["cyd"]}]})
    monkeypatch.setattr(search, "MAX_MEMBERS", 2)
    page = await found(scim, "Groups")
    assert (names(page), page["totalResults"], page["itemsPerPage"]) == (["Alpha"], 3, 1)
    assert names(await found(scim, "Groups", startIndex=2)) == ["Beta", "Gamma"]
    assert len(names(await found(scim, "Groups", excludedAttributes="members"))) == 3
    first = await found(scim, "Groups", cursor="")
    second = await found(scim, "Groups", cursor=first["nextCursor"])
    assert (names(first), names(second)) == (["Alpha"], ["Beta", "Gamma"])
    assert "nextCursor" not in second
    down = await found(scim, "Groups", cursor="", sortBy="displayName", sortOrder="descending")
    end = await found(scim, "Groups", cursor=down["nextCursor"], sortBy="displayName", sortOrder="descending")
    back = await found(
        scim, "Groups", cursor=end["previousCursor"], sortBy="displayName", sortOrder="descending"
    )
    assert (names(down), names(end), names(back)) == (["Gamma", "Beta"], ["Alpha"], ["Gamma", "Beta"])
    monkeypatch.setattr(search, "MAX_MEMBERS", 1)
    back = await found(
        scim, "Groups", cursor=end["previousCursor"], sortBy="displayName", sortOrder="descending"
    )
    assert names(back) == ["Beta"]
    gamma = {"cursor": back["previousCursor"], "sortBy": "displayName", "sortOrder": "descending"}
    assert names(await found(scim, "Groups", **gamma)) == ["Gamma"]


REFUSED = [
    ("nope", "invalidFilter"),
    ('unknown eq "x"', "invalidFilter"),
    ('userName xx "x"', "invalidFilter"),
    ("active gt true", "invalidFilter"),
    ('active eq "maybe"', "invalidFilter"),
    ('meta.created gt "yesterday"', "invalidFilter"),
    ('meta.created gt "9999-12-31T23:59:59-12:00"', "invalidFilter"),
    ('meta.created gt "0001-01-01T00:00:00+12:00"', "invalidFilter"),
    ('meta.version eq "x"', "invalidFilter"),
    ("userName eq 5", "invalidFilter"),
    ('userName eq "\\u0000"', "invalidFilter"),
    ('userName eq "\\ud800"', "invalidFilter"),
    ('emails[value eq "\\u0000"]', "invalidFilter"),
    ('userName[value eq "x"]', "invalidFilter"),
    ('emails.value[type eq "x"]', "invalidFilter"),
    ("(" * 300 + "userName pr" + ")" * 300 + ")", "invalidFilter"),
    ("not (" * 40 + "userName pr" + ")" * 40, "invalidFilter"),
    (" or ".join(["userName pr"] * 201), "invalidFilter"),
    (f'userName eq "{"x" * 8_000}"', "invalidFilter"),
    ('password eq "x"', "invalidFilter"),
]


async def test_what_cannot_be_evaluated_is_refused_and_never_a_fault(
    scim: httpx2.AsyncClient, filled: dict[str, str]
) -> None:
    for wanted, why in REFUSED:
        for answer in (
            await scim.get("Users", params={"filter": wanted}),
            await scim.post(".search", json={"schemas": [SEARCH], "filter": wanted}),
        ):
            body = answer.json()
            assert (answer.status_code, body.get("scimType")) == (400, why), (wanted[:80], answer.text)
            assert body["schemas"] == [ERROR]
    queries: list[Json] = [
        {"sortBy": "unknown"}, {"sortBy": "name"}, {"sortBy": 'emails[type eq "work"]'}, {"sortOrder": "sideways"},
        {"startIndex": "x"}, {"count": "x"}, {"cursor": "", "startIndex": 1},
        {"attributes": "userName", "excludedAttributes": "title"},
    ]  # fmt: skip
    for query in queries:
        answer = await scim.get("Users", params=query)
        assert answer.status_code == 400, (query, answer.text)
    # What means something to SQL means nothing here.
    for word in ("%", "_nn", "a' OR '1'='1", '\\"; --', "\\\\"):
        for op in ("eq", "co", "sw"):
            assert names(await found(scim, filter=f'userName {op} "{word}"')) == []
    assert len(names(await found(scim, filter=f'{ENTERPRISE}:department ne "x"'))) == 5
