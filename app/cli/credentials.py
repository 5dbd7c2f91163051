"""The credential of the first service account, created directly in the database, since no one can sign in yet."""

from collections.abc import Awaitable, Callable, Iterator

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.cli.database import at_database
from app.crypto.keys import Peppers
from app.db.change import Change
from app.db.engine import commit
from app.domain.errors import Conflict
from app.features.service_accounts.service import bootstrap, create_credential
from app.http.authorization import Caller, Role
from app.lib.clock import utc_now
from app.lib.ids import SERVICE_ACCOUNT, format_id
from app.models.identities import ServiceAccount
from app.settings import Settings

Credential = tuple[str, str]
"""Client id and client secret."""


def bootstrap_credential(settings: Settings) -> Iterator[str]:
    """Create the first identity and its service account (role owner); yield the lines that show its credential.

    Raises:
        Conflict: there has been a service account already.
    """
    client_id, client_secret = _make(settings, _bootstrap)
    yield f"client_id      {client_id}"
    yield f"client_secret  {client_secret}"
    typer.echo("This is the only time that the secret is shown.", err=True)


def first_credential(settings: Settings) -> Credential:
    """For ``dev``: bootstrap, or add a secret to an owner if the first one is lost."""
    return _make(settings, _bootstrap_or_add)


async def _bootstrap(session: AsyncSession, peppers: Peppers) -> Credential:
    credential = await bootstrap(session, peppers)
    return credential.client_id, credential.client_secret


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
        credential = await create_credential(change, peppers, account.id)
        return format_id(SERVICE_ACCOUNT, account.id), credential.secret


def _make(settings: Settings, make: Callable[[AsyncSession, Peppers], Awaitable[Credential]]) -> Credential:
    async def run(sessions: async_sessionmaker[AsyncSession]) -> Credential:
        async with sessions() as session:
            credential = await make(session, Peppers(settings.keys("token_pepper")))
            await commit(session)
            return credential

    return at_database(settings, run)
