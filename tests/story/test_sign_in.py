"""Sign-in with a real OpenID provider: allowed people, their roles, and an unavailable provider."""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from joserfc import jws, jwt
from joserfc.jwk import RSAKey

from app.crypto import jwt as provider_keys
from app.worker import sign_in as watch
from tests.api import Account
from tests.ports import free_port
from tests.provider.openid import ADMINS, AUDIENCE, OTHER_API, OpenIdProvider, openid_provider
from tests.story.service import Service, whole_service

# A provider and a service of its own for each.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Forge = Callable[[OpenIdProvider], Coroutine[Any, Any, str]]


def settings_for(provider: OpenIdProvider) -> dict[str, Any]:
    """Return the settings that make the service trust this provider."""
    return {
        "oidc_issuer": provider.issuer,
        "oidc_audience": (AUDIENCE,),
        "oidc_role_map": {ADMINS: "admin"},
    }


@pytest.fixture
async def service(database_url: str, owner: Account, provider: OpenIdProvider) -> AsyncIterator[Service]:
    async with whole_service(database_url, owner.bearer, **settings_for(provider)) as running:
        yield running


async def get(service: Service, path: str, token: str) -> httpx2.Response:
    """Send an API request with an access token instead of the owner's bearer."""
    return await service.api.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {token}"})


async def warnings(service: Service) -> list[str]:
    answer = await service.api.get("/readyz")
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["warnings"]
    return found


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_script_without_a_browser_becomes_admin_by_its_group(
    service: Service, provider: OpenIdProvider, algorithm: str
) -> None:
    provider.sign_with(algorithm)
    token = await provider.access_token("alice")
    bearer = {"Authorization": f"Bearer {token}"}
    made = await service.api.post("/api/v1/groups", json={"name": "made by alice"}, headers=bearer)
    assert made.status_code == 201, made.text
    me = (await get(service, "/me", token)).json()
    assert me["type"] == "administrator"
    identity = (await get(service, f"/identities/{me['identity_id']}", token)).json()
    assert identity["user_name"] == "alice"
    assert [(link["kind"], link["value"]) for link in identity["links"]] == [("oidc", "alice")]
    beyond = await get(service, "/service-accounts", token)
    assert beyond.status_code == 403
    assert "service_accounts.read" in beyond.json()["detail"]


async def test_a_wrong_group_is_refused_by_the_permission_that_it_lacks(
    service: Service, provider: OpenIdProvider
) -> None:
    answer = await get(service, "/servers", await provider.access_token("bob"))
    assert answer.status_code == 403
    assert "servers.read" in answer.json()["detail"]
    people = (await service.api.get("/api/v1/identities")).json()["items"]
    assert "bob" not in [person["user_name"] for person in people]


async def test_leaving_the_group_ends_the_role_with_the_next_token(
    service: Service, provider: OpenIdProvider
) -> None:
    assert (await get(service, "/servers", await provider.access_token("alice"))).status_code == 200
    provider.set_groups("alice", ["staff"])
    # Issued later than the first by the clock that both are read by.
    provider.set_clock(1)
    token = await provider.access_token("alice")
    assert (await get(service, "/servers", token)).status_code == 403
    assert (await get(service, "/me", token)).status_code == 200


async def test_offboarding_ends_access_though_the_provider_says_otherwise(
    service: Service, provider: OpenIdProvider
) -> None:
    token = await provider.access_token("alice")
    me = (await get(service, "/me", token)).json()
    await service.post(f"/identities/{me['identity_id']}/offboard", {"reason": "left"}, 200)
    for bearer in (token, await provider.access_token("alice")):
        assert (await get(service, "/me", bearer)).status_code == 401


async def wrong_audience(provider: OpenIdProvider) -> str:
    return await provider.access_token("alice", OTHER_API)


async def expired(provider: OpenIdProvider) -> str:
    provider.set_clock(-3600)
    return await provider.access_token("alice")


async def not_yet_issued(provider: OpenIdProvider) -> str:
    provider.set_clock(3600)
    return await provider.access_token("alice")


async def id_token(provider: OpenIdProvider) -> str:
    return str((await provider.sign_in("alice"))["id_token"])


async def unsigned(provider: OpenIdProvider) -> str:
    header, claims, _ = (await provider.access_token("alice")).split(".")
    return f"{_text({**_json(header), 'alg': 'none'})}.{claims}."


async def signed_with_the_public_key(provider: OpenIdProvider) -> str:
    """Sign with the provider's public key as a shared secret, to test verifiers that trust the token's algorithm."""
    header, claims, _ = (await provider.access_token("alice")).split(".")
    key = RSAKey.import_key(await _published(provider, _json(header)["kid"]))
    signed = f"{_text({**_json(header), 'alg': 'HS256'})}.{claims}"
    signature = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{_base64(signature)}"


async def signed_by_a_stranger_under_a_known_name(provider: OpenIdProvider) -> str:
    header, claims, _ = (await provider.access_token("alice")).split(".")
    return jwt.encode(_json(header), _json(claims), RSAKey.generate_key(2048))


async def signed_by_a_key_that_it_brings_along(provider: OpenIdProvider) -> str:
    header, claims, _ = (await provider.access_token("alice")).split(".")
    key = RSAKey.generate_key(2048)
    own = {**_json(header), "kid": "mine", "jwk": key.as_dict(private=False)}
    return jws.serialize_compact(own, _json_bytes(claims), key)


async def promoted(provider: OpenIdProvider) -> str:
    """Return Bob's own token with an added group."""
    header, claims, signature = (await provider.access_token("bob")).split(".")
    return f"{header}.{_text({**_json(claims), 'groups': [ADMINS]})}.{signature}"


FORGERIES: list[Forge] = [
    wrong_audience,
    expired,
    not_yet_issued,
    id_token,
    unsigned,
    signed_with_the_public_key,
    signed_by_a_stranger_under_a_known_name,
    signed_by_a_key_that_it_brings_along,
    promoted,
]


async def test_invalid_access_tokens_get_the_same_answer(service: Service, provider: OpenIdProvider) -> None:
    # The provider's keys are known, so the refusals below have other reasons.
    assert (await get(service, "/me", await provider.access_token("alice"))).status_code == 200
    unknown = await get(service, "/me", "a.b.c")
    for forge in FORGERIES:
        refused = await get(service, "/me", await forge(provider))
        provider.set_clock(0)
        assert refused.status_code == 401, forge.__name__
        assert refused.headers["WWW-Authenticate"] == unknown.headers["WWW-Authenticate"]
        said, expected = ({**answer.json(), "request_id": ""} for answer in (refused, unknown))
        assert said == expected, forge.__name__


async def test_a_token_of_an_unknown_provider_is_refused(service: Service) -> None:
    with openid_provider() as outsider:
        token = await outsider.access_token("alice")
        assert (await get(service, "/me", token)).status_code == 401


async def test_a_program_of_a_second_provider_acts_as_its_service_account_without_a_secret(
    service: Service, provider: OpenIdProvider, owner: Account
) -> None:
    me = (await service.api.get("/api/v1/me")).json()
    account = await service.post(
        "/service-accounts", {"name": "deploys", "role": "auditor", "owner_id": me["identity_id"]}
    )
    with openid_provider() as pipelines:
        await service.post(
            "/identity-providers",
            {
                "name": "pipelines",
                "issuer": pipelines.issuer,
                "audiences": [AUDIENCE],
                "workloads": [{"service_account_id": account["id"], "claims": {"sub": "deploy-pipeline"}}],
            },
        )
        token = await pipelines.program_token("deploy-pipeline")
        known = (await get(service, "/me", token)).json()
        assert (known["type"], known["id"], known["role"]) == ("service_account", account["id"], "auditor")
        other = await pipelines.program_token("some-pipeline")
        assert (await get(service, "/me", other)).status_code == 401
        # People sign in at the first as before; the same names at the second are strangers.
        assert (await get(service, "/me", await provider.access_token("alice"))).status_code == 200
        assert (await get(service, "/me", await pipelines.access_token("alice"))).status_code == 401
        deleted = await service.api.delete(f"/api/v1/service-accounts/{account['id']}")
        assert deleted.status_code == 204, deleted.text
        assert (await get(service, "/me", token)).status_code == 401


async def test_new_keys_are_found_without_a_restart_and_old_ones_no_longer_count(
    service: Service, provider: OpenIdProvider
) -> None:
    before = await provider.access_token("alice")
    assert (await get(service, "/me", before)).status_code == 200
    provider.rotate_keys()
    assert (await get(service, "/me", await provider.access_token("alice"))).status_code == 200
    assert (await get(service, "/me", before)).status_code == 401


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry the provider immediately instead of after seconds or minutes."""
    for name in ("REFRESH_S", "UNKNOWN_KEY_GAP_S", "RETRY_S"):
        monkeypatch.setattr(provider_keys, name, 0.02)
    monkeypatch.setattr(watch.ProviderWatch, "every_s", 0.02)


async def becomes(service: Service, expected: Callable[[list[str]], bool]) -> None:
    """Wait until the warnings of ``/readyz`` are as expected; the test's timeout is the limit."""
    while not expected(await warnings(service)):
        pass


@pytest.mark.usefixtures("impatient")
async def test_a_provider_that_is_unavailable_at_start_is_found_later(
    database_url: str, owner: Account
) -> None:
    with openid_provider(free_port()) as provider:
        token = await provider.access_token("alice")
    async with whole_service(database_url, owner.bearer, **settings_for(provider)) as service:
        answer = await get(service, "/me", token)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 0
        await becomes(service, lambda found: any("OpenID provider: 1" in line for line in found))
        with openid_provider(provider.port) as returned:
            await becomes(service, lambda found: found == [])
            assert (await get(service, "/me", await returned.access_token("alice"))).status_code == 200
            # The provider has keys of its own each time that it starts.
            assert (await get(service, "/me", token)).status_code == 401


@pytest.mark.usefixtures("impatient")
async def test_cached_keys_work_while_the_provider_is_unavailable(database_url: str, owner: Account) -> None:
    async with AsyncExitStack() as running:
        with openid_provider(free_port()) as provider:
            token = await provider.access_token("alice")
            service = await running.enter_async_context(
                whole_service(database_url, owner.bearer, **settings_for(provider))
            )
            assert (await get(service, "/me", token)).status_code == 200
        await becomes(service, lambda found: any("OpenID provider: 1" in line for line in found))
        assert (await get(service, "/me", token)).status_code == 200
        with openid_provider(provider.port) as returned:
            await becomes(service, lambda found: found == [])
            assert (await get(service, "/me", await returned.access_token("alice"))).status_code == 200


async def _published(provider: OpenIdProvider, kid: str) -> dict[str, Any]:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        published = (await client.get(f"{provider.issuer}/jwks")).json()["keys"]
    return next(key for key in published if key["kid"] == kid)


def _json_bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _json(part: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(_json_bytes(part))
    return value


def _text(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
