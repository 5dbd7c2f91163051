"""Sign-ins race each other and the ends of identities. Real sessions, real PostgreSQL, forced interleavings."""

import asyncio
from uuid import UUID

import httpx2
import pytest

from app.db.rows import Lock, lock
from app.domain.errors import Unauthenticated
from app.features.administrators.queries import find_administrator
from app.features.administrators.sign_in import sign_in
from app.features.identities.queries import lock_first_sign_in, lock_identity
from app.features.identity_providers.schemas import Provider
from app.http.authorization import Caller
from app.lib.ids import ADMINISTRATOR, IDENTITY, IDENTITY_PROVIDER, format_id
from app.models.identity_providers import IdentityProvider
from tests.features.administrators.conftest import ClientOf
from tests.features.administrators.people import (
    NOW,
    Sessions,
    claims,
    recorded,
    rows,
    run,
    until_waiting,
)


async def entered(sessions: Sessions, provider: Provider) -> tuple[UUID, UUID]:
    """Sign an administrator in; return it with the person."""
    caller = await sign_in(sessions, provider, claims("ada", "sg-owners"), None)
    assert caller.identity_id is not None
    return caller.id, caller.identity_id


async def test_two_first_sign_ins_at_once_make_one_identity_and_one_administrator(
    sessions: Sessions, provider: Provider
) -> None:
    said = claims("ada", "sg-admins", preferred_username="ada")
    async with sessions() as ahead:
        await lock_first_sign_in(ahead, provider.id, "ada")
        both = [asyncio.create_task(sign_in(sessions, provider, said, None)) for _ in range(2)]
        await until_waiting(sessions, 2)
        await ahead.rollback()
    first, second = await asyncio.gather(*both)
    assert first == second
    [person] = await rows(sessions, "SELECT user_name FROM identities")
    assert person.user_name == "ada"
    assert len(await rows(sessions, "SELECT 1 FROM administrators")) == 1
    assert [action for action, _ in await recorded(sessions)] == [
        "identity.create", "administrator.create", "administrator.sign_in",
    ]  # fmt: skip


async def test_two_people_of_one_name_at_once_get_one_each(sessions: Sessions, provider: Provider) -> None:
    callers = await asyncio.gather(
        *(
            sign_in(sessions, provider, claims(f"sub-{n}", "sg-admins", preferred_username="Ada"), None)
            for n in range(2)
        )
    )
    assert len({caller.identity_id for caller in callers}) == 2
    names = [row.user_name for row in await rows(sessions, "SELECT user_name FROM identities")]
    assert len(set(names)) == 2
    assert "Ada" in names


async def test_one_new_token_used_twice_at_once_is_one_sign_in(
    sessions: Sessions, provider: Provider
) -> None:
    _, identity_id = await entered(sessions, provider)
    newer = claims("ada", "sg-admins", iat=NOW + 60)
    async with sessions() as ahead:
        await lock_identity(ahead, identity_id)
        both = [asyncio.create_task(sign_in(sessions, provider, newer, None)) for _ in range(2)]
        await until_waiting(sessions, 2)
        await ahead.rollback()
    await asyncio.gather(*both)
    assert len(await recorded(sessions, "administrator.sign_in")) == 2
    assert len(await recorded(sessions, "administrator.update")) == 1


async def test_of_two_new_tokens_at_once_the_newer_one_decides(
    sessions: Sessions, provider: Provider
) -> None:
    await entered(sessions, provider)
    tokens = [claims("ada", "sg-admins", iat=NOW + 1), claims("ada", "sg-auditors", iat=NOW + 2)]
    await asyncio.gather(*(sign_in(sessions, provider, said, None) for said in tokens))
    held = await rows(sessions, "SELECT role FROM role_assignments")
    assert [row.role for row in held] == ["auditor"]


async def test_nobody_is_linked_by_a_claim_that_was_changed_during_their_first_sign_in(
    sessions: Sessions, provider: Provider
) -> None:
    async with sessions() as changing:
        row = await lock(changing, IdentityProvider, provider.id, Lock.UPDATE)
        assert row is not None
        entering = asyncio.create_task(sign_in(sessions, provider, claims("ada", "sg-owners"), None))
        await until_waiting(sessions)
        row.settings = row.settings | {"link_claim": "oid"}
        await changing.commit()
    with pytest.raises(Unauthenticated):
        await entering
    assert await rows(sessions, "SELECT 1 FROM identity_links") == []


async def test_a_first_sign_in_that_is_not_over_yet_keeps_the_link_claim(
    sessions: Sessions, provider: Provider, api: httpx2.AsyncClient
) -> None:
    await run(sessions, """UPDATE identity_providers SET settings = settings || '{"role_map": {}}'""")
    path = f"/api/v1/identity-providers/{format_id(IDENTITY_PROVIDER, provider.id)}"
    async with sessions() as ahead:
        await lock_first_sign_in(ahead, provider.id, "ada")
        entering = asyncio.create_task(sign_in(sessions, provider, claims("ada", "sg-owners"), None))
        await until_waiting(sessions)
        changing = asyncio.create_task(api.patch(path, json={"link_claim": "oid"}))
        await until_waiting(sessions, 2)
        await ahead.rollback()
    await entering
    answer = await changing
    assert (answer.status_code, answer.json()["code"]) == (409, "link_claim_in_use")


async def refused_concurrently(sessions: Sessions, entering: "asyncio.Task[Caller]") -> None:
    with pytest.raises(Unauthenticated):
        await entering
    assert len(await recorded(sessions, "administrator.sign_in")) == 1


async def test_an_administrator_disabled_during_a_sign_in_is_not_let_in(
    sessions: Sessions, provider: Provider
) -> None:
    _, identity_id = await entered(sessions, provider)
    async with sessions() as disabling:
        administrator = await find_administrator(disabling, identity_id, lock=True)
        assert administrator is not None
        entering = asyncio.create_task(
            sign_in(sessions, provider, claims("ada", "sg-owners", iat=NOW + 60), None)
        )
        await until_waiting(sessions)
        administrator.status = "disabled"
        await disabling.commit()
    await refused_concurrently(sessions, entering)


async def test_a_person_offboarded_during_a_sign_in_is_not_let_in(
    sessions: Sessions, provider: Provider
) -> None:
    _, identity_id = await entered(sessions, provider)
    async with sessions() as offboarding:
        person = await lock_identity(offboarding, identity_id)
        assert person is not None
        entering = asyncio.create_task(
            sign_in(sessions, provider, claims("ada", "sg-owners", iat=NOW + 60), None)
        )
        await until_waiting(sessions)
        person.status = "offboarded"
        await offboarding.commit()
    await refused_concurrently(sessions, entering)


async def test_offboarding_an_administrator_whose_sign_in_is_not_over_yet_disables_them(
    sessions: Sessions, provider: Provider, client: ClientOf, api: httpx2.AsyncClient
) -> None:
    administrator_id, identity_id = await entered(sessions, provider)
    path = f"/api/v1/identities/{format_id(IDENTITY, identity_id)}/offboard"
    async with sessions() as entering:
        await lock_identity(entering, identity_id)
        leaving = asyncio.create_task(api.post(path, json={"reason": "left"}))
        await until_waiting(sessions)
        await entering.rollback()
    answer = await leaving
    assert answer.json()["revoked"]["administrator"] is True
    shown = await api.get(f"/api/v1/administrators/{format_id(ADMINISTRATOR, administrator_id)}")
    assert shown.json()["status"] == "disabled"
    for iat in (NOW, NOW + 60):
        refused = await client(claims("ada", "sg-owners", iat=iat)).get("/api/v1/me")
        assert refused.status_code == 401
