"""The environment's provider is a row that only the environment writes."""

import asyncio
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from app.db.engine import commit
from app.features.identity_providers import queries, service
from app.features.identity_providers.schemas import IdentityProviderCreate
from app.models.identities import Identity, IdentityLink
from tests.features.principals import Json, Sessions, events, history, plain

ISSUER = "https://sso.example.com"
BODY: Json = {"name": "SSO", "issuer": ISSUER, "audiences": ["scopegate"]}


async def start(sessions: Sessions, **fields: Any) -> None:
    """Start a worker with this environment; without fields, no provider is configured."""
    configured = IdentityProviderCreate.model_validate(BODY | fields) if fields else None
    async with sessions() as session:
        await service.sync_environment(session, configured)
        await commit(session)


async def listed(api: httpx2.AsyncClient) -> list[Json]:
    """The providers, oldest first."""
    items: list[Json] = (await api.get("/api/v1/identity-providers")).json()["items"]
    return items[::-1]


async def test_the_environments_provider_appears_and_follows_the_environment(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    await start(sessions, role_map={"a": "admin"})
    (provider,) = await listed(api)
    assert (provider["source"], provider["status"], provider["issuer"]) == ("environment", "active", ISSUER)
    assert provider["role_map"] == {"a": "admin"}

    await start(sessions, role_map={"a": "admin"})
    assert await listed(api) == [provider]
    await start(sessions, role_map={"b": "admin"})
    (changed,) = await listed(api)
    assert (changed["id"], changed["role_map"], changed["revision"]) == (provider["id"], {"b": "admin"}, 2)
    assert [action for action, _ in await events(sessions, provider)] == [
        "identity_provider.create",
        "identity_provider.update",
    ]
    assert [current for _, current in await history(sessions, "identity_provider")] == [False, True]


async def test_a_link_claim_that_makes_everybody_somebody_new_is_warned_of(
    api: httpx2.AsyncClient, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    await start(sessions, link_claim="sub")
    await start(sessions, link_claim="oid")
    assert caplog.messages == []
    (provider,) = await listed(api)
    async with sessions() as session:
        person = Identity(kind="person", user_name="ada")
        session.add(person)
        await session.flush()
        link = IdentityLink(identity_id=person.id, provider_id=plain(provider), kind="oidc", value="ada")
        session.add(link)
        await session.commit()
    await start(sessions, link_claim="oid", role_map={"a": "admin"})
    assert caplog.messages == []
    await start(sessions, link_claim="sub")
    (said,) = caplog.messages
    assert "SCOPEGATE_OIDC_LINK_CLAIM" in said


async def test_it_is_read_only(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    await start(sessions, role_map={})
    (provider,) = await listed(api)
    where = f"/api/v1/identity-providers/{provider['id']}"
    for answer in (
        await api.patch(where, json={"status": "disabled"}),
        await api.delete(where),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "set_by_environment")
    assert await listed(api) == [provider]


async def test_a_provider_that_is_no_longer_configured_is_disabled_and_can_be_ended(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    await start(sessions, role_map={})
    await start(sessions, issuer="https://new.example.com")
    old, new = await listed(api)
    assert (old["issuer"], old["status"]) == (ISSUER, "disabled")
    assert (new["issuer"], new["status"]) == ("https://new.example.com", "active")
    await start(sessions)
    assert {provider["status"] for provider in await listed(api)} == {"disabled"}
    async with sessions() as session:
        assert await queries.active_issuers(session) == []

    where = f"/api/v1/identity-providers/{old['id']}"
    assert (await api.patch(where, json={"status": "active"})).status_code == 409
    await start(sessions, role_map={})
    assert (await api.get(where)).json()["status"] == "active"
    await start(sessions)
    assert (await api.delete(where)).status_code == 204
    await start(sessions, role_map={})
    assert (await listed(api))[-1]["id"] != old["id"]


async def test_providers_of_the_api_are_left_alone_unless_they_have_the_environments_issuer(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    other = (await api.post("/api/v1/identity-providers", json=BODY | {"issuer": ISSUER + "/other"})).json()
    same = (await api.post("/api/v1/identity-providers", json=BODY)).json()
    await start(sessions, role_map={"a": "admin"})
    first, second = await listed(api)
    assert first == other
    assert (second["id"], second["source"], second["role_map"]) == (same["id"], "environment", {"a": "admin"})


async def test_workers_that_start_together_make_one_provider(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    await asyncio.gather(*(start(sessions, role_map={"a": "admin"}) for _ in range(4)))
    (provider,) = await listed(api)
    assert provider["revision"] == 1


async def test_what_the_environment_does_is_recorded_as_the_systems(sessions: Sessions) -> None:
    await start(sessions, role_map={})
    async with sessions() as session:
        query = text("SELECT actor_type FROM audit_events WHERE action = 'identity_provider.create'")
        assert (await session.execute(query)).scalar_one() == "system"
