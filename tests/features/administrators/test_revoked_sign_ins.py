"""Provider tokens from before a revocation of sign-ins are refused, newer ones are accepted."""

import asyncio

from sqlalchemy import text

from app.features.identities.queries import lock_identity
from app.features.identity_providers.schemas import Provider
from tests.features.administrators.conftest import ClientOf
from tests.features.administrators.people import NOW, Sessions, claims, person_of, run, until_waiting

_TAKE_BACK = "UPDATE identities SET sign_ins_after = to_timestamp(:until) WHERE id = :id"


async def test_a_token_of_before_opens_nothing_and_one_of_after_does(
    client: ClientOf, sessions: Sessions, provider: Provider
) -> None:
    for name in ("ada", "bea"):
        assert (await client(claims(name, "sg-admins")).get("/api/v1/me")).status_code == 200
    ada = await person_of(sessions, provider, "ada")
    await run(sessions, _TAKE_BACK, id=ada, until=NOW + 60)
    for issued_at, status in ((NOW, 401), (NOW + 60, 401), (NOW + 61, 200), (NOW, 401)):
        bearer = client(claims("ada", "sg-admins", iat=issued_at))
        assert (await bearer.get("/api/v1/me")).status_code == status
        assert (await bearer.get("/api/v1/identities")).status_code == status
    assert (await client(claims("bea", "sg-admins")).get("/api/v1/me")).status_code == 200


async def test_a_sign_in_that_is_under_way_at_the_time_is_taken_back_too(
    client: ClientOf, sessions: Sessions, provider: Provider
) -> None:
    assert (await client(claims("ada", "sg-admins")).get("/api/v1/me")).status_code == 200
    ada = await person_of(sessions, provider, "ada")
    async with sessions() as session:
        identity = await lock_identity(session, ada)
        assert identity is not None
        signing_in = asyncio.create_task(client(claims("ada", "sg-admins", iat=NOW + 30)).get("/api/v1/me"))
        await until_waiting(sessions)
        await session.execute(text(_TAKE_BACK), {"id": ada, "until": NOW + 60})
        await session.commit()
    assert (await signing_in).status_code == 401
