"""Access tokens at the real API: one answer to whatever is wrong, and a provider that comes and goes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.adapters.oidc.code_flow import Publications
from app.crypto import jwt as provider_keys
from app.features.identity_providers import service
from app.main import Scopegate, create_app
from app.settings import Settings
from app.worker import sign_in as watching
from tests.adapters.oidc.publisher import Publisher, publisher
from tests.adapters.oidc.tokens import AUDIENCE, KEY, AnyKey, claims, header, part, public, token
from tests.api import KEY as SECRET
from tests.api import ApiAs, client_of

ME = "/api/v1/me"


def settings_for(database_url: str, provider: Publisher, **fields: Any) -> Settings:
    """What the application is started with: this provider is the environment's."""
    key = SecretStr(SECRET)
    given: dict[str, Any] = {
        "oidc_issuer": provider.issuer,
        "oidc_audience": (AUDIENCE,),
        "oidc_algorithms": ["ES256"],
        "oidc_role_map": {"admins": "admin"},
    }
    return Settings(
        database_url=SecretStr(database_url),
        token_pepper=key,
        encryption_key=key,
        signing_key=key,
        **(given | fields),
    )


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Scopegate]:
    app = create_app(settings)
    async with app.api.router.lifespan_context(app.api):
        yield app


@pytest.fixture
async def provider() -> AsyncIterator[Publisher]:
    async with publisher() as it:
        it.publish(public(KEY))
        yield it


@pytest.fixture
async def app(database_url: str, provider: Publisher) -> AsyncIterator[Scopegate]:
    async with started(settings_for(database_url, provider)) as app:
        yield app


def bearer(provider: Publisher, key: AnyKey = KEY, **changed: Any) -> dict[str, str]:
    """The header of a token that this provider has issued just now, with some claims changed."""
    held = claims(time.time(), iss=provider.issuer, groups=["admins"]) | changed
    made = token(header(kid=key.kid), {name: value for name, value in held.items() if value is not ...}, key)
    return {"Authorization": f"Bearer {made}"}


async def readiness(client: httpx2.AsyncClient) -> list[str]:
    """The warnings of ``/readyz``, which stays ready."""
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    warnings: list[str] = answer.json()["warnings"]
    return warnings


def tell_of_a_provider(warnings: list[str]) -> bool:
    """Whether they say that a provider cannot be asked; they name none."""
    assert "http" not in str(warnings)
    return any("cannot be asked for keys" in warning for warning in warnings)


async def until(client: httpx2.AsyncClient, wanted: Callable[[list[str]], bool]) -> None:
    """Wait until the warnings are as wanted."""
    async with asyncio.timeout(50):
        while not wanted(await readiness(client)):  # noqa: ASYNC110 - another task of the service moves it
            await asyncio.sleep(0.05)


async def test_a_token_of_the_environments_provider_opens_the_api(
    app: Scopegate, provider: Publisher, anonymous: httpx2.AsyncClient
) -> None:
    answer = await anonymous.get("/api/v1/servers", headers=bearer(provider))
    assert answer.status_code == 200, answer.text
    refused = await anonymous.post("/api/v1/identity-providers", headers=bearer(provider), json={})
    assert refused.status_code == 403
    assert "identity_providers.write" in refused.json()["detail"]


WRONG: dict[str, Callable[[Publisher], str]] = {
    "audience": lambda provider: bearer(provider, aud="x")["Authorization"],
    "issuer": lambda provider: bearer(provider, iss="https://sso.example.com")["Authorization"],
    "issuer of a slash more": lambda provider: bearer(provider, iss=provider.issuer + "/")["Authorization"],
    "issuer that is a list": lambda provider: bearer(provider, iss=[provider.issuer])["Authorization"],
    "issuer that is a number": lambda provider: bearer(provider, iss=7)["Authorization"],
    "issuer that PostgreSQL cannot take": lambda provider: bearer(provider, iss="a\x00b")["Authorization"],
    "issuer of half a pair": lambda provider: bearer(provider, iss="\ud800")["Authorization"],
    "expired": lambda provider: bearer(provider, exp=int(time.time()) - 61)["Authorization"],
    "not yet issued": lambda provider: bearer(provider, iat=int(time.time()) + 120)["Authorization"],
    "unknown key": lambda provider: bearer(provider, ECKey.generate_key("P-256", {"kid": "x"}))["Authorization"],
    "forged": lambda provider: bearer(provider, ECKey.generate_key("P-256", {"kid": "first"}))["Authorization"],
    "unsigned": lambda provider: "Bearer " + ".".join(
        [part(header(alg="none")).decode(), part(claims(time.time(), iss=provider.issuer)).decode(), ""]
    ),
    "cut": lambda provider: bearer(provider)["Authorization"][:-1],
    "empty parts": lambda provider: "Bearer ..",
    "too large": lambda provider: bearer(provider, padding="a" * 20_000)["Authorization"],
    "subject that cannot be stored": lambda provider: bearer(provider, sub="a\x00b")["Authorization"],
    "no shape at all": lambda provider: "Bearer eyJhbGciOiJFUzI1NiJ9",
    "four parts": lambda provider: bearer(provider)["Authorization"] + ".x",
    "a class of our own that nobody has": lambda provider: "Bearer sgx_a.b.c",
    "scoped": lambda provider: "Bearer sgt_0000000000000000000000_" + "0" * 49,
}  # fmt: skip


async def test_whatever_is_wrong_has_the_very_same_answer(
    app: Scopegate, provider: Publisher, anonymous: httpx2.AsyncClient
) -> None:
    answers = {}
    for name, make in WRONG.items():
        answer = await anonymous.get(ME, headers={"Authorization": make(provider), "X-Request-ID": "same"})
        answers[name] = (answer.status_code, answer.headers["www-authenticate"], answer.text)
    missing = await anonymous.get(ME, headers={"X-Request-ID": "same"})
    expected = (401, missing.headers["www-authenticate"], missing.text)
    assert answers == dict.fromkeys(WRONG, expected)


async def test_the_log_says_why_once_a_minute_and_never_quotes_a_token(
    app: Scopegate, provider: Publisher, anonymous: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await anonymous.get(ME, headers=bearer(provider, aud="https://evil.example.com\nforged line"))
        await anonymous.get(ME, headers=bearer(provider, iss="https://evil.example.com"))
        await anonymous.get(ME, headers=bearer(provider, sub="a" * 300))
    reasons = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert reasons == [
        "an access token was refused: its claims: invalid_claim",
        "an access token was refused: no active provider has its issuer",
        "an access token was refused: the provider's link claim is missing or is not valid text",
    ]


async def test_a_token_elsewhere_than_in_the_header_is_not_looked_at(
    app: Scopegate, provider: Publisher, anonymous: httpx2.AsyncClient
) -> None:
    text = bearer(provider)["Authorization"].removeprefix("Bearer ")
    for asked in (
        await anonymous.get(ME, params={"access_token": text}),
        await anonymous.get(ME, headers={"Cookie": f"access_token={text}"}),
        await anonymous.get(ME, headers={"Authorization": f"Basic {text}"}),
    ):
        assert asked.status_code == 401
    twice = [("Authorization", f"Bearer {text}")] * 2
    assert (await anonymous.get(ME, headers=twice)).status_code == 400


async def test_keys_rotate_without_a_restart(
    app: Scopegate, provider: Publisher, anonymous: httpx2.AsyncClient
) -> None:
    assert (await anonymous.get("/api/v1/servers", headers=bearer(provider))).status_code == 200
    new = ECKey.generate_key("P-256", {"kid": "second"})
    provider.publish(public(new))
    assert (await anonymous.get("/api/v1/servers", headers=bearer(provider, new))).status_code == 200
    assert (await anonymous.get("/api/v1/servers", headers=bearer(provider))).status_code == 401


@pytest.mark.slow
async def test_a_provider_that_goes_away_keeps_nobody_out_who_has_a_token(
    app: Scopegate, provider: Publisher, anonymous: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching.ProviderWatch, "every_s", 0.05)
    assert (await anonymous.get("/api/v1/servers", headers=bearer(provider))).status_code == 200
    await until(anonymous, lambda warnings: warnings == [])
    await provider.stop()
    monkeypatch.setattr(provider_keys, "REFRESH_S", 0.0)
    monkeypatch.setattr(provider_keys, "UNKNOWN_KEY_GAP_S", 0.0)
    # The round that is under way still waits as long as it was told before.
    await until(anonymous, tell_of_a_provider)
    assert (await anonymous.get("/api/v1/servers", headers=bearer(provider))).status_code == 200
    await provider.start()
    await until(anonymous, lambda warnings: warnings == [])


@pytest.mark.slow
async def test_the_service_starts_without_its_provider_and_finds_it_when_it_is_there(
    database_url: str, provider: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching.ProviderWatch, "every_s", 0.05)
    await provider.stop()
    async with started(settings_for(database_url, provider)) as app, client_of(app) as client:
        await until(client, tell_of_a_provider)
        answer = await client.get("/api/v1/servers", headers=bearer(provider))
        assert answer.status_code == 503
        assert answer.json()["code"] == "provider_unavailable"
        assert int(answer.headers["retry-after"]) > 0
        # Who sends rubbish is told so all the same.
        assert (await client.get(ME, headers=bearer(provider, aud="x"))).status_code == 401

        monkeypatch.setattr(provider_keys, "RETRY_S", 0.0)
        await provider.start()
        await until(client, lambda warnings: warnings == [])
        assert (await client.get("/api/v1/servers", headers=bearer(provider))).status_code == 200


async def test_no_connection_to_the_database_is_held_while_keys_are_fetched(
    database_url: str, provider: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a pool of one, another request is served while a sign-in waits for its provider."""
    asked, go_on = asyncio.Event(), asyncio.Event()
    settings = settings_for(database_url, provider, database_pool_size=1)
    monkeypatch.setattr(watching.ProviderWatch, "look", lambda self: asyncio.sleep(0))
    fetch = Publications.keys_of

    async def slowly(self: Publications, issuer: str) -> tuple[provider_keys.Key, ...]:
        asked.set()
        await go_on.wait()
        return await fetch(self, issuer)

    monkeypatch.setattr(Publications, "keys_of", slowly)
    async with started(settings) as app, client_of(app) as client:
        signing_in = asyncio.create_task(client.get("/api/v1/servers", headers=bearer(provider)))
        await asked.wait()
        assert (await client.get("/readyz")).status_code == 200
        go_on.set()
        assert (await signing_in).status_code == 200


async def test_a_worker_starts_and_refreshes_keys_while_the_database_rejects_the_environment_s_provider(
    database_url: str, provider: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    async def rejected(*_arguments: object) -> None:
        attempts.append(1)
        raise DBAPIError("UPDATE identity_providers", {}, asyncpg.DeadlockDetectedError("deadlock detected"))

    looked = asyncio.Event()

    async def look(_self: watching.ProviderWatch) -> None:
        looked.set()

    monkeypatch.setattr(service, "sync_environment", rejected)
    monkeypatch.setattr(watching.ProviderWatch, "look", look)
    async with started(settings_for(database_url, provider)), asyncio.timeout(30):
        await looked.wait()
    # At the start, and in the round that refreshed the keys nevertheless.
    assert len(attempts) >= 2


async def test_disabling_or_ending_a_provider_ends_its_tokens_at_once(
    app: Scopegate, provider: Publisher, api: httpx2.AsyncClient, anonymous: httpx2.AsyncClient, sessions: Any
) -> None:
    assert (await anonymous.get("/api/v1/servers", headers=bearer(provider))).status_code == 200
    async with sessions() as session:
        await session.execute(text("UPDATE identity_providers SET status = 'disabled'"))
        await session.commit()
    assert (await anonymous.get("/api/v1/servers", headers=bearer(provider))).status_code == 401
    (row,) = (await api.get("/api/v1/identity-providers")).json()["items"]
    assert (await api.delete(f"/api/v1/identity-providers/{row['id']}")).status_code == 204
    assert (await anonymous.get("/api/v1/servers", headers=bearer(provider))).status_code == 401


async def test_a_provider_of_the_api_is_not_connected_to_on_a_private_network(
    database_url: str, provider: Publisher, sessions: Any, api_as: ApiAs, app: Scopegate
) -> None:
    """Not even when its row got there by other ways than the API, which refuses it."""
    async with publisher() as private, client_of(app) as client:
        private.publish(public(KEY))
        async with sessions() as session:
            await session.execute(
                text(
                    "INSERT INTO identity_providers (id, name, issuer, settings) "
                    "SELECT gen_random_uuid(), 'x', :issuer, settings FROM identity_providers"
                ),
                {"issuer": private.issuer},
            )
            await session.commit()
        answer = await client.get("/api/v1/servers", headers=bearer(private))
        assert answer.status_code == 503
        assert private.asked == []
