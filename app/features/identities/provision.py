"""Verbs of people whom a directory keeps: made, taken over, changed, forgotten. Ending them stands above: offboarding.

What a directory says is in ``scim_users``, whole; the identity has what the rest of us reads of it. Both change in one
transaction under the lock of the identity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.outbox import enqueue
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, identity_message
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
class Said:
    """What a directory says of a person.

    ``attributes`` are those that policies read, of the names ``mapped``, which no other source gives. ``linked_by`` is
    which of both names the provider's link claim has in the person's tokens. ``profile`` is what SCIM has beyond all
    that.
    """

    user_name: str
    """As the directory writes it, and is shown it again. The identity has its comparable form."""
    external_id: str | None = None
    display_name: str | None = None
    email: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    mapped: frozenset[str] = frozenset()
    profile: dict[str, Any] = field(default_factory=dict)
    linked_by: LinkedBy | None = None

    @property
    def link(self) -> str | None:
        """The value of the link, if the directory says it."""
        return None if self.linked_by is None else getattr(self, self.linked_by)


@dataclass(frozen=True, slots=True)
class Person:
    """An identity that a provider keeps, and what SCIM says of it; both rows of one transaction."""

    identity: Identity
    user: ScimUser


@dataclass(frozen=True, slots=True)
class Directory:
    """Who provisions: the service account of a provider, in one request."""

    provider_id: UUID
    caller: Caller
    request_id: str | None


async def find_person(
    session: AsyncSession, provider_id: UUID, identity_id: UUID, *, lock: bool = False
) -> Person:
    """A person whom this provider keeps and has not deleted. Raises ``NotFound``, for those of others too."""
    if lock:
        identity = await lock_identity(session, identity_id)
    else:
        identity = await session.get(Identity, identity_id)
    user = await session.get(ScimUser, identity_id, populate_existing=lock)
    if identity is None or user is None or user.provider_id != provider_id or user.deleted_at is not None:
        raise NotFound("There is no such user.")
    return Person(identity, user)


async def add_person(session: AsyncSession, directory: Directory, said: Said) -> Person:
    """Make the identity of a person, or take over the one that they have already.

    Whose link it is decides: one that nobody keeps becomes the directory's; one that ended loses the link to a new
    identity, and stays ended. Raises ``Conflict``.
    """
    holder = None
    if said.link is not None:
        holder = await find_holder(session, directory.provider_id, said.link)
    if holder is not None and await holder.may_be_adopted_by(session, directory.provider_id):
        return await _adopt(session, directory, holder, said)
    if holder is not None and not _lets_go(holder, directory.provider_id, said):
        raise link_taken()
    identity = Identity(
        kind="person",
        user_name=comparable_name(said.user_name),
        external_id=said.external_id,
        display_name=said.display_name,
        email=said.email,
        attributes=dict(said.attributes),
        provider_id=directory.provider_id,
        source=SCIM,
    )
    session.add(identity)
    await _flush(session)
    user = ScimUser(identity_id=identity.id, provider_id=directory.provider_id, user_name=said.user_name)
    _write_user(user, said)
    session.add(user)
    await _flush(session)
    await session.refresh(identity)
    changes = _named({name for name in _OF_IDENTITY if getattr(identity, name) not in (None, {})})
    changes |= await _link(session, directory, holder, identity.id, said.link)
    await move_versions(session, [identity.id], narrows=False)
    await keep_identity(session, identity)
    await _tell(session, directory, "identity.create", WebhookEvent.IDENTITY_CREATED, identity, changes)
    return Person(identity, user)


async def change_person(session: AsyncSession, directory: Directory, person: Person, said: Said) -> bool:
    """Bring a locked person to what the directory says now; whether that is anything new. Raises ``Conflict``."""
    identity, user = person.identity, person.user
    wanted = _wanted(identity, said)
    moved = {name for name, value in wanted.items() if getattr(identity, name) != value}
    changes = _named(moved)
    if user.profile != said.profile:
        changes["profile"] = {"personal": True}
    said_anew = (user.user_name, user.external_id) != (said.user_name, said.external_id)
    changes |= await _relink(session, directory, person, said)
    if not changes and not said_anew:
        return False
    for name in moved:
        setattr(identity, name, wanted[name])
    identity.revision += 1
    _write_user(user, said)
    await _flush(session)
    await session.refresh(identity)
    if moved:
        # A policy may read any attribute.
        await move_versions(session, [identity.id], narrows=True)
    if "attributes" in moved:
        await keep_identity(session, identity)
    await _tell(session, directory, "identity.update", WebhookEvent.IDENTITY_UPDATED, identity, changes)
    return True


async def forget_person(session: AsyncSession, person: Person) -> None:
    """Let SCIM not know a locked person any more, once they are offboarded: the name is free again."""
    person.user.deleted_at = func.now()  # type: ignore[assignment]
    await session.flush()


async def _adopt(session: AsyncSession, directory: Directory, holder: Holder, said: Said) -> Person:
    """Make an identity that nobody keeps the directory's: it stays who it is, with all that it has."""
    identity = holder.identity
    wanted = _wanted(identity, said) | {"provider_id": directory.provider_id, "source": SCIM}
    moved = {name: value for name, value in wanted.items() if getattr(identity, name) != value}
    changes = _named(moved.keys() & PERSONAL_FIELDS)
    changes["provider_id"] = {
        "from": None if identity.provider_id is None else format_id(IDENTITY_PROVIDER, identity.provider_id),
        "to": format_id(IDENTITY_PROVIDER, directory.provider_id),
    }
    for name, value in moved.items():
        setattr(identity, name, value)
    identity.revision += 1
    user = holder.user or ScimUser(identity_id=identity.id, provider_id=directory.provider_id, user_name="")
    user.provider_id, user.deleted_at = directory.provider_id, None
    _write_user(user, said)
    session.add(user)
    await _flush(session)
    await session.refresh(identity)
    await _link(session, directory, holder, identity.id, said.link)
    await move_versions(session, [identity.id], narrows=True)
    await keep_identity(session, identity)
    await _tell(session, directory, "identity.update", WebhookEvent.IDENTITY_UPDATED, identity, changes)
    return Person(identity, user)


async def _link(
    session: AsyncSession, directory: Directory, holder: Holder | None, identity_id: UUID, link: str | None
) -> dict[str, Any]:
    """Give a link to an identity. What the event says of one that was somebody else's."""
    if link is None:
        return {}
    held: IdentityLink | None = None if holder is None else holder.link
    former = None if held is None else held.identity_id
    await point_link(session, directory.provider_id, held, identity_id, link)
    if former in {None, identity_id}:
        return {}
    return {"link": {"from": format_id(IDENTITY, former), "to": format_id(IDENTITY, identity_id)}}


async def _relink(session: AsyncSession, directory: Directory, person: Person, said: Said) -> dict[str, Any]:
    """Have a person be known by the value that the directory says now. What the event says of it.

    Raises ``Conflict`` when that is somebody else's who has not ended. Without a value the last one stays, and so it
    does of somebody offboarded, whom some directories rename: it is what keeps a leaver out who has a token yet.
    """
    provider_id, identity = directory.provider_id, person.identity
    if said.linked_by is None or said.link is None:
        return {}
    if await own_link(session, provider_id, identity.id, said.link) is not None:
        return {}
    holder = await find_holder(session, provider_id, said.link)
    former = None
    if identity.status != "offboarded":
        former = await own_link(session, provider_id, identity.id, getattr(person.user, said.linked_by))
    if holder is not None and holder.identity.id != identity.id:
        if not _lets_go(holder, provider_id, said):
            raise link_taken()
        if former is not None:
            # It is free for whoever the directory gives it to next.
            await session.delete(former)
        return await _link(session, directory, holder, identity.id, said.link)
    await point_link(session, provider_id, former, identity.id, said.link)
    return {"link": {"personal": True}}


def _lets_go(holder: Holder, provider_id: UUID, said: Said) -> bool:
    """Whether a link may go on to somebody new: its holder ended, and SCIM does not know them any more, or by another
    value now."""
    if not holder.is_stopped:
        return False
    if not holder.is_kept_by(provider_id) or holder.user is None or said.linked_by is None:
        return True
    return getattr(holder.user, said.linked_by) not in {None, said.link}


def _wanted(identity: Identity, said: Said) -> dict[str, Any]:
    """What the directory makes of an identity; attributes of names that it does not map stay."""
    kept = {name: value for name, value in identity.attributes.items() if name not in said.mapped}
    return {
        "user_name": comparable_name(said.user_name),
        "external_id": said.external_id,
        "display_name": said.display_name,
        "email": said.email,
        "attributes": kept | dict(said.attributes),
    }


def _write_user(user: ScimUser, said: Said) -> None:
    user.user_name, user.external_id, user.profile = said.user_name, said.external_id, dict(said.profile)


def _named(fields: set[str]) -> dict[str, Any]:
    """What an event says of fields that hold what nobody could erase from it."""
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
