"""Create, confirm and revoke invitations. Services flush; the request commits."""

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Peppers
from app.db.outbox import enqueue
from app.db.webhook_events import WebhookEvent, identity_message, invitation_message
from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.token_format import INVITATION as SECRET_PREFIX
from app.domain.token_format import SECRET_BYTES, format_credential
from app.features.audit.record import record
from app.features.identities.linking import add_link
from app.features.identities.queries import OIDC, lock_identity
from app.features.identities.role_checks import check_may_change, check_not_self
from app.features.identities.schemas import IdentityCreate
from app.features.identities.service import create_identity
from app.features.identity_providers import queries as providers
from app.features.invitations.queries import InvitationReading, end_invitations, find_invitation
from app.features.invitations.schemas import InvitationCreate
from app.features.service_accounts.authenticate import digest_of
from app.http.authorization import Caller, Permission, authorize
from app.http.etags import Precondition
from app.lib.clock import Clock
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, INVITATION, format_id, new_id
from app.models.identities import Identity, Invitation

KIND = "invitation"
LIFETIME = timedelta(days=7)
MAX_LIFETIME = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """A new invitation. ``secret`` is the only copy; it never shows in ``repr``."""

    reading: InvitationReading
    secret: str = field(repr=False)


async def create_invitation(
    session: AsyncSession,
    peppers: Peppers,
    caller: Caller,
    body: InvitationCreate,
    clock: Clock,
    request_id: str | None,
) -> NewInvitation:
    """Invite an existing person or a new one. An open invitation of the same person at this provider is revoked.

    Raises ``Invalid``, ``Conflict`` as creating an identity does, and ``Forbidden`` for a person whom the caller may
    not link to an account.
    """
    _check_one_of(body)
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    expires_at = body.expires_at or now + LIFETIME
    if not now < expires_at <= now + MAX_LIFETIME:
        raise Invalid.field("/expires_at", "out_of_range", "Choose a time within the next 30 days.")
    provider = await providers.find(session, body.provider_id)
    if provider is None or provider.issuer is None or provider.status != "active":
        raise Invalid.field("/provider_id", "not_found", "There is no such active provider.")
    if provider.settings.get("client_id") is None:
        raise Invalid.field(
            "/provider_id",
            "no_client_id",
            "No one signs in at this provider with a browser: set its client_id first.",
        )
    identity = await _person(session, caller, body, clock, request_id)
    await end_invitations(session, identity.id, body.provider_id)
    id = new_id()
    secret = format_credential(SECRET_PREFIX, id, os.urandom(SECRET_BYTES))
    session.add(
        Invitation(
            id=id,
            identity_id=identity.id,
            provider_id=body.provider_id,
            email=body.email,
            subject=body.subject,
            digest=digest_of(peppers, secret, SECRET_PREFIX),
            pepper_key_id=peppers.current_id,
            expires_at=expires_at,
        )
    )
    await session.flush()
    made = await require_invitation(session, id)
    changes = {
        "identity_id": format_id(IDENTITY, identity.id),
        "provider_id": format_id(IDENTITY_PROVIDER, body.provider_id),
        "for": "email" if body.subject is None else "subject",
        "expires_at": expires_at.isoformat(),
    }
    await record(session, caller, "invitation.create", KIND, id, changes=changes, request_id=request_id)
    return NewInvitation(made, secret)


async def require_invitation(session: AsyncSession, id: UUID) -> InvitationReading:
    """Read an invitation. Raises ``NotFound``."""
    return _require(await find_invitation(session, id))


async def confirm_invitation(
    session: AsyncSession, caller: Caller, id: UUID, if_match: Precondition, request_id: str | None
) -> InvitationReading:
    """Link the account that claimed the invitation to the identity. A repeat changes nothing.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden``, and ``Conflict`` when no account waits, the identity is
    not active, or the account is linked to another identity by now.
    """
    identity, invitation = await lock_with_identity(session, id)
    if_match.check(invitation.row.revision)
    if invitation.status == "confirmed":
        return invitation
    await _check_may_link(session, caller, identity.id)
    if invitation.status != "claimed" or invitation.row.claimed_link is None:
        raise Conflict(
            f"This invitation is {invitation.status}: only one that an account has claimed can be confirmed.",
            code="invitation_not_claimed",
        )
    if identity.status != "active":
        raise Conflict(f"This identity is {identity.status}; reinstate it first.", code="identity_not_active")
    return await link_account(
        session, caller, identity, invitation.row, invitation.row.claimed_link, request_id
    )


async def revoke_invitation(
    session: AsyncSession, caller: Caller, id: UUID, if_match: Precondition, request_id: str | None
) -> InvitationReading:
    """Revoke an invitation; an ended one is unchanged.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden``, and ``Conflict`` for a confirmed one.
    """
    identity, invitation = await lock_with_identity(session, id)
    if_match.check(invitation.row.revision)
    await check_may_change(session, caller, identity.id)
    if invitation.status == "confirmed":
        raise Conflict(
            "This invitation is confirmed: remove the link of the identity instead.",
            code="invitation_already_confirmed",
        )
    if invitation.status not in {"pending", "claimed"}:
        return invitation
    await end_invitations(session, identity.id, invitation.row.provider_id)
    await record(session, caller, "invitation.revoke", KIND, id, request_id=request_id)
    return await require_invitation(session, id)


async def link_account(
    session: AsyncSession,
    caller: Caller,
    identity: Identity,
    row: Invitation,
    link: str,
    request_id: str | None,
) -> InvitationReading:
    """Link an account to a locked identity, and confirm its locked invitation. Raises ``Conflict``."""
    await add_link(session, identity, row.provider_id, OIDC, link)
    row.status = "confirmed"
    row.confirmed_at = func.clock_timestamp()  # type: ignore[assignment]
    row.revision += 1
    identity.revision += 1
    await session.flush()
    added = {"provider_id": format_id(IDENTITY_PROVIDER, row.provider_id), "kind": OIDC}
    changes: dict[str, Any] = {"links": {"added": [added], "removed": []}}
    changes["invitation_id"] = format_id(INVITATION, row.id)
    updated = await record(
        session, caller, "identity.update", "identity", identity.id, changes=changes, request_id=request_id
    )
    confirmed = await record(session, caller, "invitation.confirm", KIND, row.id, request_id=request_id)
    await enqueue(
        session,
        identity_message(WebhookEvent.IDENTITY_UPDATED, identity.id, updated),
        invitation_message(WebhookEvent.INVITATION_CONFIRMED, row.id, identity.id, confirmed),
    )
    await session.refresh(identity)
    return await require_invitation(session, row.id)


async def lock_with_identity(session: AsyncSession, id: UUID) -> tuple[Identity, InvitationReading]:
    """Lock an invitation and its identity. Raises ``NotFound``."""
    unlocked = await require_invitation(session, id)
    identity = await lock_identity(session, unlocked.row.identity_id)
    invitation = await find_invitation(session, id, lock=True)
    if identity is None:
        raise AssertionError("an invitation's identity is never deleted")
    return identity, _require(invitation)


async def _person(
    session: AsyncSession, caller: Caller, body: InvitationCreate, clock: Clock, request_id: str | None
) -> Identity:
    if body.person is not None:
        new = body.person.model_dump() | {"email": body.person.email or body.email}
        return await create_identity(session, caller, IdentityCreate(kind="person", **new), clock, request_id)
    identity = None if body.identity_id is None else await lock_identity(session, body.identity_id)
    if identity is None or identity.kind != "person" or identity.status != "active":
        raise Invalid.field("/identity_id", "not_an_active_person", "Name a person who is active.")
    await _check_may_link(session, caller, identity.id)
    return identity


async def _check_may_link(session: AsyncSession, caller: Caller, identity_id: UUID) -> None:
    """Raise ``Forbidden`` unless the caller may decide who signs in as an identity, which gives everything that it was
    granted."""
    authorize(caller, Permission.GRANTS_WRITE)
    await check_not_self(session, caller, identity_id)
    await check_may_change(session, caller, identity_id)


def _check_one_of(body: InvitationCreate) -> None:
    if (body.identity_id is None) == (body.person is None):
        raise Invalid.field("/person", "one_of", "Give identity_id or person, exactly one of them.")
    if (body.email is None) == (body.subject is None):
        raise Invalid.field("/email", "one_of", "Give email or subject, exactly one of them.")


def _require(invitation: InvitationReading | None) -> InvitationReading:
    if invitation is None:
        raise NotFound("There is no such invitation.")
    return invitation
