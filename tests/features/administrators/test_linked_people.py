"""A person created by hand signs in by a link; groups of a provider admit people without a role."""

from dataclasses import replace
from typing import Any

import httpx2
import pytest

from app.features.administrators.sign_in import sign_in
from app.features.identity_providers.schemas import Provider
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, format_id, new_id
from tests.api import ApiAs
from tests.features.administrators.conftest import ClientOf
from tests.features.administrators.people import Sessions, claims, recorded, rows, stored_provider
from tests.features.principals import agent, fresh, person, pointers

PATH = "/api/v1/identities"


def link(provider: Provider, value: str, kind: str = "oidc") -> dict[str, Any]:
    return {"provider_id": format_id(IDENTITY_PROVIDER, provider.id), "kind": kind, "value": value}


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_person_made_by_hand_signs_in_by_a_link_that_an_administrator_set(
    api: httpx2.AsyncClient, client: ClientOf, provider: Provider, sessions: Sessions
) -> None:
    nora = await person(api, links=[link(provider, "nora")])
    assert nora["links"] == [link(provider, "nora")]
    me = (await client(claims("nora")).get("/api/v1/me")).json()
    assert (me["type"], me["identity_id"], me["roles"]) == ("identity", nora["id"], [])
    # Add one to an existing person by a patch; a patch without links leaves the list.
    otto = await person(api)
    path = f"{PATH}/{otto['id']}"
    assert (await client(claims("otto")).get("/api/v1/me")).status_code == 403
    wanted = [link(provider, "otto"), link(provider, "O-17", "signal")]
    answer = await api.patch(path, json={"links": wanted})
    assert (answer.status_code, answer.json()["links"], answer.json()["revision"]) == (200, wanted, 2)
    assert (await api.patch(path, json={"links": wanted[::-1]})).json()["revision"] == 2
    assert (await api.patch(path, json={"display_name": "Otto"})).json()["links"] == wanted
    assert (await client(claims("otto")).get("/api/v1/me")).json()["identity_id"] == otto["id"]
    assert (await api.patch(path, json={"links": []})).json()["links"] == []
    assert (await client(claims("otto")).get("/api/v1/me")).status_code == 403
    said = [
        changes["links"] for _, changes in await recorded(sessions, "identity.update") if "links" in changes
    ]
    kinds = [{"provider_id": wanted[0]["provider_id"], "kind": kind} for kind in ("oidc", "signal")]
    assert said == [{"added": kinds, "removed": []}, {"added": [], "removed": kinds}]


async def test_a_link_is_of_one_identity_also_once_that_was_erased(
    api: httpx2.AsyncClient, client: ClientOf, provider: Provider
) -> None:
    ada, eve = await person(api, links=[link(provider, "ada")]), await person(api)
    again = {"kind": "person", "user_name": fresh("person"), "links": [link(provider, "ada")]}
    assert code(await api.post(PATH, json=again)) == (409, "link_taken")
    assert code(await api.patch(f"{PATH}/{eve['id']}", json={"links": [link(provider, "ada")]})) == (
        409,
        "link_taken",
    )
    other = link(provider, "ada", "signal")
    assert (await api.patch(f"{PATH}/{eve['id']}", json={"links": [other]})).status_code == 200
    await api.delete(f"{PATH}/{ada['id']}")
    assert (await api.post(f"{PATH}/{ada['id']}/erase")).status_code == 200
    # The leaver still has a token: nothing gives the link to another identity.
    assert code(await api.post(PATH, json=again)) == (409, "link_taken")
    assert (await client(claims("ada")).get("/api/v1/me")).status_code == 401


async def test_bad_links_name_the_field(api: httpx2.AsyncClient, provider: Provider) -> None:
    bot = await agent(api, await person(api))
    answer = await api.patch(f"{PATH}/{bot['id']}", json={"links": [link(provider, "bot")]})
    assert pointers(answer) == {("/links", "not_for_an_agent")}
    unknown = {**link(provider, "x"), "provider_id": format_id(IDENTITY_PROVIDER, new_id())}
    body = {"kind": "person", "user_name": fresh("x"), "links": [link(provider, "y"), unknown]}
    assert pointers(await api.post(PATH, json=body)) == {("/links/1/provider_id", "not_found")}
    for wrong in ({**unknown, "kind": "saml"}, {**unknown, "value": ""}, {**unknown, "more": 1}):
        assert (await api.post(PATH, json={**body, "links": [wrong]})).status_code == 422


async def test_who_may_not_grant_makes_linked_people_and_relinks_none(
    api: httpx2.AsyncClient, api_as: ApiAs, provider: Provider
) -> None:
    """A person who signs in as an identity has everything that it was granted."""
    hr = await api_as("provisioner")
    made = await person(hr, links=[link(provider, "new")])
    path = f"{PATH}/{made['id']}"
    answer = await hr.patch(path, json={"links": [link(provider, "mine")]})
    assert code(answer) == (403, "forbidden")
    assert "grants.write" in answer.json()["detail"]
    assert (
        await hr.patch(path, json={"links": [link(provider, "new")], "email": "a@b.c"})
    ).status_code == 200
    # Nor can a lower role take over a higher one.
    account = {"name": "keys", "owner_id": made["id"], "role": "owner"}
    assert (await api.post("/api/v1/service-accounts", json=account)).status_code == 201
    admin = await api_as("admin")
    assert code(await admin.patch(path, json={"links": [link(provider, "mine")]})) == (403, "role_above_own")
    assert (await api.get(path)).json()["links"] == [link(provider, "new")]


async def test_no_one_links_themselves_anew(
    api: httpx2.AsyncClient, client: ClientOf, provider: Provider
) -> None:
    me = (await client(claims("ada", "sg-owners")).get("/api/v1/me")).json()
    own = client(claims("ada", "sg-owners"))
    answer = await own.patch(f"{PATH}/{me['identity_id']}", json={"links": [link(provider, "other")]})
    assert code(answer) == (403, "own_account")


async def test_members_of_a_providers_people_come_in_without_a_role(
    sessions: Sessions, api: httpx2.AsyncClient
) -> None:
    provider = await stored_provider(sessions, people=frozenset({"staff"}))
    said = claims("nora", "staff", "others", preferred_username="nora", email="nora@example.com")
    callers = [await sign_in(sessions, provider, said, None) for _ in range(2)]
    assert callers[0] == callers[1]
    assert (callers[0].kind, callers[0].roles) == ("identity", frozenset())
    made = (await api.get(f"{PATH}/{format_id(IDENTITY, callers[0].id)}")).json()
    assert (made["user_name"], made["kind"], made["source"], made["provider_id"]) == (
        "nora",
        "person",
        "manual",
        None,
    )
    assert made["links"] == [link(provider, "nora")]
    assert await rows(sessions, "SELECT id FROM administrators") == []
    [(actor, id)] = await rows(
        sessions,
        "SELECT actor_type, actor_id FROM audit_events WHERE action = 'identity.create' AND object_id = :id",
        id=callers[0].id,
    )
    assert (actor, id) == ("identity", callers[0].id)
    # Others are strangers; an offboarded person stays out, regardless of groups; without the setting no one comes in.
    assert (await sign_in(sessions, provider, claims("max", "others"), None)).kind == "stranger"
    await api.delete(f"{PATH}/{made['id']}")
    with pytest.raises(Exception, match="valid credential"):
        await sign_in(sessions, provider, said, None)
    none = replace(await stored_provider(sessions), role_map={})
    assert (await sign_in(sessions, none, claims("eve", "staff"), None)).kind == "stranger"


async def test_a_name_that_begins_with_nothing_to_see_is_taken_without_that(
    sessions: Sessions, api: httpx2.AsyncClient
) -> None:
    provider = await stored_provider(sessions, people=frozenset({"staff"}))
    said = claims("nora", "staff", preferred_username="\u200b" * 190 + "Nora")
    caller = await sign_in(sessions, provider, said, None)
    made = (await api.get(f"{PATH}/{format_id(IDENTITY, caller.id)}")).json()
    assert made["user_name"] == "Nora"


async def test_people_of_a_provider_are_set_and_changed_as_its_other_settings(
    api: httpx2.AsyncClient,
) -> None:
    body = {"name": "SSO", "issuer": "https://sso.example.com", "audiences": ["a"], "people": ["staff"]}
    made = (await api.post("/api/v1/identity-providers", json=body)).json()
    assert made["people"] == ["staff"]
    path = f"/api/v1/identity-providers/{made['id']}"
    assert (await api.patch(path, json={"people": ["staff", "guests"]})).json()["people"] == [
        "staff",
        "guests",
    ]
    assert (await api.patch(path, json={"people": None})).status_code == 422
