"""Create, read, change and end service accounts and their credentials, and bootstrap the first one."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Peppers
from app.db import rows
from app.db.change import Change, Subject
from app.db.rows import Lock, is_one_of
from app.domain.errors import Conflict, Forbidden, Invalid, NotFound
from app.domain.token_format import CLIENT_SECRET
from app.features.identities.queries import lock_identity
from app.features.identities.role_checks import check_remaining_owner
from app.features.identities.schemas import IdentityCreate
from app.features.identities.service import create_identity
from app.features.service_accounts import schemas
from app.features.service_accounts.authenticate import has_usable_owner, new_credential
from app.features.service_accounts.queries import SORTS, has_another_credential
from app.http.authorization import Caller, Permission, Role, authorize, authorize_giving
from app.http.etags import Precondition
from app.http.pagination import Cursors, ListQuery, read_page, select_filtered
from app.http.runtime import Runtime
from app.lib.ids import IDENTITY, KEY, SERVICE_ACCOUNT, format_id, new_id
from app.models.identities import SERVICE_ACCOUNT_KIND, Identity, ServiceAccount, ServiceAccountCredential

ACCOUNT = Subject(
    SERVICE_ACCOUNT_KIND,
    audited=(*schemas.ServiceAccountUpdate.model_fields, "owner_offboarded"),
    history="role_assignment",
    kept=("role",),
    shown={"owner_id": lambda id: format_id(IDENTITY, id)},
    content=lambda columns: {**columns, "within": "all"},
)

UNREVOKED = 1
"""The revision of a credential: the only change is its revocation."""


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A new credential. ``secret`` is the only copy; it never shows in ``repr``."""

    row: ServiceAccountCredential = field(repr=False)
    secret: str = field(repr=False)


async def list_accounts(
    session: AsyncSession, caller: Caller, query: schemas.ServiceAccountQuery, runtime: Runtime
) -> tuple[list[ServiceAccount], str | None]:
    """Read a page of accounts and the next cursor. Raises ``Forbidden`` when ended ones are requested."""
    statement = select_filtered(ServiceAccount, query, "status", "role", "owner_id", texts=("name",))
    if query.include is None:
        statement = statement.where(col(ServiceAccount.ended_at).is_(None))
    else:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_service_accounts", query.filters())
    return await read_page(session, statement, ServiceAccount, cursors, query, SORTS)


async def get_account(
    session: AsyncSession, caller: Caller, id: UUID, *, ended: bool = False
) -> ServiceAccount:
    """Read an account; with ``ended``, also an ended one. Raises ``NotFound`` and ``Forbidden``."""
    if ended:
        authorize(caller, Permission.AUDIT_READ)
    account = await session.get(ServiceAccount, id)
    return account if ended and account is not None else rows.existing(account, "service account")


async def list_credentials(
    session: AsyncSession, caller: Caller, account_id: UUID, query: ListQuery, runtime: Runtime
) -> tuple[list[ServiceAccountCredential], str | None]:
    """Read a page of an account's credentials, including revoked ones, and the next cursor. Raises ``NotFound``."""
    account = await get_account(session, caller, account_id)
    filters = query.filters() | {"account": account.id}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_service_account_credentials", filters)
    statement = select(ServiceAccountCredential).where(
        col(ServiceAccountCredential.service_account_id) == account.id
    )
    return await read_page(session, statement, ServiceAccountCredential, cursors, query)


async def create_account(change: Change, body: schemas.ServiceAccountCreate) -> ServiceAccount:
    """Create an account. Raises ``Forbidden`` above the caller's own role, ``Invalid`` for an inactive owner."""
    authorize_giving(change.caller, body.role)
    await _check_owner(change.session, body.owner_id)
    account = ServiceAccount(**dict(body))
    change.session.add(account)
    await change.session.flush()
    await change.session.refresh(account)
    change.record("service_account.create", ACCOUNT, ACCOUNT.blank(account), account)
    return account


async def update_account(
    change: Change, id: UUID, body: schemas.ServiceAccountUpdate, if_match: Precondition
) -> ServiceAccount:
    """Apply a merge patch.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden`` for the caller's own role or status and above its role,
    ``Invalid`` for the owner, and ``Conflict`` for the last active owner.
    """
    account = await _lock_live(change, id)
    if_match.check(account.revision)
    values = body.given()
    if "owner_id" in values:
        await _check_owner(change.session, values["owner_id"])
        values["owner_offboarded"] = False
    changed = {name: value for name, value in values.items() if value != getattr(account, name)}
    if account.id == change.caller.id and changed.keys() & {"role", "status"}:
        raise Forbidden(
            "An account cannot change its own role or status; another owner has to do it.", code="own_account"
        )
    authorize_giving(change.caller, Role(account.role))
    if not changed:
        return account
    if changed.keys() & {"role", "status"}:
        await _check_remaining_owner(change.session, account)
    if "role" in changed:
        authorize_giving(change.caller, changed["role"])
    before = ACCOUNT.values(account)
    account.sqlmodel_update(changed)
    account.revision += 1
    await change.session.flush()
    await change.session.refresh(account)
    change.record("service_account.update", ACCOUNT, before, account)
    return account


async def end_account(change: Change, id: UUID, if_match: Precondition) -> None:
    """End an account: none of its credentials work any more.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden`` for the caller's own account and above its role, and
    ``Conflict`` for the last active owner.
    """
    account = await _lock_live(change, id)
    if_match.check(account.revision)
    if account.id == change.caller.id:
        raise Forbidden("An account cannot end itself; another owner has to do it.", code="own_account")
    authorize_giving(change.caller, Role(account.role))
    await _check_remaining_owner(change.session, account)
    account.ended_at = change.now
    account.revision += 1
    change.record("service_account.delete", ACCOUNT, account, None)


async def create_credential(change: Change, peppers: Peppers, account_id: UUID) -> NewCredential:
    """Create a client secret. Raises ``NotFound``, and ``Forbidden`` above the caller's own role."""
    account = await _lock_live(change, account_id)
    authorize_giving(change.caller, Role(account.role))
    secret, stored = new_credential(peppers, CLIENT_SECRET)
    row = ServiceAccountCredential(**stored, service_account_id=account.id)
    change.session.add(row)
    await change.session.flush()
    await change.session.refresh(row)
    _record_credential(change, "service_account.credential_create", account, row)
    return NewCredential(row, secret)


async def revoke_credential(
    change: Change, account_id: UUID, credential_id: UUID, if_match: Precondition
) -> None:
    """Revoke one client secret and its bearer tokens.

    Raises ``NotFound`` when it is not live, ``PreconditionFailed``, ``Forbidden`` above the caller's own role, and
    ``Conflict`` for the last one of the last active owner.
    """
    account = await _lock_live(change, account_id)
    row = await rows.lock(change.session, ServiceAccountCredential, credential_id, Lock.UPDATE)
    if row is None or row.service_account_id != account.id or row.revoked_at is not None:
        raise NotFound("This service account has no such live credential.")
    if_match.check(UNREVOKED)
    authorize_giving(change.caller, Role(account.role))
    if not await has_another_credential(change.session, row):
        await _check_remaining_owner(change.session, account)
    row.revoked_at = change.now
    _record_credential(change, "service_account.credential_revoke", account, row)


async def _lock_live(change: Change, id: UUID) -> ServiceAccount:
    return rows.existing(await rows.lock(change.session, ServiceAccount, id, Lock.UPDATE), "service account")


async def _check_remaining_owner(session: AsyncSession, account: ServiceAccount) -> None:
    await check_remaining_owner(session, lambda owner: owner.id == account.id)


def _record_credential(
    change: Change, action: str, account: ServiceAccount, row: ServiceAccountCredential
) -> None:
    change.record(action, ACCOUNT, account, account, details={"credential_id": format_id(KEY, row.id)})


async def _check_owner(session: AsyncSession, owner_id: UUID) -> None:
    """Require an active owner, and lock it until this transaction ends."""
    owner = await lock_identity(session, owner_id, share=True)
    if owner is None or owner.status != "active":
        raise Invalid.field("/owner_id", "not_active", "The owner must be an active identity.")


_LOCK = 0x5C09E0B00


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
    change = await Change.begin(session, Caller.system(Role.OWNER))
    person = await create_identity(change, IdentityCreate(kind="person", user_name=user_name))
    account = await create_account(
        change, schemas.ServiceAccountCreate(name="bootstrap", owner_id=person.id, role=Role.OWNER)
    )
    credential = await create_credential(change, peppers, account.id)
    return BootstrapResult(person.id, account.id, format_id(SERVICE_ACCOUNT, account.id), credential.secret)


async def flag_accounts(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Flag these accounts as having lost their owner, under the event of the owner's offboarding."""
    values: dict[str, Any] = {"owner_offboarded": True, "revision": col(ServiceAccount.revision) + 1}
    await session.execute(
        update(ServiceAccount)
        .where(is_one_of(col(ServiceAccount.id), ids))
        .values(values)
        .execution_options(synchronize_session=False)
    )
