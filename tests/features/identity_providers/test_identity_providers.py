"""Register, change, list and end identity providers."""

from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.change import Change
from app.domain.errors import Forbidden
from app.features.identity_providers import queries, service
from app.features.identity_providers.schemas import IdentityProviderCreate, IdentityProviderUpdate
from app.http.authorization import Caller, Role
from app.http.etags import Precondition
from app.lib.ids import SERVICE_ACCOUNT, format_id, new_id
from app.models.identities import Identity, IdentityLink
from app.outbound.http import AddressPolicy
from tests.api import Account, ApiAs
from tests.features.principals import Json, Sessions, events, history, made, plain, pointers

ISSUER = "https://sso.example.com"
BODY: Json = {"name": "SSO", "issuer": ISSUER, "audiences": ["scopegate"]}


async def register(api: httpx2.AsyncClient, **fields: Any) -> Json:
    return await made(api, "identity-providers", BODY | fields)


def path(provider: Json) -> str:
    return f"/api/v1/identity-providers/{provider['id']}"


async def test_a_provider_is_registered_read_and_listed(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    answer = await api.post("/api/v1/identity-providers", json=BODY | {"role_map": {"admins": "admin"}})
    provider = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == path(provider)
    assert answer.headers["etag"] == '"1"'
    shown = {
        name: provider[name] for name in ("algorithms", "token_types", "role_claim", "link_claim", "source")
    }
    assert shown == {
        "algorithms": ["RS256", "PS256", "ES256", "EdDSA"],
        "token_types": ["at+jwt"],
        "role_claim": "groups",
        "link_claim": "sub",
        "source": "api",
    }
    assert (await api.get(path(provider))).json() == provider
    assert (await api.get("/api/v1/identity-providers")).json() == {"items": [provider], "next_cursor": None}

    ((action, changes),) = await events(sessions, provider)
    assert action == "identity_provider.create"
    assert changes["role_map"] == {"from": None, "to": {"admins": "admin"}}
    assert changes["issuer"] == {"from": None, "to": ISSUER}
    ((content, current),) = await history(sessions, "identity_provider")
    assert current
    assert content["role_map"] == {"admins": "admin"}


async def test_what_signing_in_reads_is_what_was_registered(
    api: httpx2.AsyncClient, owner: Account, sessions: Sessions
) -> None:
    workload = {"service_account_id": format_id(SERVICE_ACCOUNT, owner.id), "claims": {"sub": "repo:a/b"}}
    await register(
        api,
        algorithms=["ES256"],
        token_types=["JWT", "none"],
        role_claim="realm_access.roles",
        role_map={"a": "owner"},
        link_claim="oid",
        workloads=[workload],
    )
    async with sessions() as session:
        provider = await queries.find_provider(session, ISSUER)
    assert provider is not None
    assert (provider.audiences, provider.algorithms) == (("scopegate",), ("ES256",))
    assert provider.token_types == ("jwt", "")
    assert (provider.role_claim, provider.role_map) == ("realm_access.roles", {"a": Role.OWNER})
    assert provider.link_claim == "oid"
    assert [(w.service_account_id, w.claims) for w in provider.workloads] == [(owner.id, {"sub": "repo:a/b"})]


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"audiences": []}, "/audiences", "too_short"),
        ({"audiences": [""]}, "/audiences/0", "string_too_short"),
        ({"algorithms": []}, "/algorithms", "too_short"),
        ({"algorithms": ["none"]}, "/algorithms/0", "literal_error"),
        ({"algorithms": ["HS256"]}, "/algorithms/0", "literal_error"),
        ({"algorithms": ["ES256K"]}, "/algorithms/0", "literal_error"),
        ({"token_types": ["Bearer"]}, "/token_types/0", "literal_error"),
        ({"role_map": {"a": "king"}}, "/role_map/a", "enum"),
        ({"role_claim": ""}, "/role_claim", "string_too_short"),
        ({"link_claim": "email"}, "/link_claim", "value_error"),
        ({"link_claim": "user.Email"}, "/link_claim", "value_error"),
        ({"client_secret": "x"}, "/client_secret", "unknown_field"),
        ({"source": "environment"}, "/source", "unknown_field"),
        (
            {"workloads": [{"service_account_id": "x", "claims": {"sub": "a"}}]},
            "/workloads/0/service_account_id",
            "value_error",
        ),
    ],
)
async def test_bad_input_names_the_field(
    api: httpx2.AsyncClient, fields: Json, pointer: str, code: str
) -> None:
    answer = await api.post("/api/v1/identity-providers", json=BODY | fields)
    assert pointers(answer) == {(pointer, code)}


@pytest.mark.parametrize(
    "issuer",
    [
        "http://sso.example.com",
        "http://127.0.0.1:8080",
        "https://10.0.0.1",
        "https://localhost",
        "https://169.254.169.254",
        "https://user:secret@sso.example.com",
        "https://sso.example.com?tenant=1",
        "https://sso.example.com?",
        "https://sso.example.com#x",
        "ftp://sso.example.com",
        "sso.example.com",
    ],
)
async def test_a_forbidden_issuer_is_refused(api: httpx2.AsyncClient, issuer: str) -> None:
    answer = await api.post("/api/v1/identity-providers", json=BODY | {"issuer": issuer})
    assert pointers(answer) == {("/issuer", "forbidden_url")}
    assert answer.json()["code"] == "forbidden_url"


async def test_two_providers_cannot_have_one_issuer_unless_one_has_ended(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    first = await register(api)
    again = await api.post("/api/v1/identity-providers", json=BODY)
    assert (again.status_code, again.json()["code"]) == (409, "issuer_taken")

    assert (await api.delete(path(first))).status_code == 204
    assert (await api.get(path(first))).status_code == 404
    assert (await api.get(path(first), params={"include": "ended"})).json()["ended_at"]
    async with sessions() as session:
        assert await queries.find_provider(session, ISSUER) is None
    second = await register(api)
    assert second["id"] != first["id"]
    assert [action for action, _ in await events(sessions, first)][-1] == "identity_provider.delete"
    assert [current for content, current in await history(sessions, "identity_provider")] == [False, True]


async def test_a_merge_patch_changes_what_it_names(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    provider = await register(api, role_map={"a": "admin", "b": "auditor"}, client_id="x")
    patch = {"role_map": {"a": None, "c": "issuer"}, "client_id": None, "name": "New"}
    answer = await api.patch(path(provider), json=patch)
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"2"'
    changed = {"role_map": {"b": "auditor", "c": "issuer"}, "client_id": None, "name": "New", "revision": 2}
    assert answer.json() == provider | changed | {"updated_at": answer.json()["updated_at"]}
    assert (await api.get(path(provider))).json() == answer.json()

    action, changes = (await events(sessions, provider))[-1]
    assert action == "identity_provider.update"
    assert changes == {
        "client_id": {"from": "x", "to": None},
        "name": {"from": "SSO", "to": "New"},
        "role_map": {"from": {"a": "admin", "b": "auditor"}, "to": {"b": "auditor", "c": "issuer"}},
    }
    assert [current for _, current in await history(sessions, "identity_provider")] == [False, True]

    # Nothing new: no revision, no event.
    again = await api.patch(path(provider), json={"name": "New", "role_map": {"a": None}})
    assert again.json()["revision"] == 2
    assert len(await events(sessions, provider)) == 2


async def test_an_issuer_never_changes(api: httpx2.AsyncClient) -> None:
    provider = await register(api)
    answer = await api.patch(path(provider), json={"issuer": "https://other.example.com"})
    assert pointers(answer) == {("/issuer", "unknown_field")}


async def link(sessions: Sessions, provider: Json, kind: str = "oidc") -> None:
    """Link a person to this provider."""
    async with sessions() as session:
        person = Identity(kind="person", user_name=new_id().hex)
        session.add(person)
        await session.flush()
        session.add(IdentityLink(identity_id=person.id, provider_id=plain(provider), kind=kind, value="ada"))
        await session.commit()


async def test_the_link_claim_stays_while_people_are_known_by_it(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    """With another claim, a leaver who still has a role at the provider would return as a new person."""
    provider = await register(api)
    await link(sessions, provider, kind="scim")
    answer = await api.patch(path(provider), json={"link_claim": "oid"})
    assert answer.status_code == 200, answer.text
    await api.patch(path(provider), json={"link_claim": "sub"})

    await link(sessions, provider)
    for patch in ({"link_claim": "oid"}, {"link_claim": "oid", "status": "disabled"}):
        answer = await api.patch(path(provider), json=patch)
        assert (answer.status_code, answer.json()["code"]) == (409, "link_claim_in_use")
    shown = (await api.get(path(provider))).json()
    assert (shown["link_claim"], shown["status"]) == ("sub", "active")
    assert (await api.patch(path(provider), json={"link_claim": "sub", "name": "x"})).status_code == 200


async def test_a_provider_registered_anew_keeps_the_link_claim_that_its_people_are_known_by(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    first = await register(api)
    await link(sessions, first)
    await api.delete(path(first))
    second = await register(api)
    answer = await api.patch(path(second), json={"link_claim": "oid"})
    assert (answer.status_code, answer.json()["code"]) == (409, "link_claim_in_use")
    await api.delete(path(second))
    third = await register(api, link_claim="oid")
    assert (await api.patch(path(third), json={"link_claim": "sub"})).status_code == 200


async def test_a_role_map_stays_small_however_it_is_merged(api: httpx2.AsyncClient) -> None:
    provider = await register(api, role_map={f"a{n}": "auditor" for n in range(200)})
    answer = await api.patch(path(provider), json={"role_map": {"one more": "auditor"}})
    assert pointers(answer) == {("/role_map", "too_many")}


async def test_a_disabled_provider_opens_nothing(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    provider = await register(api)
    await api.patch(path(provider), json={"status": "disabled"})
    async with sessions() as session:
        assert await queries.find_provider(session, ISSUER) is None
        assert await queries.active_issuers(session) == []
    await api.patch(path(provider), json={"status": "active"})
    async with sessions() as session:
        assert await queries.find_provider(session, ISSUER) is not None
        assert await queries.find_provider(session, ISSUER + "/") is None
        assert await queries.active_issuers(session) == [ISSUER]


async def test_a_change_can_be_bound_to_a_revision(api: httpx2.AsyncClient) -> None:
    provider = await register(api)
    stale = {"If-Match": '"7"'}
    assert (await api.patch(path(provider), json={"name": "x"}, headers=stale)).status_code == 412
    assert (await api.delete(path(provider), headers=stale)).status_code == 412
    assert (await api.delete(path(provider), headers={"If-Match": '"1"'})).status_code == 204


async def test_a_workload_names_a_live_service_account_and_what_its_token_must_say(
    api: httpx2.AsyncClient, owner: Account
) -> None:
    account = format_id(SERVICE_ACCOUNT, owner.id)
    provider = await register(api, workloads=[{"service_account_id": account, "claims": {"sub": "a"}}])
    assert provider["workloads"] == [{"service_account_id": account, "claims": {"sub": "a"}}]

    unknown_account = [{"service_account_id": "sa_01jdpnwz00e008000000000000", "claims": {"sub": "a"}}]
    for answer in (
        await api.patch(path(provider), json={"workloads": unknown_account}),
        await api.post(
            "/api/v1/identity-providers", json=BODY | {"issuer": ISSUER + "/x", "workloads": unknown_account}
        ),
    ):
        assert pointers(answer) == {("/workloads/0/service_account_id", "unknown_service_account")}
    for claims, code in (
        ({}, "too_short"),
        ({"aud": "scopegate"}, "too_wide"),
        ({"iss": ISSUER, "aud": "scopegate"}, "too_wide"),
    ):
        anybody = [{"service_account_id": account, "claims": claims}]
        answer = await api.patch(path(provider), json={"workloads": anybody})
        assert pointers(answer) == {("/workloads/0/claims", code)}


async def test_a_workload_cannot_name_an_account_that_has_ended(
    api: httpx2.AsyncClient, sessions: Sessions, api_as: ApiAs
) -> None:
    await api_as(Role.AUDITOR)
    async with sessions() as session:
        query = text("UPDATE service_accounts SET ended_at = now() WHERE role = 'auditor' RETURNING id")
        ended: UUID = (await session.execute(query)).scalar_one()
        await session.commit()
    workloads = [{"service_account_id": format_id(SERVICE_ACCOUNT, ended), "claims": {"sub": "a"}}]
    answer = await api.post("/api/v1/identity-providers", json=BODY | {"workloads": workloads})
    assert pointers(answer) == {("/workloads/0/service_account_id", "unknown_service_account")}


async def test_nobody_has_a_provider_give_out_more_than_they_may(
    sessions: Sessions, owner: Account, api: httpx2.AsyncClient
) -> None:
    """Only owners may write providers today; the rule must also hold for any later permission."""
    admin = Caller("service_account", owner.id, frozenset({Role.ADMIN}))
    account = format_id(SERVICE_ACCOUNT, owner.id)
    workloads = [{"service_account_id": account, "claims": {"sub": "a"}}]
    provider = await register(api, role_map={"a": "owner"})

    async def create(session: AsyncSession, **fields: Any) -> None:
        new = IdentityProviderCreate.model_validate(BODY | {"issuer": ISSUER + "/x"} | fields)
        await service.create_provider(await Change.begin(session, admin), AddressPolicy(), new)

    async def update(session: AsyncSession, **fields: Any) -> None:
        await service.update_provider(
            await Change.begin(session, admin),
            AddressPolicy(),
            plain(provider),
            IdentityProviderUpdate.model_validate(fields),
            Precondition(None),
        )

    async with sessions() as session:
        for refused in (
            create(session, role_map={"a": "owner"}),
            create(session, workloads=workloads),
            # It gives the role owner already: an admin may not change the conditions of that either.
            update(session, link_claim="nickname"),
        ):
            with pytest.raises(Forbidden) as error:
                await refused
            assert error.value.code == "role_above_own"
        await session.rollback()
    await api.patch(path(provider), json={"role_map": {"a": "issuer"}})
    async with sessions() as session:
        await update(session, link_claim="nickname")
        for fields in ({"role_map": {"b": "owner"}}, {"workloads": workloads}):
            with pytest.raises(Forbidden):
                await update(session, **fields)


@pytest.mark.parametrize("role", list(Role))
async def test_owners_alone_write_and_admins_and_auditors_read(
    api: httpx2.AsyncClient, api_as: ApiAs, role: Role
) -> None:
    provider = await register(api)
    other = await api_as(role)
    reads = role in {Role.OWNER, Role.ADMIN, Role.AUDITOR}
    for asked in ("/api/v1/identity-providers", path(provider)):
        assert (await other.get(asked)).status_code == (200 if reads else 403)
    ended = await other.get(path(provider), params={"include": "ended"})
    assert ended.status_code == (200 if reads else 403)
    if role is Role.OWNER:
        return
    for answer in (
        await other.post("/api/v1/identity-providers", json=BODY),
        await other.patch(path(provider), json={"name": "x"}),
        await other.delete(path(provider)),
    ):
        assert answer.status_code == 403
        assert "identity_providers.write" in answer.json()["detail"]


async def test_the_list_is_filtered(api: httpx2.AsyncClient) -> None:
    one = await register(api, name="Okta")
    two = await register(api, name="GitHub", issuer="https://token.actions.example.com", status="disabled")
    three = await register(api, name="Old", issuer=ISSUER + "/old")
    await api.delete(path(three))

    async def names(**query: Any) -> list[str]:
        answer = await api.get("/api/v1/identity-providers", params=query)
        assert answer.status_code == 200, answer.text
        return [item["name"] for item in answer.json()["items"]]

    assert await names() == ["GitHub", "Okta"]
    assert await names(status="active") == ["Okta"]
    assert await names(source="environment") == []
    assert await names(issuer=two["issuer"]) == ["GitHub"]
    assert await names(q="okt") == ["Okta"]
    assert await names(q="actions") == ["GitHub"]
    assert await names(q="%") == []
    assert await names(include="ended") == ["Old", "GitHub", "Okta"]
    assert one["id"] != two["id"]
