"""Verified claims become an administrator, an identity or nobody; what is written is settled in the database."""

from app.features.administrators.sign_in import sign_in
from app.features.identity_providers.provider import Provider
from app.kit.authorization import Caller, Role
from tests.features.administrators.people import Json, Sessions, claims, person_of, recorded, rows


async def enter(sessions: Sessions, provider: Provider, said: Json) -> Caller:
    return await sign_in(sessions, provider, said, "req_test")


async def test_a_role_in_the_claim_makes_a_person_and_an_administrator(
    sessions: Sessions, provider: Provider
) -> None:
    said = claims(
        "sub-1", "sg-admins", "staff", preferred_username="ada", name="Ada L.", email="ada@example.com"
    )
    caller = await enter(sessions, provider, said)
    assert (caller.kind, caller.roles) == ("administrator", {Role.ADMIN})
    assert caller.identity_id == await person_of(sessions, provider, "sub-1")
    [person] = await rows(sessions, "SELECT * FROM identities")
    assert (person.kind, person.user_name, person.display_name, person.email, person.source, person.status) == (
        "person", "ada", "Ada L.", "ada@example.com", "manual", "active",
    )  # fmt: skip
    assert await rows(sessions, "SELECT FROM access_versions WHERE id = :id", id=person.id)
    assert [action for action, _ in await recorded(sessions)] == [
        "identity.create", "administrator.create", "admin.sign_in",
    ]  # fmt: skip


async def test_signing_in_again_with_the_same_token_writes_nothing(
    sessions: Sessions, provider: Provider
) -> None:
    said = claims("sub-1", "sg-admins")
    first = await enter(sessions, provider, said)
    before = await rows(sessions, "SELECT xmin FROM administrators")
    assert await enter(sessions, provider, said) == first
    assert await rows(sessions, "SELECT xmin FROM administrators") == before
    assert len(await recorded(sessions)) == 3
