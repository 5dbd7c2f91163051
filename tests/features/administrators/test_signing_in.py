"""Verified claims become an administrator, an identity or a refusal, by the current state of the database."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Unauthenticated
from app.features.administrators.claims import find_claim, read_holder, workload_account
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers.schemas import Provider, WorkloadView
from app.http.authorization import Caller, Role
from app.lib.ids import new_id
from tests.features.administrators.people import (
    NOW,
    Json,
    Sessions,
    claims,
    person_of,
    recorded,
    rows,
    run,
    stored_provider,
)

FIRST_EVENTS = ["identity.create", "administrator.create", "administrator.sign_in"]


async def enter(sessions: Sessions, provider: Provider, said: Json) -> Caller:
    return await sign_in(sessions, provider, said, "req_test")


async def actions(sessions: Sessions) -> list[str]:
    return [action for action, _ in await recorded(sessions)]


async def assert_refused(sessions: Sessions, provider: Provider, said: Json) -> None:
    """Require a refusal without any written rows."""
    before = await actions(sessions)
    with pytest.raises(Unauthenticated) as refusal:
        await enter(sessions, provider, said)
    assert refusal.value.detail.startswith("The API needs a valid credential")
    assert await actions(sessions) == before


async def test_a_role_in_the_claim_makes_a_person_and_an_administrator(
    sessions: Sessions, provider: Provider
) -> None:
    said = claims(
        "sub-1", "sg-admins", "staff", preferred_username="ada", name="Ada L.", email="ada@example.com"
    )
    caller = await enter(sessions, provider, said)
    assert caller.kind == "administrator"
    assert caller.roles == {Role.ADMIN}
    assert caller.identity_id == await person_of(sessions, provider, "sub-1")
    [person] = await rows(sessions, "SELECT * FROM identities")
    assert (person.kind, person.user_name, person.display_name, person.email, person.source, person.status) == (
        "person", "ada", "Ada L.", "ada@example.com", "manual", "active",
    )  # fmt: skip
    assert await rows(sessions, "SELECT 1 FROM access_versions WHERE id = :id", id=person.id)
    assert await actions(sessions) == FIRST_EVENTS
    events = await rows(sessions, "SELECT DISTINCT actor_type, actor_id, request_id FROM audit_events")
    assert [tuple(event) for event in events] == [("administrator", caller.id, "req_test")]


async def test_signing_in_again_with_the_same_or_an_older_token_writes_and_locks_nothing(
    sessions: Sessions, provider: Provider
) -> None:
    said = claims("sub-1", "sg-admins") | {"iat": NOW + 0.123456789}
    first = await enter(sessions, provider, said)
    # A row lock shows in xmax.
    touched = "SELECT a.xmin, a.xmax, i.xmin, i.xmax FROM administrators a JOIN identities i ON i.id = a.identity_id"
    before = await rows(sessions, touched)
    assert await enter(sessions, provider, said) == first
    assert await enter(sessions, provider, said | {"iat": NOW - 60}) == first
    assert await rows(sessions, touched) == before
    assert await actions(sessions) == FIRST_EVENTS


async def test_each_newer_token_is_one_sign_in_that_leaves_the_revision_alone(
    sessions: Sessions, provider: Provider
) -> None:
    for iat in (NOW, NOW + 60, NOW + 60, NOW + 30, NOW + 120):
        await enter(sessions, provider, claims("ada", "sg-admins", iat=iat))
    assert await actions(sessions) == [*FIRST_EVENTS, "administrator.sign_in", "administrator.sign_in"]
    [row] = await rows(sessions, "SELECT *, created_at = updated_at AS same FROM administrators")
    assert (row.revision, row.same, row.last_sign_in_at.timestamp()) == (1, True, NOW + 120)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (["sg-admins", "sg-auditors", "sg-admins", "staff"], {Role.ADMIN, Role.AUDITOR}),
        ("sg-owners", {Role.OWNER}),
        (["SG-OWNERS", " sg-owners", "sg-owners "], set()),
        ("sg-owners sg-admins", set()),
        (["sg-owners", 7], set()),
        (["sg-owners", None], set()),
        (["sg-owners", ["sg-owners"]], set()),
        ([["sg-owners"]], set()),
        ({"sg-owners": True}, set()),
        ({"sg-owners": "sg-owners"}, set()),
        (True, set()),
        (7, set()),
        (None, set()),
        ([], set()),
        ("", set()),
    ],
)
async def test_roles_are_those_of_a_string_or_a_list_of_strings_and_of_nothing_else(
    provider: Provider, groups: Any, expected: set[Role]
) -> None:
    assert read_holder(provider, claims("ada") | {"groups": groups}).roles == expected


@pytest.mark.parametrize(
    "link",
    [None, "", 7, 7.5, True, ["ada"], [], {"ada": 1}, "nul\x00", "lone \ud800", "x" * 256],
    ids=repr,
)
async def test_a_link_that_is_no_proper_text_names_nobody(
    sessions: Sessions, provider: Provider, link: Any
) -> None:
    await assert_refused(sessions, provider, claims("ada", "sg-owners") | {"sub": link})
    await assert_refused(sessions, provider, claims("ada", "sg-owners") | {"oid": link, "sub": link})
    assert await rows(sessions, "SELECT 1 FROM identities") == []


async def test_a_missing_link_claim_is_not_made_up_for_by_the_subject(sessions: Sessions) -> None:
    provider = await stored_provider(sessions, link_claim="oid")
    await assert_refused(sessions, provider, claims("ada", "sg-owners"))


@pytest.mark.parametrize("iat", [None, "now", True, [NOW], -1, 1e300, 10**400, float("nan"), float("inf")])
async def test_a_time_of_issue_that_is_none_is_refused(
    sessions: Sessions, provider: Provider, iat: Any
) -> None:
    await assert_refused(sessions, provider, claims("ada", "sg-owners") | {"iat": iat})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("sub", "groups", "iat", "groups.sub", "name", "email", "preferred_username", "realm")


@given(
    said=st.dictionaries(st.sampled_from(NAMES), JSON),
    link=st.sampled_from(NAMES),
    role=st.sampled_from(["groups", "realm.groups", "..", ""]),
)
def test_whatever_the_claims_they_name_somebody_known_or_are_refused(
    said: Json, link: str, role: str
) -> None:
    workload = WorkloadView.model_construct(service_account_id=new_id(), claims={link: "a", role: "b"})
    provider = Provider(
        new_id(), "https://idp.example", (), link_claim=link, role_claim=role, role_map={"a": Role.ADMIN},
        workloads=(workload, WorkloadView.model_construct(service_account_id=new_id(), claims={"sub": "a"})),
    )  # fmt: skip
    with suppress(Unauthenticated):
        holder = read_holder(provider, said)
        assert holder.link == find_claim(said, link)
        assert holder.link
        assert holder.roles <= {Role.ADMIN}
    with suppress(Unauthenticated):
        accounts = {workload.service_account_id for workload in provider.workloads}
        assert workload_account(provider, said) in {None, *accounts}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("realm_access.roles", ["a"]),
        ("https://example.com/roles", ["b"]),
        ("kubernetes.io.serviceaccount.name", "bot"),
        ("plain", "c"),
        ("both.one", "flat"),
        ("plain.deeper", None),
        ("kubernetes.io.nothing", None),
        ("absent", None),
        ("realm_access.", None),
        (".realm_access", None),
        ("", None),
    ],
)
def test_a_claim_is_found_by_name_or_by_path_and_names_may_hold_dots(path: str, found: Any) -> None:
    said = {
        "realm_access": {"roles": ["a"]},
        "https://example.com/roles": ["b"],
        "kubernetes.io": {"serviceaccount": {"name": "bot"}},
        "plain": "c",
        "both.one": "flat",
        "both": {"one": "deep"},
    }
    assert find_claim(said, path) == found


async def test_nobody_known_and_no_role_is_a_stranger_who_may_nothing(
    sessions: Sessions, provider: Provider
) -> None:
    caller = await enter(sessions, provider, claims("ada", "staff"))
    assert caller.permissions == set()
    assert await actions(sessions) == []
    assert await rows(sessions, "SELECT 1 FROM identities") == []


async def test_the_roles_are_the_tokens_own_never_the_stored_ones(
    sessions: Sessions, provider: Provider
) -> None:
    await enter(sessions, provider, claims("ada", "sg-owners", iat=NOW))
    demoted = await enter(sessions, provider, claims("ada", "sg-auditors", iat=NOW - 60))
    assert demoted.roles == {Role.AUDITOR}
    without = await enter(sessions, provider, claims("ada", iat=NOW - 60))
    assert (without.kind, without.id) == ("identity", without.identity_id)
    assert without.roles == set()


async def test_a_role_map_that_lost_its_entries_gives_nobody_anything(
    sessions: Sessions, provider: Provider
) -> None:
    from dataclasses import replace

    await enter(sessions, provider, claims("ada", "sg-owners"))
    for emptied in ({}, {"": Role.OWNER}):
        caller = await enter(sessions, replace(provider, role_map=emptied), claims("ada", "sg-owners"))
        assert caller.roles == set()


async def test_stored_roles_follow_newer_tokens_and_keep_their_past(
    sessions: Sessions, provider: Provider
) -> None:
    await enter(sessions, provider, claims("ada", "sg-owners", "sg-admins", iat=NOW))
    await enter(sessions, provider, claims("ada", "sg-admins", "sg-auditors", iat=NOW + 1))
    await enter(sessions, provider, claims("ada", "sg-owners", iat=NOW))
    held = await rows(sessions, "SELECT role FROM role_assignments ORDER BY role")
    assert [row.role for row in held] == ["admin", "auditor"]
    kept = await rows(
        sessions,
        "SELECT content ->> 'role' AS role, valid_to IS NULL AS current FROM object_versions"
        " WHERE kind = 'role_assignment' ORDER BY 1",
    )
    assert [tuple(row) for row in kept] == [("admin", True), ("auditor", True), ("owner", False)]
    [(_, changes)] = await recorded(sessions, "administrator.update")
    assert changes["roles"] == {"from": ["admin", "owner"], "to": ["admin", "auditor"]}
    [row] = await rows(sessions, "SELECT revision FROM administrators")
    assert row.revision == 2
    await enter(sessions, provider, claims("ada", iat=NOW + 2))
    assert await rows(sessions, "SELECT 1 FROM role_assignments") == []


STOPPED = {
    "offboarded": "UPDATE identities SET status = 'offboarded'",
    "suspended": "UPDATE identities SET status = 'suspended'",
    "disabled": "UPDATE administrators SET status = 'disabled'",
    "no longer a person": "UPDATE identities SET kind = 'agent'",
    "provider disabled": "UPDATE identity_providers SET status = 'disabled'",
    "provider ended": "UPDATE identity_providers SET ended_at = now()",
}


@pytest.mark.parametrize("stopped", list(STOPPED))
async def test_whoever_was_stopped_is_out_at_once_whatever_the_token_says(
    sessions: Sessions, provider: Provider, stopped: str
) -> None:
    await enter(sessions, provider, claims("ada", "sg-owners"))
    await run(sessions, STOPPED[stopped])
    for iat in (NOW, NOW + 60):
        await assert_refused(sessions, provider, claims("ada", "sg-owners", iat=iat))
        await assert_refused(sessions, provider, claims("ada", iat=iat))
    assert len(await rows(sessions, "SELECT 1 FROM identities")) == 1


async def test_the_same_link_of_another_provider_is_somebody_else(
    sessions: Sessions, provider: Provider
) -> None:
    other = await stored_provider(sessions)
    first = await enter(sessions, provider, claims("ada", "sg-admins"))
    second = await enter(sessions, other, claims("ada", "sg-admins"))
    assert first.identity_id != second.identity_id


@pytest.mark.parametrize(("link_claim", "same"), [("sub", True), ("oid", False)])
async def test_a_provider_that_is_registered_anew_knows_its_people_by_the_same_claim_alone(
    sessions: Sessions, provider: Provider, link_claim: str, same: bool
) -> None:
    first = await enter(sessions, provider, claims("ada", "sg-admins"))
    await run(sessions, "UPDATE identity_providers SET ended_at = now()")
    again = await stored_provider(sessions, issuer=provider.issuer, link_claim=link_claim)
    second = await enter(sessions, again, claims("ada", "sg-admins") | {"oid": "ada"})
    assert (first.identity_id == second.identity_id) is same


async def test_who_left_stays_out_when_the_provider_is_registered_anew(
    sessions: Sessions, provider: Provider
) -> None:
    await enter(sessions, provider, claims("ada", "sg-owners"))
    await run(sessions, "UPDATE identities SET status = 'offboarded'")
    await run(sessions, "UPDATE identity_providers SET ended_at = now()")
    again = await stored_provider(sessions, issuer=provider.issuer)
    await assert_refused(sessions, again, claims("ada", "sg-owners", iat=NOW + 60))


async def test_a_link_of_another_kind_is_no_sign_in(sessions: Sessions, provider: Provider) -> None:
    first = await enter(sessions, provider, claims("ada", "sg-admins"))
    await run(sessions, "UPDATE identity_links SET kind = 'signal'")
    second = await enter(sessions, provider, claims("ada", "sg-admins"))
    assert first.identity_id != second.identity_id


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"preferred_username": "ada", "email": "ada@example.com"}, "ada"),
        ({"preferred_username": 7, "email": "ada@example.com"}, "ada@example.com"),
        ({"preferred_username": "", "email": ["ada"]}, "sub-1"),
        ({"preferred_username": "a\x00", "email": "\ud800"}, "sub-1"),
        ({"preferred_username": "ada\u202e", "email": "ada@example.com"}, "ada@example.com"),
        ({"preferred_username": "\uff21da "}, "Ada"),
        ({"preferred_username": "a\u2067da"}, "sub-1"),
        ({"sub": "a\u2067da"}, "person"),
        ({"preferred_username": "x" * 201}, "sub-1"),
        ({"preferred_username": "y" * 200}, "y" * 180),
        ({"sub": "z" * 255}, "z" * 180),
    ],
)
async def test_the_user_name_is_the_first_that_will_do(
    sessions: Sessions, provider: Provider, said: Json, expected: str
) -> None:
    await enter(sessions, provider, claims("sub-1", "sg-admins") | said | {"name": 7})
    [person] = await rows(sessions, "SELECT user_name, display_name FROM identities")
    assert tuple(person) == (expected, None)


@pytest.mark.parametrize(
    ("status", "ago"), [("active", "0"), ("suspended", "0"), ("offboarded", "1 day")], ids=lambda value: value
)
async def test_a_name_that_is_taken_or_rests_is_set_apart_and_its_holder_stays(
    sessions: Sessions, provider: Provider, status: str, ago: str
) -> None:
    await run(
        sessions,
        "INSERT INTO identities (id, kind, user_name, status, offboarded_at) VALUES"
        " (:id, 'person', 'Ada', CAST(:status AS text),"
        " CASE WHEN :status = 'offboarded' THEN now() - CAST(:ago AS text)::interval END)",
        id=new_id(),
        status=status,
        ago=ago,
    )
    caller = await enter(sessions, provider, claims("sub-1", "sg-admins", preferred_username="ada"))
    [person] = await rows(sessions, "SELECT user_name FROM identities WHERE id = :id", id=caller.identity_id)
    assert person.user_name.startswith("ada-")
    assert await actions(sessions) == FIRST_EVENTS


async def test_an_identity_that_was_there_becomes_an_administrator_and_keeps_its_name(
    sessions: Sessions, provider: Provider
) -> None:
    first = await enter(sessions, provider, claims("ada", "sg-admins"))
    await run(sessions, "DELETE FROM role_assignments")
    await run(sessions, "DELETE FROM administrators")
    plain = await enter(sessions, provider, claims("ada"))
    assert (plain.kind, plain.id) == ("identity", first.identity_id)
    again = await enter(sessions, provider, claims("ada", "sg-owners", preferred_username="other"))
    assert again.identity_id == first.identity_id
    [person] = await rows(sessions, "SELECT user_name FROM identities")
    assert person.user_name == "ada"


async def test_the_look_up_of_a_link_is_served_by_its_unique_index(
    sessions: Sessions, provider: Provider
) -> None:
    from app.features.administrators import queries

    await enter(sessions, provider, claims("ada", "sg-admins"))
    query = str(queries._KNOWN.text)
    for name, value in (("provider", provider.id), ("link", "ada"), ("erased", "erased:ada")):
        query = query.replace(f":{name}", f"'{value}'")
    async with sessions() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = (await connection.exec_driver_sql(f"EXPLAIN {query}")).scalars().all()
    assert any("uq_identity_links_value" in line for line in plan)
    assert any("Index Cond: ((COALESCE((provider_id)::text" in line for line in plan), plan
