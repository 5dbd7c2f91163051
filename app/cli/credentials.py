"""The credential of the first service account, created directly in the database, since no one can sign in yet."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Peppers
from app.db.change import Change
from app.db.engine import commit, make_engine, make_sessions
from app.domain.errors import Conflict
from app.features.service_accounts.service import bootstrap, create_credential
from app.http.authorization import Caller, Role
from app.lib.clock import utc_now
from app.lib.ids import SERVICE_ACCOUNT, format_id
from app.models.identities import ServiceAccount
from app.settings import Settings

Credential = tuple[str, str]
"""Client id and client secret."""


def bootstrap_credential(settings: Settings) -> Credential:
    """Create the first identity and its service account (role owner).

    Raises:
        Conflict: there has been a service account already.
    """
    return _at_the_database(settings, _bootstrap)


def first_credential(settings: Settings) -> Credential:
    """For ``dev``: bootstrap, or add a secret to an owner if the first one is lost."""
    return _at_the_database(settings, _bootstrap_or_add)


async def _bootstrap(session: AsyncSession, peppers: Peppers) -> Credential:
    made = await bootstrap(session, peppers)
    return made.client_id, made.client_secret


async def _bootstrap_or_add(session: AsyncSession, peppers: Peppers) -> Credential:
    try:
        return await _bootstrap(session, peppers)
    except Conflict:
        query = select(ServiceAccount).where(
            col(ServiceAccount.role) == Role.OWNER.value,
            col(ServiceAccount.status) == "active",
            col(ServiceAccount.ended_at).is_(None),
        )
        account = (
            await session.execute(query.order_by(col(ServiceAccount.id)).limit(1))
        ).scalar_one_or_none()
        if account is None:
            raise
        caller = Caller("service_account", account.id, frozenset({Role.OWNER}))
        change = Change(session, caller, None, utc_now())
        made = await create_credential(change, peppers, account.id)
        return format_id(SERVICE_ACCOUNT, account.id), made.secret


def _at_the_database(
    settings: Settings, make: Callable[[AsyncSession, Peppers], Awaitable[Credential]]
) -> Credential:
    async def run() -> Credential:
        if settings.database_url is None:
            raise ValueError("the settings must come from usable_database")
        engine = make_engine(
            settings.database_url.get_secret_value(), pool_size=1, name="scopegate bootstrap"
        )
        try:
            async with make_sessions(engine)() as session:
                credential = await make(session, Peppers(settings.keys("token_pepper")))
                await commit(session)
                return credential
        finally:
            await engine.dispose()

    return asyncio.run(run())
