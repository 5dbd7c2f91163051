"""The first start creates one owner, once."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Peppers
from app.db.engine import commit
from app.domain.errors import Conflict
from app.features.service_accounts.service import BootstrapResult, bootstrap
from app.main import Scopegate
from tests.api import client_of


async def test_what_bootstrap_prints_signs_in_as_owner(
    app: Scopegate, sessions: async_sessionmaker[AsyncSession], peppers: Peppers
) -> None:
    async with sessions() as session:
        made = await bootstrap(session, peppers, user_name="ada")
        await commit(session)
    assert made.client_secret not in repr(made)
    form = {
        "grant_type": "client_credentials",
        "client_id": made.client_id,
        "client_secret": made.client_secret,
    }
    async with client_of(app) as client:
        bearer = (await client.post("/oauth/token", data=form)).json()["access_token"]
    async with client_of(app, bearer) as client:
        me = (await client.get("/api/v1/me")).json()
    assert (me["role"], me["id"]) == ("owner", made.client_id)
    async with sessions() as session:
        query = text("SELECT user_name FROM identities WHERE id = :id")
        assert await session.scalar(query, {"id": made.identity_id}) == "ada"
        version = text("SELECT version FROM access_versions WHERE id = :id")
        assert await session.scalar(version, {"id": made.identity_id}) == 1


async def test_two_first_starts_at_once_make_one_owner(
    sessions: async_sessionmaker[AsyncSession], peppers: Peppers
) -> None:
    async def start() -> BootstrapResult:
        async with sessions() as session:
            made = await bootstrap(session, peppers)
            await commit(session)
            return made

    results = await asyncio.gather(start(), start(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["BootstrapResult", "Conflict"]
    with pytest.raises(Conflict, match="already"):
        await start()


@pytest.mark.parametrize("status", ["suspended", "offboarded"])
async def test_when_no_owner_can_sign_in_bootstrap_is_the_way_back_in(
    sessions: async_sessionmaker[AsyncSession], peppers: Peppers, status: str
) -> None:
    async with sessions() as session:
        first = await bootstrap(session, peppers)
        await commit(session)
        change = text("UPDATE identities SET status = :status WHERE id = :id")
        await session.execute(change, {"status": status, "id": first.identity_id})
        await commit(session)
        again = await bootstrap(session, peppers)
        await commit(session)
    assert again.service_account_id != first.service_account_id
