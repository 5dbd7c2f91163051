"""The operations of invitations, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.invitation import Invitation
from ...models.invitation_status import InvitationStatus
from ...models.invited_person import InvitedPerson
from ...models.issued_invitation import IssuedInvitation
from ...types import UNSET, Unset
from . import confirm_invitation as _confirm_invitation
from . import create_invitation as _create_invitation
from . import get_invitation as _get_invitation
from . import list_invitations as _list_invitations
from . import revoke_invitation as _revoke_invitation


class InvitationsResource(Resource):
    """One-time links that let people sign in with their own account, without a directory."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: InvitationStatus | Sequence[InvitationStatus] | None = None,
        identity_id: str | Sequence[str] | None = None,
        provider_id: str | Sequence[str] | None = None,
    ) -> Listing[Invitation]:
        """List invitations, newest first.

        Needs the permission `identities.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_invitations.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                identity_id=identity_id,
                provider_id=provider_id,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        provider_id: str,
        identity_id: str | None | Unset = UNSET,
        person: InvitedPerson | JsonObject | None | Unset = UNSET,
        email: str | None | Unset = UNSET,
        subject: str | None | Unset = UNSET,
        expires_at: datetime.datetime | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> IssuedInvitation:
        """Invite a person to sign in.

        Only this response has the link. It can be used once; an open invitation of the same person at the
        same provider
        is revoked.

        Needs the permission `identities.write`.

        Args:
            provider_id: The provider that the person signs in at.
            identity_id: An existing person; needs the permission `grants.write`. Or give `person`.
            person: A new person. Or give `identity_id`.
            email: The address of their account. Or give `subject`.
            subject: The value of the provider's `link_claim` of their account. Or give `email`.
            expires_at: At most 30 days ahead; in seven days by default.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_invitation.call(
                {
                    "provider_id": provider_id,
                    "identity_id": identity_id,
                    "person": person,
                    "email": email,
                    "subject": subject,
                    "expires_at": expires_at,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        invitation_id: str,
    ) -> Invitation:
        """Read one invitation.

        Needs the permission `identities.read`.

        Args:
            invitation_id: The id of an invitation.
        """
        return self._send(
            _get_invitation.call(
                invitation_id,
            )
        )

    def revoke(
        self,
        invitation_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Invitation:
        """Revoke an invitation.

        Makes the link invalid. A repeat changes nothing; a confirmed invitation cannot be revoked.

        Needs the permission `identities.write`.

        Args:
            invitation_id: The id of an invitation.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _revoke_invitation.call(
                invitation_id,
                if_match=if_match,
            )
        )

    def confirm(
        self,
        invitation_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Invitation:
        """Confirm the account that has claimed an invitation.

        Links the account in `claim` to the identity, which it signs in as from then on. Also needs the
        permission
        `grants.write`. A repeat changes nothing.

        Needs the permission `identities.write`.

        Args:
            invitation_id: The id of an invitation.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _confirm_invitation.call(
                invitation_id,
                if_match=if_match,
            )
        )


class AsyncInvitationsResource(AsyncResource):
    """One-time links that let people sign in with their own account, without a directory."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: InvitationStatus | Sequence[InvitationStatus] | None = None,
        identity_id: str | Sequence[str] | None = None,
        provider_id: str | Sequence[str] | None = None,
    ) -> AsyncListing[Invitation]:
        """List invitations, newest first.

        Needs the permission `identities.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
        """
        return self._list(
            lambda cursor: _list_invitations.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                identity_id=identity_id,
                provider_id=provider_id,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        provider_id: str,
        identity_id: str | None | Unset = UNSET,
        person: InvitedPerson | JsonObject | None | Unset = UNSET,
        email: str | None | Unset = UNSET,
        subject: str | None | Unset = UNSET,
        expires_at: datetime.datetime | None | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> IssuedInvitation:
        """Invite a person to sign in.

        Only this response has the link. It can be used once; an open invitation of the same person at the
        same provider
        is revoked.

        Needs the permission `identities.write`.

        Args:
            provider_id: The provider that the person signs in at.
            identity_id: An existing person; needs the permission `grants.write`. Or give `person`.
            person: A new person. Or give `identity_id`.
            email: The address of their account. Or give `subject`.
            subject: The value of the provider's `link_claim` of their account. Or give `email`.
            expires_at: At most 30 days ahead; in seven days by default.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_invitation.call(
                {
                    "provider_id": provider_id,
                    "identity_id": identity_id,
                    "person": person,
                    "email": email,
                    "subject": subject,
                    "expires_at": expires_at,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        invitation_id: str,
    ) -> Invitation:
        """Read one invitation.

        Needs the permission `identities.read`.

        Args:
            invitation_id: The id of an invitation.
        """
        return await self._send(
            _get_invitation.call(
                invitation_id,
            )
        )

    async def revoke(
        self,
        invitation_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Invitation:
        """Revoke an invitation.

        Makes the link invalid. A repeat changes nothing; a confirmed invitation cannot be revoked.

        Needs the permission `identities.write`.

        Args:
            invitation_id: The id of an invitation.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _revoke_invitation.call(
                invitation_id,
                if_match=if_match,
            )
        )

    async def confirm(
        self,
        invitation_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Invitation:
        """Confirm the account that has claimed an invitation.

        Links the account in `claim` to the identity, which it signs in as from then on. Also needs the
        permission
        `grants.write`. A repeat changes nothing.

        Needs the permission `identities.write`.

        Args:
            invitation_id: The id of an invitation.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _confirm_invitation.call(
                invitation_id,
                if_match=if_match,
            )
        )
