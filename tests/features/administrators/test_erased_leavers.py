"""An erased leaver with a valid provider token stays out, and does not return as a new person."""

import pytest

from app.domain.errors import Unauthenticated
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers.schemas import Provider
from app.lib.ids import IDENTITY, format_id
from tests.features.administrators.conftest import ClientOf
from tests.features.administrators.people import NOW, Sessions, claims, person_of, rows, run, stored_provider
from tests.features.tokens.world import World


@pytest.fixture
def world(api: object, sessions: Sessions) -> World:
    """The API of an owner."""
    return World(api, sessions)  # type: ignore[arg-type]


async def leave(world: World, provider: Provider, link: str) -> None:
    """Offboard and erase the identity with this link."""
    path = f"/api/v1/identities/{format_id(IDENTITY, await person_of(world.sessions, provider, link))}"
    assert (await world.api.post(f"{path}/offboard", json={"reason": "left"})).status_code == 200
    assert (await world.api.post(f"{path}/erase")).status_code == 200


@pytest.mark.parametrize("groups", [("sg-owners",), ()], ids=["with a role", "without a role"])
async def test_an_erased_leaver_gets_401_and_nothing_is_made(
    client: ClientOf, world: World, provider: Provider, groups: tuple[str, ...]
) -> None:
    said = claims("ada@example.com", "sg-admins", preferred_username="ada", email="ada@example.com")
    assert (await client(said).get("/api/v1/me")).status_code == 200
    await leave(world, provider, "ada@example.com")
    before = await rows(
        world.sessions, "SELECT (SELECT count(*) FROM identities), (SELECT count(*) FROM audit_events)"
    )
    for later in (0, 3600):
        bearer = client(claims("ada@example.com", *groups, iat=NOW + later, email="ada@example.com"))
        assert (await bearer.get("/api/v1/me")).status_code == 401
        assert (await bearer.get("/api/v1/identities")).status_code == 401
    after = await rows(
        world.sessions, "SELECT (SELECT count(*) FROM identities), (SELECT count(*) FROM audit_events)"
    )
    assert after == before


async def test_an_erased_leaver_stays_out_when_the_provider_is_registered_anew(
    client: ClientOf, world: World, provider: Provider
) -> None:
    assert (await client(claims("ada", "sg-admins")).get("/api/v1/me")).status_code == 200
    await leave(world, provider, "ada")
    await run(world.sessions, "UPDATE identity_providers SET ended_at = now() WHERE id = :id", id=provider.id)
    renewed = await stored_provider(world.sessions, issuer=provider.issuer)
    with pytest.raises(Unauthenticated):
        await sign_in(world.sessions, renewed, claims("ada", "sg-admins", iat=NOW + 60), None)


async def test_somebody_else_of_the_provider_comes_in_as_before(
    client: ClientOf, world: World, provider: Provider
) -> None:
    assert (await client(claims("ada", "sg-admins")).get("/api/v1/me")).status_code == 200
    await leave(world, provider, "ada")
    assert (await client(claims("bea", "sg-admins")).get("/api/v1/me")).status_code == 200


async def test_whoever_claims_the_digest_itself_is_refused_like_the_leaver(
    client: ClientOf, world: World, provider: Provider
) -> None:
    assert (await client(claims("ada", "sg-admins")).get("/api/v1/me")).status_code == 200
    await leave(world, provider, "ada")
    [(digest,)] = await rows(world.sessions, "SELECT value FROM identity_links")
    assert (await client(claims(digest, "sg-admins")).get("/api/v1/me")).status_code == 401
