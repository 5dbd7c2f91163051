"""Provisioning settings of a provider: their validation and storage."""

import asyncio
from typing import Any

import httpx2
from sqlalchemy import text

from app.db.engine import commit
from app.features.identity_providers import service
from app.features.identity_providers.schemas import IdentityProviderCreate
from app.features.identity_providers.scim_user import is_attribute_path
from tests.features.administrators.people import until_waiting
from tests.features.principals import Json, Sessions, made, plain, pointers

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


async def account(api: httpx2.AsyncClient, name: str, role: str = "provisioner") -> str:
    """The id of a new service account."""
    me = (await api.get("/api/v1/me")).json()
    body = {"name": name, "owner_id": me["identity_id"], "role": role}
    found: str = (await made(api, "service-accounts", body))["id"]
    return found


def provider(name: str, **settings: Any) -> Json:
    issuer = f"https://{name}.example.com"
    return {"name": name, "issuer": issuer, "audiences": ["scopegate"], **settings}


async def test_what_is_set_is_checked_and_merged(api: httpx2.AsyncClient) -> None:
    mine = await account(api, "mine")
    narrow = await account(api, "narrow", "auditor")
    unknown_account = "sa_01jdpnwz00e008000000000000"
    for scim, where, code in (
        ({"service_account_id": unknown_account}, "/scim/service_account_id", "unknown_service_account"),
        ({"service_account_id": narrow}, "/scim/service_account_id", "role_too_narrow"),
        ({"service_account_id": mine, "attributes": {"a": "nope"}}, "/scim/attributes/a", "unknown_path"),
    ):
        answer = await api.post("/api/v1/identity-providers", json=provider("bad", scim=scim))
        assert pointers(answer) == {(where, code)}

    first = await made(
        api,
        "identity-providers",
        provider(
            "first", scim={"service_account_id": mine, "attributes": {"site": "locale", "kind": "userType"}}
        ),
    )
    path = f"/api/v1/identity-providers/{first['id']}"
    assert first["scim"]["link_attribute"] == "externalId"
    answer = await api.post(
        "/api/v1/identity-providers", json=provider("second", scim={"service_account_id": mine})
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "service_account_in_use")

    change = {
        "attributes": {"site": None, "department": f"{ENTERPRISE}:department"},
        "link_attribute": "userName",
    }
    changed = (await api.patch(path, json={"scim": change})).json()
    assert changed["scim"] == {
        "service_account_id": mine,
        "link_attribute": "userName",
        "attributes": {"kind": "userType", "department": f"{ENTERPRISE}:department"},
    }
    answer = await api.patch(path, json={"scim": {"attributes": {"x": "groups.value"}}})
    assert pointers(answer) == {("/scim/attributes/x", "unknown_path")}
    # Removed, and given to another.
    assert (await api.patch(path, json={"scim": None})).json()["scim"] is None
    await made(api, "identity-providers", provider("second", scim={"service_account_id": mine}))
    answer = await api.patch(path, json={"scim": {"service_account_id": mine}})
    assert (answer.status_code, answer.json()["code"]) == (409, "service_account_in_use")


async def test_of_two_providers_that_name_an_account_at_once_one_gets_it(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    mine = await account(api, "mine")
    async with sessions() as held:
        await held.execute(
            text("SELECT 1 FROM service_accounts WHERE id = :id FOR UPDATE"), {"id": plain({"id": mine})}
        )
        both = [
            asyncio.create_task(
                api.post("/api/v1/identity-providers", json=provider(name, scim={"service_account_id": mine}))
            )
            for name in ("one", "other")
        ]
        await until_waiting(sessions, 2)
        await held.rollback()
    answers = await asyncio.gather(*both)
    assert sorted(answer.status_code for answer in answers) == [201, 409]


async def test_what_provisions_for_the_environments_provider_outlives_a_start(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async def start(**fields: Any) -> None:
        async with sessions() as session:
            configured = IdentityProviderCreate.model_validate(provider("sso", **fields))
            await service.sync_environment(session, configured)
            await commit(session)

    await start()
    (found,) = (await api.get("/api/v1/identity-providers")).json()["items"]
    path = f"/api/v1/identity-providers/{found['id']}"
    mine = await account(api, "mine")
    signals = {"service_account_id": mine, "audiences": ["https://us.example.com"]}
    wanted = {"scim": {"service_account_id": mine, "attributes": {"kind": "userType"}}, "signals": signals}
    answer = await api.patch(path, json=wanted)
    assert answer.status_code == 200, answer.text
    set_now = answer.json()
    assert (await api.patch(path, json={"role_claim": "roles"})).json()["code"] == "set_by_environment"

    await start(role_map={"admins": "admin"})
    after = (await api.get(path)).json()
    assert after["role_map"] == {"admins": "admin"}
    assert (after["scim"], after["signals"]) == (set_now["scim"], set_now["signals"])


def test_paths_of_texts_alone_name_a_value() -> None:
    good = ["userName", "NAME.givenName", "emails.value", 'emails[type eq "work"].value', "externalId"]
    good += [f"{ENTERPRISE}:department", f"{ENTERPRISE}:manager.value"]
    assert [path for path in good if not is_attribute_path(path)] == []
    bad = [
        "",
        "name",
        "emails",
        "emails[",
        "emails.primary",
        "active",
        "password",
        "groups.value",
        "id",
        "a b",
    ]
    bad += [
        "meta.created",
        "department",
        ENTERPRISE,
        f"{ENTERPRISE}:manager",
        "x" * 500,
        "\u0000",
    ]
    assert [path for path in bad if is_attribute_path(path)] == []
