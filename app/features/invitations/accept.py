"""Accept an invitation: a browser sign-in by an account that is not linked to an identity.

An email address never links by itself. Opening the invitation link in the same browser proves that the person received
it; the provider proves that the account is theirs, by the subject or a verified address. With both, the account is
linked immediately. With one of them, an administrator confirms it. With neither, nothing happens. An identity that has
the role owner or admin by now can only be linked by callers who may act on it.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Peppers
from app.db.engine import commit
from app.db.outbox import enqueue
from app.db.webhook_events import WebhookEvent, invitation_message
from app.domain.errors import Forbidden
from app.domain.token_format import INVITATION, parse_credential
from app.features.administrators.browser_sign_in import SignedIn
from app.features.administrators.claims import email_of, read_holder
from app.features.administrators.queries import find_link_holder
from app.features.audit.record import record
from app.features.identities.role_checks import roles_behind
from app.features.identity_providers.queries import lock_link_claim
from app.features.invitations.queries import InvitationReading, find_invitation, find_invited, is_claimed_by
from app.features.invitations.service import KIND, link_account, lock_with_identity
from app.http.authorization import MANAGING_ROLES, Caller
from app.lib.ids import IDENTITY, format_id
from app.models.identities import Invitation

_NO_DIGEST = bytes(32)
_SYSTEM = Caller("system", UUID(int=0), frozenset())


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

    def is_proven(self, row: Invitation) -> bool:
        """Whether the provider proves it, by more than an address that anyone can type."""
        return row.subject is not None or self.verified


async def open_invitation(session: AsyncSession, peppers: Peppers, secret: str) -> InvitationReading | None:
    """Find the invitation of a link, in any status. None for an invalid secret."""
    credential = parse_credential(secret, INVITATION)
    if credential is None:
        return None
    invitation = await find_invitation(session, credential.id)
    stored = ("", _NO_DIGEST) if invitation is None else (invitation.row.pepper_key_id, invitation.row.digest)
    return invitation if peppers.matches(*stored, credential.digest_input) else None


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
        if await is_claimed_by(session, provider.id, holder.link):
            raise _needs_confirmation()
        if link is None:
            invitation = await find_invited(
                session, provider.id, holder.link, account.email if account.verified else None
            )
        else:
            invitation = link
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
    if has_link and account.is_proven(row) and not is_managing:
        person = Caller("identity", identity.id, frozenset(), identity.id)
        await link_account(session, person, identity, row, account.link, request_id)
        return False
    row.status = "claimed"
    row.claimed_link, row.claimed_email = account.link, account.email
    row.claimed_email_verified = account.verified
    row.claimed_at = func.clock_timestamp()  # type: ignore[assignment]
    row.revision += 1
    await session.flush()
    changes: dict[str, Any] = {"identity_id": format_id(IDENTITY, identity.id), "link_opened": has_link}
    event_id = await record(
        session, _SYSTEM, "invitation.claim", KIND, row.id, changes=changes, request_id=request_id
    )
    await enqueue(session, invitation_message(WebhookEvent.INVITATION_CLAIMED, row.id, identity.id, event_id))
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
