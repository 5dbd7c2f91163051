"""Bootstrap: create the first identity and its service account with the role owner."""

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Peppers
from app.db.change import Change
from app.db.outbox import enqueue
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, identity_message
from app.domain.errors import Conflict
from app.features.audit.record import record
from app.features.identities.queries import keep_identity
from app.features.service_accounts.authenticate import has_usable_owner
from app.features.service_accounts.schemas import ServiceAccountCreate
from app.features.service_accounts.service import create_account, create_credential
from app.http.authorization import Caller, Role
from app.lib.clock import utc_now
from app.lib.ids import SERVICE_ACCOUNT, format_id, new_id
from app.models.identities import Identity

_LOCK = 0x5C09E0B00
_SYSTEM = Caller("system", UUID(int=0), frozenset({Role.OWNER}))


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """The created objects. ``client_secret`` is shown once, and never in ``repr``."""

    identity_id: UUID
    service_account_id: UUID
    client_id: str
    client_secret: str = field(repr=False)


async def bootstrap(session: AsyncSession, peppers: Peppers, *, user_name: str = "owner") -> BootstrapResult:
    """Create the first person, service account (role owner) and credential. The caller commits.

    Also the recovery for operators with access to the database, when every owner's account is revoked, ended, or
    without an active owner. Raises ``Conflict`` while one works.
    """
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if await has_usable_owner(session):
        raise Conflict(
            "This deployment already has a service account with the role owner; use it to create others.",
            code="already_bootstrapped",
        )
    statement = select(col(Identity.id)).where(func.lower(col(Identity.user_name)) == user_name.lower())
    if (await session.execute(statement.limit(1))).first() is not None:
        user_name = f"{user_name}-{new_id().hex[-8:]}"
    person = Identity(kind="person", user_name=user_name)
    session.add(person)
    await session.flush()
    await move_versions(session, [person.id], narrows=False)
    await session.refresh(person)
    await keep_identity(session, person)
    event_id = await record(
        session,
        _SYSTEM,
        "identity.create",
        "identity",
        person.id,
        changes={"kind": "person", "user_name": None},
    )
    await enqueue(session, identity_message(WebhookEvent.IDENTITY_CREATED, person.id, event_id))
    change = Change(session, _SYSTEM, None, utc_now())
    account = await create_account(
        change, ServiceAccountCreate(name="bootstrap", owner_id=person.id, role=Role.OWNER)
    )
    credential = await create_credential(change, peppers, account.id)
    return BootstrapResult(person.id, account.id, format_id(SERVICE_ACCOUNT, account.id), credential.secret)
