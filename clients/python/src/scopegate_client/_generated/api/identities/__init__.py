"""The operations of identities, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.identity import Identity
from ...models.identity_attribute_changes import IdentityAttributeChanges
from ...models.identity_attributes import IdentityAttributes
from ...models.identity_kind import IdentityKind
from ...models.identity_link_input import IdentityLinkInput
from ...models.identity_order import IdentityOrder
from ...models.identity_status import IdentityStatus
from ...models.offboard_receipt import OffboardReceipt
from ...models.reached_server import ReachedServer
from ...models.source import Source
from ...types import UNSET, Unset
from . import create_identity as _create_identity
from . import delete_identity as _delete_identity
from . import erase_identity as _erase_identity
from . import get_identity as _get_identity
from . import list_identities as _list_identities
from . import list_identity_access as _list_identity_access
from . import offboard_identity as _offboard_identity
from . import reinstate_identity as _reinstate_identity
from . import suspend_identity as _suspend_identity
from . import update_identity as _update_identity


class IdentitiesResource(Resource):
    """People and their agents. Offboarding ends all access of a person and the person's agents."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        kind: IdentityKind | Sequence[IdentityKind] | None = None,
        status: IdentityStatus | Sequence[IdentityStatus] | None = None,
        source: Source | Sequence[Source] | None = None,
        owner_id: str | Sequence[str] | None = None,
        external_id: str | Sequence[str] | None = None,
        user_name: str | Sequence[str] | None = None,
        q: str | None = None,
        sort: IdentityOrder | None = None,
    ) -> Listing[Identity]:
        """List identities, newest first.

        Needs the permission `identities.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in user name, display name or email.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_identities.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                kind=kind,
                status=status,
                source=source,
                owner_id=owner_id,
                external_id=external_id,
                user_name=user_name,
                q=q,
                sort=sort,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        kind: IdentityKind,
        user_name: str,
        display_name: str | None | Unset = UNSET,
        email: str | None | Unset = UNSET,
        owner_id: str | None | Unset = UNSET,
        external_id: str | None | Unset = UNSET,
        attributes: IdentityAttributes | JsonObject | Unset = UNSET,
        links: Sequence[IdentityLinkInput | JsonObject] | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Identity:
        """Create a person or an agent.

        Needs the permission `identities.write`.

        Args:
            kind: An `agent` has a person as its owner.
            user_name: Unique among identities that are not offboarded, ignoring case. Stored in NFKC, without outer
                blanks and zero-width characters; bidirectional controls are refused.
            display_name: Its display name.
            email: Its email address.
            owner_id: The owner, an active person: required for an agent, none for a person.
            external_id: Its id in the system that it comes from, such as an HR system.
            attributes: Attributes of an identity that policies can read, by name.
            links: The provider links of the person.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_identity.call(
                {
                    "kind": kind,
                    "user_name": user_name,
                    "display_name": display_name,
                    "email": email,
                    "owner_id": owner_id,
                    "external_id": external_id,
                    "attributes": attributes,
                    "links": links,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        identity_id: str,
    ) -> Identity:
        """Read one identity.

        Needs the permission `identities.read`.

        Args:
            identity_id: The id of an identity.
        """
        return self._send(
            _get_identity.call(
                identity_id,
            )
        )

    def delete(
        self,
        identity_id: str,
        *,
        reason: str | None = None,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> OffboardReceipt:
        """Offboard an identity with its agents.

        The same as offboarding without transferring its agents. Nothing is deleted.

        Needs the permission `identities.offboard`.

        Args:
            identity_id: The id of an identity.
            reason: The reason, stored with the receipt.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_identity.call(
                identity_id,
                reason=reason,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def update(
        self,
        identity_id: str,
        *,
        user_name: str | Unset = UNSET,
        display_name: str | None | Unset = UNSET,
        email: str | None | Unset = UNSET,
        owner_id: str | Unset = UNSET,
        external_id: str | None | Unset = UNSET,
        attributes: IdentityAttributeChanges | JsonObject | Unset = UNSET,
        links: Sequence[IdentityLinkInput | JsonObject] | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Identity:
        """Change an identity.

        Needs the permission `identities.write`.

        Args:
            identity_id: The id of an identity.
            user_name: Unique among identities that are not offboarded, ignoring case. Stored in NFKC, without outer
                blanks and zero-width characters; bidirectional controls are refused.
            display_name: Its display name.
            email: Its email address.
            owner_id: Transfers an agent to another active person.
            external_id: Its id in the system that it comes from, such as an HR system.
            attributes: Attributes to set by name; null removes an attribute.
            links: The whole list; needs the permission `grants.write`.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_identity.call(
                identity_id,
                {
                    "user_name": user_name,
                    "display_name": display_name,
                    "email": email,
                    "owner_id": owner_id,
                    "external_id": external_id,
                    "attributes": attributes,
                    "links": links,
                },
                if_match=if_match,
            )
        )

    def list_access(
        self,
        identity_id: str,
        *,
        at: datetime.datetime | None = None,
        page_size: int | None = None,
        server_id: str | Sequence[str] | None = None,
    ) -> Listing[ReachedServer]:
        """List what an identity reaches, and why, by slug.

        The servers and tools that the live grants of an identity and of its groups reach, decided as calls
        are.

        The scope of a token can only narrow this. Policies that read the content of a call cannot be
        evaluated without one.
        A page with many tools holds fewer servers than `limit`.

        Needs the permission `grants.read`.

        Args:
            identity_id: The id of an identity.
            at: The time to ask about; now by default. The past is answered from the history, the future by the
                current rules.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_identity_access.call(
                identity_id,
                at=at,
                limit=page_size,
                server_id=server_id,
                cursor=cursor,
            )
        )

    def erase(
        self,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Identity:
        """Erase the personal data of an offboarded identity.

        Its names, addresses and all text about it are deleted for good; its id stays, with the history of
        its actions.

        It cannot be reinstated, and tokens of its provider are refused. A repeat changes nothing.

        Needs the permission `identities.erase`.

        Args:
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _erase_identity.call(
                identity_id,
                if_match=if_match,
            )
        )

    def offboard(
        self,
        identity_id: str,
        *,
        reason: str,
        transfer_agents_to: str | None | Unset = UNSET,
        effective_at: datetime.datetime | None | Unset = UNSET,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> OffboardReceipt:
        """Offboard an identity.

        Ends all access of the identity and its agents in one transaction. A repeat returns the first
        receipt.

        With `effective_at` nothing ends yet: `changed` is false, and `scheduled` has the pending
        offboarding.

        Needs the permission `identities.offboard`.

        Args:
            identity_id: The id of an identity.
            reason: The reason. Stored with the receipt and the ended tokens, not in the audit log.
            transfer_agents_to: An active person. Without one, the agents are suspended and their tokens end.
            effective_at: When it should happen, at most a year ahead. Without it, or with a past time, it happens now. An
                offboarding that is already scheduled is replaced.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _offboard_identity.call(
                identity_id,
                {
                    "reason": reason,
                    "transfer_agents_to": transfer_agents_to,
                    "effective_at": effective_at,
                },
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def reinstate(
        self,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Identity:
        """Reinstate an identity.

        Makes a suspended or offboarded identity active again. What was revoked stays revoked.

        Needs the permission `identities.write`.

        Args:
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _reinstate_identity.call(
                identity_id,
                if_match=if_match,
            )
        )

    def suspend(
        self,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Identity:
        """Suspend an identity.

        Stops every call of the identity and of its agents until it is reinstated.

        Needs the permission `identities.write`.

        Args:
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _suspend_identity.call(
                identity_id,
                if_match=if_match,
            )
        )


class AsyncIdentitiesResource(AsyncResource):
    """People and their agents. Offboarding ends all access of a person and the person's agents."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        kind: IdentityKind | Sequence[IdentityKind] | None = None,
        status: IdentityStatus | Sequence[IdentityStatus] | None = None,
        source: Source | Sequence[Source] | None = None,
        owner_id: str | Sequence[str] | None = None,
        external_id: str | Sequence[str] | None = None,
        user_name: str | Sequence[str] | None = None,
        q: str | None = None,
        sort: IdentityOrder | None = None,
    ) -> AsyncListing[Identity]:
        """List identities, newest first.

        Needs the permission `identities.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            q: Text in user name, display name or email.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_identities.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                kind=kind,
                status=status,
                source=source,
                owner_id=owner_id,
                external_id=external_id,
                user_name=user_name,
                q=q,
                sort=sort,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        kind: IdentityKind,
        user_name: str,
        display_name: str | None | Unset = UNSET,
        email: str | None | Unset = UNSET,
        owner_id: str | None | Unset = UNSET,
        external_id: str | None | Unset = UNSET,
        attributes: IdentityAttributes | JsonObject | Unset = UNSET,
        links: Sequence[IdentityLinkInput | JsonObject] | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> Identity:
        """Create a person or an agent.

        Needs the permission `identities.write`.

        Args:
            kind: An `agent` has a person as its owner.
            user_name: Unique among identities that are not offboarded, ignoring case. Stored in NFKC, without outer
                blanks and zero-width characters; bidirectional controls are refused.
            display_name: Its display name.
            email: Its email address.
            owner_id: The owner, an active person: required for an agent, none for a person.
            external_id: Its id in the system that it comes from, such as an HR system.
            attributes: Attributes of an identity that policies can read, by name.
            links: The provider links of the person.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_identity.call(
                {
                    "kind": kind,
                    "user_name": user_name,
                    "display_name": display_name,
                    "email": email,
                    "owner_id": owner_id,
                    "external_id": external_id,
                    "attributes": attributes,
                    "links": links,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        identity_id: str,
    ) -> Identity:
        """Read one identity.

        Needs the permission `identities.read`.

        Args:
            identity_id: The id of an identity.
        """
        return await self._send(
            _get_identity.call(
                identity_id,
            )
        )

    async def delete(
        self,
        identity_id: str,
        *,
        reason: str | None = None,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> OffboardReceipt:
        """Offboard an identity with its agents.

        The same as offboarding without transferring its agents. Nothing is deleted.

        Needs the permission `identities.offboard`.

        Args:
            identity_id: The id of an identity.
            reason: The reason, stored with the receipt.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_identity.call(
                identity_id,
                reason=reason,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    async def update(
        self,
        identity_id: str,
        *,
        user_name: str | Unset = UNSET,
        display_name: str | None | Unset = UNSET,
        email: str | None | Unset = UNSET,
        owner_id: str | Unset = UNSET,
        external_id: str | None | Unset = UNSET,
        attributes: IdentityAttributeChanges | JsonObject | Unset = UNSET,
        links: Sequence[IdentityLinkInput | JsonObject] | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> Identity:
        """Change an identity.

        Needs the permission `identities.write`.

        Args:
            identity_id: The id of an identity.
            user_name: Unique among identities that are not offboarded, ignoring case. Stored in NFKC, without outer
                blanks and zero-width characters; bidirectional controls are refused.
            display_name: Its display name.
            email: Its email address.
            owner_id: Transfers an agent to another active person.
            external_id: Its id in the system that it comes from, such as an HR system.
            attributes: Attributes to set by name; null removes an attribute.
            links: The whole list; needs the permission `grants.write`.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_identity.call(
                identity_id,
                {
                    "user_name": user_name,
                    "display_name": display_name,
                    "email": email,
                    "owner_id": owner_id,
                    "external_id": external_id,
                    "attributes": attributes,
                    "links": links,
                },
                if_match=if_match,
            )
        )

    def list_access(
        self,
        identity_id: str,
        *,
        at: datetime.datetime | None = None,
        page_size: int | None = None,
        server_id: str | Sequence[str] | None = None,
    ) -> AsyncListing[ReachedServer]:
        """List what an identity reaches, and why, by slug.

        The servers and tools that the live grants of an identity and of its groups reach, decided as calls
        are.

        The scope of a token can only narrow this. Policies that read the content of a call cannot be
        evaluated without one.
        A page with many tools holds fewer servers than `limit`.

        Needs the permission `grants.read`.

        Args:
            identity_id: The id of an identity.
            at: The time to ask about; now by default. The past is answered from the history, the future by the
                current rules.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_identity_access.call(
                identity_id,
                at=at,
                limit=page_size,
                server_id=server_id,
                cursor=cursor,
            )
        )

    async def erase(
        self,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Identity:
        """Erase the personal data of an offboarded identity.

        Its names, addresses and all text about it are deleted for good; its id stays, with the history of
        its actions.

        It cannot be reinstated, and tokens of its provider are refused. A repeat changes nothing.

        Needs the permission `identities.erase`.

        Args:
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _erase_identity.call(
                identity_id,
                if_match=if_match,
            )
        )

    async def offboard(
        self,
        identity_id: str,
        *,
        reason: str,
        transfer_agents_to: str | None | Unset = UNSET,
        effective_at: datetime.datetime | None | Unset = UNSET,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> OffboardReceipt:
        """Offboard an identity.

        Ends all access of the identity and its agents in one transaction. A repeat returns the first
        receipt.

        With `effective_at` nothing ends yet: `changed` is false, and `scheduled` has the pending
        offboarding.

        Needs the permission `identities.offboard`.

        Args:
            identity_id: The id of an identity.
            reason: The reason. Stored with the receipt and the ended tokens, not in the audit log.
            transfer_agents_to: An active person. Without one, the agents are suspended and their tokens end.
            effective_at: When it should happen, at most a year ahead. Without it, or with a past time, it happens now. An
                offboarding that is already scheduled is replaced.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _offboard_identity.call(
                identity_id,
                {
                    "reason": reason,
                    "transfer_agents_to": transfer_agents_to,
                    "effective_at": effective_at,
                },
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    async def reinstate(
        self,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Identity:
        """Reinstate an identity.

        Makes a suspended or offboarded identity active again. What was revoked stays revoked.

        Needs the permission `identities.write`.

        Args:
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _reinstate_identity.call(
                identity_id,
                if_match=if_match,
            )
        )

    async def suspend(
        self,
        identity_id: str,
        *,
        if_match: int | str | None = None,
    ) -> Identity:
        """Suspend an identity.

        Stops every call of the identity and of its agents until it is reinstated.

        Needs the permission `identities.write`.

        Args:
            identity_id: The id of an identity.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _suspend_identity.call(
                identity_id,
                if_match=if_match,
            )
        )
