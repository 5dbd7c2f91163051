"""Provision people from a directory: create, adopt, change, forget. Offboarding them is a higher feature.

``scim_users`` holds everything that the directory sent; the identity has what other features read of it. Both change in
one transaction under the lock of the identity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.change import PERSONAL, Change
from app.db.rows import flush_unique
from app.db.webhook_events import WebhookEvent
from app.domain.errors import Conflict, NotFound
from app.features.identities import queries
from app.features.identities.service import IDENTITY, blank, point_link
from app.lib import ids
from app.lib.ids import format_id
from app.lib.names import comparable_name
from app.models.identities import Identity, IdentityLink, ScimUser

SCIM = "scim"
LinkedBy: TypeAlias = Literal["user_name", "external_id"]


@dataclass(frozen=True, slots=True)
class DirectoryRecord:
    """The directory's data of a person.

    ``attributes`` are those for policies, of the names ``mapped``, which no other source sets. ``linked_by`` is the
    field with the value of the provider's link claim. ``profile`` is all other SCIM data.
    """

    user_name: str
    """As the directory writes it, and reads it back. The identity has its comparable form."""
    external_id: str | None = None
    display_name: str | None = None
    email: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    mapped: frozenset[str] = frozenset()
    profile: dict[str, Any] = field(default_factory=dict)
    linked_by: LinkedBy | None = None

    @property
    def link(self) -> str | None:
        """The value of the link, if the directory has it."""
        return None if self.linked_by is None else getattr(self, self.linked_by)


@dataclass(frozen=True, slots=True)
class Person:
    """An identity that a provider manages, and its SCIM data; both rows of one transaction."""

    identity: Identity
    user: ScimUser


async def find_person(
    session: AsyncSession, provider_id: UUID, identity_id: UUID, *, lock: bool = False
) -> Person:
    """Find a person whom this provider manages and has not deleted. Raises ``NotFound``, also for others."""
    if lock:
        identity = await queries.lock_identity(session, identity_id)
    else:
        identity = await session.get(Identity, identity_id)
    user = await session.get(ScimUser, identity_id, populate_existing=lock)
    if identity is None or user is None or user.provider_id != provider_id or user.deleted_at is not None:
        raise NotFound("There is no such user.")
    return Person(identity, user)


async def add_person(change: Change, provider_id: UUID, record: DirectoryRecord) -> Person:
    """Create the identity of a person, or adopt an existing one.

    The holder of the link decides: an unmanaged one becomes the directory's; an ended one loses the link to a new
    identity, and stays ended. Raises ``Conflict``.
    """
    session, holder = change.session, None
    if record.link is not None:
        holder = await queries.find_holder(session, provider_id, record.link)
    if holder is not None and await holder.may_be_adopted_by(session, provider_id):
        return await _adopt(change, provider_id, holder, record)
    if holder is not None and not _releases_link(holder, provider_id, record):
        raise queries.link_taken()
    identity = Identity(kind="person", provider_id=provider_id, source=SCIM, **_new_values({}, record))
    session.add(identity)
    await _flush(session)
    user = ScimUser(identity_id=identity.id, provider_id=provider_id, user_name=record.user_name)
    _write_user(user, record)
    session.add(user)
    await _flush(session)
    await session.refresh(identity)
    change.record(
        "identity.create", IDENTITY, blank(identity), identity,
        details=await _link(session, provider_id, holder, identity.id, record.link),
        widens=[identity.id], webhook=WebhookEvent.IDENTITY_CREATED,
    )  # fmt: skip
    return Person(identity, user)


async def change_person(change: Change, provider_id: UUID, person: Person, record: DirectoryRecord) -> bool:
    """Update a locked person to the directory's data; return whether anything changed. Raises ``Conflict``."""
    identity, user = person.identity, person.user
    changed = _changed(identity, _new_values(identity.attributes, record))
    details = {} if user.profile == record.profile else {"profile": PERSONAL}
    names_changed = (user.user_name, user.external_id) != (record.user_name, record.external_id)
    details |= await _relink(change.session, provider_id, person, record)
    if not changed and not details and not names_changed:
        return False
    await _write(change, identity, user, changed, record, details)
    return True


async def forget_person(session: AsyncSession, person: Person) -> None:
    """Remove an offboarded, locked person from SCIM: the name is free again."""
    person.user.deleted_at = func.now()  # type: ignore[assignment]
    await session.flush()


async def _adopt(
    change: Change, provider_id: UUID, holder: queries.Holder, record: DirectoryRecord
) -> Person:
    """Let the directory manage an unmanaged identity, which keeps everything it has."""
    identity = holder.identity
    values = _new_values(identity.attributes, record) | {"provider_id": provider_id, "source": SCIM}
    user = holder.user or ScimUser(identity_id=identity.id, provider_id=provider_id, user_name="")
    user.provider_id, user.deleted_at = provider_id, None
    await _write(change, identity, user, _changed(identity, values), record, {})
    await _link(change.session, provider_id, holder, identity.id, record.link)
    return Person(identity, user)


async def _write(
    change: Change,
    identity: Identity,
    user: ScimUser,
    changed: dict[str, Any],
    record: DirectoryRecord,
    details: Mapping[str, Any],
) -> None:
    """Write the changed columns of a locked identity and its SCIM data. Raises ``Conflict``."""
    session, before = change.session, IDENTITY.values(identity)
    identity.sqlmodel_update(changed)
    identity.revision += 1
    _write_user(user, record)
    session.add(user)
    await _flush(session)
    await session.refresh(identity)
    # A policy may read any attribute.
    change.record(
        "identity.update", IDENTITY, before, identity,
        details=details, narrows=[identity.id] if changed else [], webhook=WebhookEvent.IDENTITY_UPDATED,
    )  # fmt: skip


async def _link(
    session: AsyncSession,
    provider_id: UUID,
    holder: queries.Holder | None,
    identity_id: UUID,
    link: str | None,
) -> dict[str, Any]:
    """Give a link to an identity; return the event's details if another identity had it."""
    if link is None:
        return {}
    existing: IdentityLink | None = None if holder is None else holder.link
    former = None if existing is None else existing.identity_id
    await point_link(session, provider_id, existing, identity_id, link)
    if former in {None, identity_id}:
        return {}
    return {"link": {"from": format_id(ids.IDENTITY, former), "to": format_id(ids.IDENTITY, identity_id)}}


async def _relink(
    session: AsyncSession, provider_id: UUID, person: Person, record: DirectoryRecord
) -> dict[str, Any]:
    """Update a person's link to the directory's current value; return the event's details.

    Raises ``Conflict`` when it belongs to another active identity. Without a value the last link stays. It also stays
    for an offboarded person, whom some directories rename: it keeps out a leaver with a valid token.
    """
    identity = person.identity
    if record.linked_by is None or record.link is None:
        return {}
    if await queries.own_link(session, provider_id, identity.id, record.link) is not None:
        return {}
    holder = await queries.find_holder(session, provider_id, record.link)
    former = None
    if identity.status != "offboarded":
        former = await queries.own_link(
            session, provider_id, identity.id, getattr(person.user, record.linked_by)
        )
    if holder is not None and holder.identity.id != identity.id:
        if not _releases_link(holder, provider_id, record):
            raise queries.link_taken()
        if former is not None:
            # It is free for the next person that the directory gives it to.
            await session.delete(former)
        return await _link(session, provider_id, holder, identity.id, record.link)
    await point_link(session, provider_id, former, identity.id, record.link)
    return {"link": PERSONAL}


def _releases_link(holder: queries.Holder, provider_id: UUID, record: DirectoryRecord) -> bool:
    """Whether a link may go to a new person: its holder ended, and SCIM has removed them or changed their value."""
    if not holder.is_stopped:
        return False
    if not holder.is_kept_by(provider_id) or holder.user is None or record.linked_by is None:
        return True
    return getattr(holder.user, record.linked_by) not in {None, record.link}


def _new_values(attributes: Mapping[str, str], record: DirectoryRecord) -> dict[str, Any]:
    """The new values of an identity with these attributes, of which those with unmapped names stay."""
    unmapped = {name: value for name, value in attributes.items() if name not in record.mapped}
    return {
        "user_name": comparable_name(record.user_name),
        "external_id": record.external_id,
        "display_name": record.display_name,
        "email": record.email,
        "attributes": unmapped | dict(record.attributes),
    }


def _changed(identity: Identity, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if getattr(identity, name) != value}


def _write_user(user: ScimUser, record: DirectoryRecord) -> None:
    user.user_name, user.external_id = record.user_name, record.external_id
    user.profile = dict(record.profile)


async def _flush(session: AsyncSession) -> None:
    taken = {
        f"uq_{table}_{name}": Conflict(f"Another user has this {shown}.", code=f"{name}_taken")
        for table in ("identities", "scim_users")
        for name, shown in (("user_name", "userName"), ("external_id", "externalId"))
    }
    await flush_unique(session, taken)
