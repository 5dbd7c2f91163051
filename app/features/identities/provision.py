"""Provision people from a directory: create, adopt, change, forget. Offboarding them is a higher feature.

``scim_users`` holds everything that the directory sent; the identity has what other features read of it. Both change in
one transaction under the lock of the identity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, enqueue, identity_message
from app.domain.errors import Conflict, NotFound
from app.features.audit.record import record
from app.features.identities.queries import (
    Holder,
    find_holder,
    keep_identity,
    link_taken,
    lock_identity,
    own_link,
    point_link,
)
from app.features.identities.service import PERSONAL_FIELDS
from app.http.authorization import Caller
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, format_id
from app.lib.names import comparable_name
from app.models.identities import Identity, IdentityLink, ScimUser

SCIM = "scim"
LinkedBy: TypeAlias = Literal["user_name", "external_id"]
_OF_BOTH = ("user_name", "external_id")
_OF_IDENTITY = (*_OF_BOTH, "display_name", "email", "attributes")


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


@dataclass(frozen=True, slots=True)
class Directory:
    """The provisioning service account and provider of a request."""

    provider_id: UUID
    caller: Caller
    request_id: str | None


async def find_person(
    session: AsyncSession, provider_id: UUID, identity_id: UUID, *, lock: bool = False
) -> Person:
    """Find a person whom this provider manages and has not deleted. Raises ``NotFound``, also for others."""
    if lock:
        identity = await lock_identity(session, identity_id)
    else:
        identity = await session.get(Identity, identity_id)
    user = await session.get(ScimUser, identity_id, populate_existing=lock)
    if identity is None or user is None or user.provider_id != provider_id or user.deleted_at is not None:
        raise NotFound("There is no such user.")
    return Person(identity, user)


async def add_person(session: AsyncSession, directory: Directory, record: DirectoryRecord) -> Person:
    """Create the identity of a person, or adopt an existing one.

    The holder of the link decides: an unmanaged one becomes the directory's; an ended one loses the link to a new
    identity, and stays ended. Raises ``Conflict``.
    """
    holder = None
    if record.link is not None:
        holder = await find_holder(session, directory.provider_id, record.link)
    if holder is not None and await holder.may_be_adopted_by(session, directory.provider_id):
        return await _adopt(session, directory, holder, record)
    if holder is not None and not _releases_link(holder, directory.provider_id, record):
        raise link_taken()
    identity = Identity(
        kind="person",
        user_name=comparable_name(record.user_name),
        external_id=record.external_id,
        display_name=record.display_name,
        email=record.email,
        attributes=dict(record.attributes),
        provider_id=directory.provider_id,
        source=SCIM,
    )
    session.add(identity)
    await _flush(session)
    user = ScimUser(identity_id=identity.id, provider_id=directory.provider_id, user_name=record.user_name)
    _write_user(user, record)
    session.add(user)
    await _flush(session)
    await session.refresh(identity)
    changes = _named({name for name in _OF_IDENTITY if getattr(identity, name) not in (None, {})})
    changes |= await _link(session, directory, holder, identity.id, record.link)
    await move_versions(session, [identity.id], narrows=False)
    await keep_identity(session, identity)
    await _tell(session, directory, "identity.create", WebhookEvent.IDENTITY_CREATED, identity, changes)
    return Person(identity, user)


async def change_person(
    session: AsyncSession, directory: Directory, person: Person, record: DirectoryRecord
) -> bool:
    """Update a locked person to the directory's data; return whether anything changed. Raises ``Conflict``."""
    identity, user = person.identity, person.user
    values = _new_values(identity, record)
    changed = {name for name, value in values.items() if getattr(identity, name) != value}
    changes = _named(changed)
    if user.profile != record.profile:
        changes["profile"] = {"personal": True}
    names_changed = (user.user_name, user.external_id) != (record.user_name, record.external_id)
    changes |= await _relink(session, directory, person, record)
    if not changes and not names_changed:
        return False
    for name in changed:
        setattr(identity, name, values[name])
    identity.revision += 1
    _write_user(user, record)
    await _flush(session)
    await session.refresh(identity)
    if changed:
        # A policy may read any attribute.
        await move_versions(session, [identity.id], narrows=True)
    if "attributes" in changed:
        await keep_identity(session, identity)
    await _tell(session, directory, "identity.update", WebhookEvent.IDENTITY_UPDATED, identity, changes)
    return True


async def forget_person(session: AsyncSession, person: Person) -> None:
    """Remove an offboarded, locked person from SCIM: the name is free again."""
    person.user.deleted_at = func.now()  # type: ignore[assignment]
    await session.flush()


async def _adopt(
    session: AsyncSession, directory: Directory, holder: Holder, record: DirectoryRecord
) -> Person:
    """Let the directory manage an unmanaged identity, which keeps everything it has."""
    identity = holder.identity
    values = _new_values(identity, record) | {"provider_id": directory.provider_id, "source": SCIM}
    changed = {name: value for name, value in values.items() if getattr(identity, name) != value}
    changes = _named(changed.keys() & PERSONAL_FIELDS)
    changes["provider_id"] = {
        "from": None if identity.provider_id is None else format_id(IDENTITY_PROVIDER, identity.provider_id),
        "to": format_id(IDENTITY_PROVIDER, directory.provider_id),
    }
    for name, value in changed.items():
        setattr(identity, name, value)
    identity.revision += 1
    user = holder.user or ScimUser(identity_id=identity.id, provider_id=directory.provider_id, user_name="")
    user.provider_id, user.deleted_at = directory.provider_id, None
    _write_user(user, record)
    session.add(user)
    await _flush(session)
    await session.refresh(identity)
    await _link(session, directory, holder, identity.id, record.link)
    await move_versions(session, [identity.id], narrows=True)
    await keep_identity(session, identity)
    await _tell(session, directory, "identity.update", WebhookEvent.IDENTITY_UPDATED, identity, changes)
    return Person(identity, user)


async def _link(
    session: AsyncSession, directory: Directory, holder: Holder | None, identity_id: UUID, link: str | None
) -> dict[str, Any]:
    """Give a link to an identity; return the event fields if another identity had it."""
    if link is None:
        return {}
    existing: IdentityLink | None = None if holder is None else holder.link
    former = None if existing is None else existing.identity_id
    await point_link(session, directory.provider_id, existing, identity_id, link)
    if former in {None, identity_id}:
        return {}
    return {"link": {"from": format_id(IDENTITY, former), "to": format_id(IDENTITY, identity_id)}}


async def _relink(
    session: AsyncSession, directory: Directory, person: Person, record: DirectoryRecord
) -> dict[str, Any]:
    """Update a person's link to the directory's current value; return the event fields.

    Raises ``Conflict`` when it belongs to another active identity. Without a value the last link stays. It also stays
    for an offboarded person, whom some directories rename: it keeps out a leaver with a valid token.
    """
    provider_id, identity = directory.provider_id, person.identity
    if record.linked_by is None or record.link is None:
        return {}
    if await own_link(session, provider_id, identity.id, record.link) is not None:
        return {}
    holder = await find_holder(session, provider_id, record.link)
    former = None
    if identity.status != "offboarded":
        former = await own_link(session, provider_id, identity.id, getattr(person.user, record.linked_by))
    if holder is not None and holder.identity.id != identity.id:
        if not _releases_link(holder, provider_id, record):
            raise link_taken()
        if former is not None:
            # It is free for the next person that the directory gives it to.
            await session.delete(former)
        return await _link(session, directory, holder, identity.id, record.link)
    await point_link(session, provider_id, former, identity.id, record.link)
    return {"link": {"personal": True}}


def _releases_link(holder: Holder, provider_id: UUID, record: DirectoryRecord) -> bool:
    """Whether a link may go to a new person: its holder ended, and SCIM has removed them or changed their value."""
    if not holder.is_stopped:
        return False
    if not holder.is_kept_by(provider_id) or holder.user is None or record.linked_by is None:
        return True
    return getattr(holder.user, record.linked_by) not in {None, record.link}


def _new_values(identity: Identity, record: DirectoryRecord) -> dict[str, Any]:
    """The new values of an identity; attributes with unmapped names stay."""
    unmapped = {name: value for name, value in identity.attributes.items() if name not in record.mapped}
    return {
        "user_name": comparable_name(record.user_name),
        "external_id": record.external_id,
        "display_name": record.display_name,
        "email": record.email,
        "attributes": unmapped | dict(record.attributes),
    }


def _write_user(user: ScimUser, record: DirectoryRecord) -> None:
    user.user_name, user.external_id, user.profile = (
        record.user_name,
        record.external_id,
        dict(record.profile),
    )


def _named(fields: set[str]) -> dict[str, Any]:
    """The event fields for personal data, which could not be erased from it: names without values."""
    return {name: {"personal": True} for name in sorted(fields)}


async def _tell(
    session: AsyncSession,
    directory: Directory,
    action: str,
    event: WebhookEvent,
    identity: Identity,
    changes: dict[str, Any],
) -> None:
    event_id = await record(
        session,
        directory.caller,
        action,
        "identity",
        identity.id,
        changes=changes,
        request_id=directory.request_id,
    )
    await enqueue(session, identity_message(event, identity.id, event_id))


async def _flush(session: AsyncSession) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        for name in _OF_BOTH:
            if f"_{name}" in str(error.orig) and "uq_" in str(error.orig):
                what = "userName" if name == "user_name" else "externalId"
                raise Conflict(f"Another user has this {what}.", code=f"{name}_taken") from None
        raise
