"""Create, confirm and revoke invitations, and accept them by a browser sign-in.

An email address never links by itself. Opening the invitation link in the same browser proves that the person received
it; the provider proves that the account is theirs, by the subject or a verified address. With both, the account is
linked immediately. With one of them, an administrator confirms it. With neither, nothing happens. An identity that has
the role owner or admin by now can only be linked by callers who may act on it.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Peppers
from app.db.change import Change, Subject
from app.db.engine import commit
from app.db.webhook_events import WebhookEvent
from app.domain.errors import Conflict, Forbidden, Invalid, NotFound
from app.domain.token_format import INVITATION as SECRET_PREFIX
from app.domain.token_format import parse_credential
from app.features.administrators.browser_sessions import SignedIn
from app.features.administrators.claims import email_of, read_holder
from app.features.administrators.queries import find_link_holder
from app.features.identities.queries import lock_identity
from app.features.identities.role_checks import check_may_change, check_not_self, roles_behind
from app.features.identities.schemas import IdentityCreate
from app.features.identities.service import add_account, create_identity
from app.features.identity_providers import queries as providers
from app.features.identity_providers.queries import lock_link_claim
from app.features.invitations import queries
from app.features.invitations.schemas import InvitationCreate, InvitationQuery, InvitationView
from app.features.service_accounts.authenticate import is_credential_of, new_credential
from app.http.authorization import MANAGING_ROLES, Caller, Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Cursors, Page, read_page
from app.http.runtime import Runtime
from app.lib import ids
from app.lib.ids import format_id
from app.models.identities import Identity, Invitation

_OPEN = ("pending", "claimed")

INVITATION = Subject("invitation", webhook=("identity_id",))
LIFETIME = timedelta(days=7)
MAX_LIFETIME = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """A new invitation. ``secret`` is the only copy; it never shows in ``repr``."""

    reading: queries.InvitationReading
    secret: str = field(repr=False)


async def create_invitation(change: Change, peppers: Peppers, body: InvitationCreate) -> NewInvitation:
    """Invite an existing person or a new one. An open invitation of the same person at this provider is revoked.

    Raises ``Invalid``, ``Conflict`` as creating an identity does, and ``Forbidden`` for a person whom the caller may
    not link to an account.
    """
    session = change.session
    if (body.identity_id is None) == (body.person is None):
        raise Invalid.field("/person", "one_of", "Give identity_id or person, exactly one of them.")
    if (body.email is None) == (body.subject is None):
        raise Invalid.field("/email", "one_of", "Give email or subject, exactly one of them.")
    expires_at = body.expires_at or change.now + LIFETIME
    if not change.now < expires_at <= change.now + MAX_LIFETIME:
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
    identity = await _person(change, body)
    await end_invitations(session, identity.id, body.provider_id)
    secret, stored = new_credential(peppers, SECRET_PREFIX)
    row = Invitation(
        **stored,
        identity_id=identity.id,
        provider_id=body.provider_id,
        email=body.email,
        subject=body.subject,
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()
    details = {
        "identity_id": format_id(ids.IDENTITY, identity.id),
        "provider_id": format_id(ids.IDENTITY_PROVIDER, body.provider_id),
        "for": "email" if body.subject is None else "subject",
        "expires_at": expires_at,
    }
    change.record("invitation.create", INVITATION, None, row, details=details)
    return NewInvitation(await require_invitation(session, row.id), secret)


async def list_invitations(
    session: AsyncSession, query: InvitationQuery, runtime: Runtime
) -> Page[InvitationView]:
    """Read a page of invitations with their status."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_invitations", query.filters())
    rows, following = await read_page(session, queries.select_invitations(query), Invitation, cursors, query)
    invitations = await queries.find_invitations(session, [row.id for row in rows])
    items = [InvitationView.from_row(row, invitations[row.id].status) for row in rows]
    return Page(items=items, next_cursor=following)


async def require_invitation(
    session: AsyncSession, id: UUID, *, lock: bool = False
) -> queries.InvitationReading:
    """Read an invitation; with ``lock``, in its state once locked. Raises ``NotFound``."""
    invitation = await queries.find_invitation(session, id, lock=lock)
    if invitation is None:
        raise NotFound("There is no such invitation.")
    return invitation


async def confirm_invitation(change: Change, id: UUID, if_match: Precondition) -> queries.InvitationReading:
    """Link the account that claimed the invitation to the identity. A repeat changes nothing.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden``, and ``Conflict`` when no account waits, the identity is
    not active, or the account is linked to another identity by now.
    """
    identity, invitation = await lock_with_identity(change.session, id)
    if_match.check(invitation.row.revision)
    if invitation.status == "confirmed":
        return invitation
    await _check_may_link(change, identity.id)
    if invitation.status != "claimed" or invitation.row.claimed_link is None:
        raise Conflict(
            f"This invitation is {invitation.status}: only one that an account has claimed can be confirmed.",
            code="invitation_not_claimed",
        )
    if identity.status != "active":
        raise Conflict(f"This identity is {identity.status}; reinstate it first.", code="identity_not_active")
    return await link_account(change, identity, invitation.row, invitation.row.claimed_link)


async def revoke_invitation(change: Change, id: UUID, if_match: Precondition) -> queries.InvitationReading:
    """Revoke an invitation; an ended one is unchanged.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden``, and ``Conflict`` for a confirmed one.
    """
    session = change.session
    identity, invitation = await lock_with_identity(session, id)
    if_match.check(invitation.row.revision)
    await check_may_change(session, change.caller, identity.id)
    if invitation.status == "confirmed":
        raise Conflict(
            "This invitation is confirmed: remove the link of the identity instead.",
            code="invitation_already_confirmed",
        )
    if invitation.status not in {"pending", "claimed"}:
        return invitation
    await end_invitations(session, identity.id, invitation.row.provider_id)
    change.record("invitation.revoke", INVITATION, invitation.row)
    return await require_invitation(session, id)


async def link_account(
    change: Change, identity: Identity, row: Invitation, link: str
) -> queries.InvitationReading:
    """Link an account to a locked identity, and confirm its locked invitation. Raises ``Conflict``."""
    session = change.session
    because = {"invitation_id": format_id(ids.INVITATION, row.id)}
    await add_account(change, identity, row.provider_id, link, because)
    row.status = "confirmed"
    row.confirmed_at = func.clock_timestamp()  # type: ignore[assignment]
    row.revision += 1
    await session.flush()
    change.record("invitation.confirm", INVITATION, row, webhook=WebhookEvent.INVITATION_CONFIRMED)
    return await require_invitation(session, row.id)


async def lock_with_identity(session: AsyncSession, id: UUID) -> tuple[Identity, queries.InvitationReading]:
    """Lock an invitation and its identity. Raises ``NotFound``."""
    unlocked = await require_invitation(session, id)
    identity = await lock_identity(session, unlocked.row.identity_id)
    invitation = await require_invitation(session, id, lock=True)
    if identity is None:
        raise AssertionError("an invitation's identity is never deleted")
    return identity, invitation


async def _person(change: Change, body: InvitationCreate) -> Identity:
    session = change.session
    if body.person is not None:
        new = body.person.model_dump() | {"email": body.person.email or body.email}
        return await create_identity(change, IdentityCreate(kind="person", **new))
    identity = None if body.identity_id is None else await lock_identity(session, body.identity_id)
    if identity is None or identity.kind != "person" or identity.status != "active":
        raise Invalid.field("/identity_id", "not_an_active_person", "Name a person who is active.")
    await _check_may_link(change, identity.id)
    return identity


async def _check_may_link(change: Change, identity_id: UUID) -> None:
    """Raise ``Forbidden`` unless the caller may decide who signs in as an identity, which gives everything that it was
    granted."""
    authorize(change.caller, Permission.GRANTS_WRITE)
    await check_not_self(change.session, change.caller, identity_id)
    await check_may_change(change.session, change.caller, identity_id)


@dataclass(frozen=True, slots=True)
class _Account:
    """The account of a sign-in: ``email`` and whether it is verified come from the same token."""

    link: str
    email: str | None
    verified: bool

    def fits(self, row: Invitation) -> bool:
        """Whether an invitation is for this account."""
        if row.subject is not None:
            return row.subject == self.link
        if self.email is None or row.email is None:
            return False
        # Only ASCII is case-insensitive: Python maps the Kelvin sign to k, but that is another person's address.
        return self.email.encode().lower() == row.email.encode().lower()


async def open_invitation(
    session: AsyncSession, peppers: Peppers, secret: str
) -> queries.InvitationReading | None:
    """Find the invitation of a link, in any status. None for an invalid secret."""
    credential = parse_credential(secret, SECRET_PREFIX)
    if credential is None:
        return None
    invitation = await queries.find_invitation(session, credential.id)
    row = None if invitation is None else invitation.row
    return invitation if is_credential_of(peppers, row, credential) else None


async def accept_invitation(
    sessions: async_sessionmaker[AsyncSession],
    peppers: Peppers,
    signed_in: SignedIn,
    opened: str | None,
    request_id: str | None,
) -> None:
    """Link the account of a sign-in to the identity of its invitation, or let it wait for an administrator.

    ``opened`` is the secret of the link that this browser has opened. Accounts that are linked or admitted by a group
    are unchanged. Raises ``Forbidden``, with a message for the person, when they have to wait or the link is for
    another account.
    """
    provider, holder = signed_in.provider, read_holder(signed_in.provider, signed_in.claims)
    account = _account_of(signed_in, holder.link)
    async with sessions() as session:
        link_holder = await find_link_holder(session, provider.id, holder.link)
        if link_holder is None or link_holder.identity_id is not None:
            return
        link = None if opened is None else await open_invitation(session, peppers, opened)
        if link is not None and link.row.provider_id != provider.id:
            link = None
        if holder.may_join and link is None:
            return
        if await queries.is_claimed_by(session, provider.id, holder.link):
            raise _needs_confirmation()
        email = account.email if account.verified else None
        invitation = link or await queries.find_invited(session, provider.id, holder.link, email)
        if invitation is None:
            return
        claimed = await _use(
            session, signed_in, account, invitation.row.id, request_id, has_link=link is not None
        )
        await commit(session)
    if claimed:
        raise _needs_confirmation()


async def _use(
    session: AsyncSession,
    signed_in: SignedIn,
    account: _Account,
    id: UUID,
    request_id: str | None,
    *,
    has_link: bool,
) -> bool:
    """Use an invitation; return whether an administrator must confirm it."""
    identity, invitation = await lock_with_identity(session, id)
    row = invitation.row
    if invitation.status != "pending" or identity.status != "active":
        raise Forbidden(
            "This invitation is no longer valid: ask the administrator who sent it for another one."
        )
    if not account.fits(row):
        raise Forbidden("This invitation is for another account of your provider: sign in with that one.")
    if await lock_link_claim(session, row.provider_id) != signed_in.provider.link_claim:
        # The provider changed since the token was read: this is the value of another claim.
        raise Forbidden("The settings of your provider just changed: sign in again.")
    is_managing = not MANAGING_ROLES.isdisjoint(await roles_behind(session, identity.id))
    # By more than an address that anyone can type.
    is_proven = row.subject is not None or account.verified
    if has_link and is_proven and not is_managing:
        person = Caller.person(identity.id)
        await link_account(await Change.begin(session, person, request_id), identity, row, account.link)
        return False
    row.status = "claimed"
    row.claimed_link, row.claimed_email = account.link, account.email
    row.claimed_email_verified = account.verified
    row.claimed_at = func.clock_timestamp()  # type: ignore[assignment]
    row.revision += 1
    await session.flush()
    details = {"identity_id": format_id(ids.IDENTITY, identity.id), "link_opened": has_link}
    change = await Change.begin(session, Caller.system(), request_id)
    change.record(
        "invitation.claim", INVITATION, row, row, details=details, webhook=WebhookEvent.INVITATION_CLAIMED
    )
    return True


def _account_of(signed_in: SignedIn, link: str) -> _Account:
    """The email address in the ID token, or in the access token if that has none."""
    for claims in (signed_in.id_claims, signed_in.claims):
        email = email_of(claims)
        if email is not None:
            return _Account(link, email, claims.get("email_verified") is True)
    return _Account(link, None, verified=False)


def _needs_confirmation() -> Forbidden:
    return Forbidden(
        "Your provider knows you. An administrator has to confirm that you are the person who was invited: sign in "
        "again once they have."
    )


async def end_invitations(session: AsyncSession, identity_id: UUID, provider_id: UUID | None = None) -> None:
    """Revoke the open invitations of a locked identity, at one provider or at all of them."""
    at_provider = [] if provider_id is None else [col(Invitation.provider_id) == provider_id]
    await _revoke(session, col(Invitation.identity_id) == identity_id, *at_provider)


async def end_invitations_with_claim(session: AsyncSession, provider_id: UUID) -> None:
    """Revoke the open invitations with a value of a locked provider's link claim."""
    with_value = or_(col(Invitation.status) == "claimed", col(Invitation.subject).is_not(None))
    await _revoke(session, col(Invitation.provider_id) == provider_id, with_value)


async def _revoke(session: AsyncSession, *conditions: ColumnElement[bool]) -> None:
    await session.execute(
        update(Invitation)
        .where(*conditions, col(Invitation.status).in_(_OPEN))
        .values(status="revoked", revision=col(Invitation.revision) + 1)
        .execution_options(synchronize_session=False)
    )


async def erase(change: Change, identity_id: UUID) -> None:
    """Erase the personal data in the invitations of a person."""
    await change.session.execute(
        update(Invitation)
        .where(col(Invitation.identity_id) == identity_id)
        .values(email=None, subject=None, claimed_link=None, claimed_email=None)
        .execution_options(synchronize_session=False)
    )
