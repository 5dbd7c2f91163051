"""The operations of identity_providers, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.access_token_type import AccessTokenType
from ...models.identity_provider import IdentityProvider
from ...models.identity_provider_order import IdentityProviderOrder
from ...models.identity_provider_source import IdentityProviderSource
from ...models.identity_provider_status import IdentityProviderStatus
from ...models.role_map import RoleMap
from ...models.role_map_changes import RoleMapChanges
from ...models.scim_settings import ScimSettings
from ...models.scim_settings_update import ScimSettingsUpdate
from ...models.secret import Secret
from ...models.signal_stream import SignalStream
from ...models.signals_settings import SignalsSettings
from ...models.signals_settings_update import SignalsSettingsUpdate
from ...models.signing_algorithm import SigningAlgorithm
from ...models.workload import Workload
from ...types import UNSET, Unset
from . import create_identity_provider as _create_identity_provider
from . import delete_identity_provider as _delete_identity_provider
from . import delete_signal_stream as _delete_signal_stream
from . import get_identity_provider as _get_identity_provider
from . import get_signal_stream as _get_signal_stream
from . import list_identity_providers as _list_identity_providers
from . import set_signal_credential as _set_signal_credential
from . import set_signal_stream as _set_signal_stream
from . import update_identity_provider as _update_identity_provider
from . import verify_signal_stream as _verify_signal_stream


class IdentityProvidersResource(Resource):
    """The OpenID providers whose access tokens this API accepts, and the meaning of their claims."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: IdentityProviderStatus | Sequence[IdentityProviderStatus] | None = None,
        source: IdentityProviderSource | Sequence[IdentityProviderSource] | None = None,
        issuer: str | Sequence[str] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: IdentityProviderOrder | None = None,
    ) -> Listing[IdentityProvider]:
        """List identity providers, newest first.

        Needs the permission `identity_providers.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            status: Only providers with this status.
            source: Only providers from this source.
            issuer: Exactly this issuer.
            q: Text in name or issuer.
            include: `ended`: also ended ones; needs `audit.read`.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_identity_providers.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                source=source,
                issuer=issuer,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        name: str,
        issuer: str,
        audiences: Sequence[str],
        algorithms: Sequence[SigningAlgorithm] | Unset = UNSET,
        token_types: Sequence[AccessTokenType] | Unset = UNSET,
        role_claim: str | Unset = UNSET,
        role_map: RoleMap | JsonObject | Unset = UNSET,
        link_claim: str | Unset = UNSET,
        people: Sequence[str] | Unset = UNSET,
        client_id: str | None | Unset = UNSET,
        scopes: Sequence[str] | Unset = UNSET,
        workloads: Sequence[Workload | JsonObject] | Unset = UNSET,
        scim: ScimSettings | JsonObject | None | Unset = UNSET,
        signals: SignalsSettings | JsonObject | None | Unset = UNSET,
        status: IdentityProviderStatus | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> IdentityProvider:
        """Register an OpenID provider.

        The API accepts its tokens from now on, with the mapped roles.

        Needs the permission `identity_providers.write`.

        Args:
            name: Its display name.
            issuer: Exactly as in its tokens; an https address. It cannot change, since links refer to it.
            audiences: A token must name one of these in its `aud`; use one only for Scopegate.
            algorithms: The accepted signature algorithms.
            token_types: The accepted `typ` headers: `JWT` for providers that do not send `at+jwt`, `none` for those that
                send none. With these two, tokens that are marked as ID tokens are refused.
            role_claim: The claim with groups or roles: a name, or a dotted path such as `realm_access.roles`.
            role_map: The role for each value of the role claim.
            link_claim: The claim that identifies a person permanently. Never one that people can change.
            people: Values of the role claim, such as groups, whose holders become people without a role at their
                first sign-in. Others without a linked identity are refused.
            client_id: The client id of Scopegate at the provider, for browser sign-in. A client without a secret,
                which PKCE replaces.
            scopes: The scopes that browser sign-in requests, with `openid`; some providers need `groups` for
                groups.
            workloads: Workloads that authenticate without a Scopegate secret.
            scim: SCIM provisioning of its people and groups.
            signals: Shared Signals about its people.
            status: A `disabled` provider accepts no sign-in.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_identity_provider.call(
                {
                    "name": name,
                    "issuer": issuer,
                    "audiences": audiences,
                    "algorithms": algorithms,
                    "token_types": token_types,
                    "role_claim": role_claim,
                    "role_map": role_map,
                    "link_claim": link_claim,
                    "people": people,
                    "client_id": client_id,
                    "scopes": scopes,
                    "workloads": workloads,
                    "scim": scim,
                    "signals": signals,
                    "status": status,
                },
                idempotency_key=idempotency_key,
            )
        )

    def get(
        self,
        identity_provider_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> IdentityProvider:
        """Read one identity provider.

        Needs the permission `identity_providers.read`.

        Args:
            identity_provider_id: The id of an identity provider.
            include: `ended` shows one that has ended too; needs `audit.read`.
        """
        return self._send(
            _get_identity_provider.call(
                identity_provider_id,
                include=include,
            )
        )

    def delete(
        self,
        identity_provider_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End an identity provider.

        Sign-in with it stops immediately. Its identities stay.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_identity_provider.call(
                identity_provider_id,
                if_match=if_match,
            )
        )

    def update(
        self,
        identity_provider_id: str,
        *,
        name: str | Unset = UNSET,
        audiences: Sequence[str] | Unset = UNSET,
        algorithms: Sequence[SigningAlgorithm] | Unset = UNSET,
        token_types: Sequence[AccessTokenType] | Unset = UNSET,
        role_claim: str | Unset = UNSET,
        role_map: RoleMapChanges | JsonObject | Unset = UNSET,
        link_claim: str | Unset = UNSET,
        people: Sequence[str] | Unset = UNSET,
        client_id: str | None | Unset = UNSET,
        scopes: Sequence[str] | Unset = UNSET,
        workloads: Sequence[Workload | JsonObject] | Unset = UNSET,
        scim: ScimSettingsUpdate | JsonObject | None | Unset = UNSET,
        signals: SignalsSettingsUpdate | JsonObject | None | Unset = UNSET,
        status: IdentityProviderStatus | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> IdentityProvider:
        """Change an identity provider (merge patch).

        It takes effect with the next request.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            name: Its display name.
            audiences: Replaces the whole list.
            algorithms: Replaces the whole list.
            token_types: Replaces the whole list.
            role_claim: The claim with groups or roles: a name, or a dotted path.
            role_map: Roles to set by value of the role claim; null removes a value.
            link_claim: Refused with 409 while people are linked by the current one.
            people: The whole list.
            client_id: The client id of Scopegate at the provider.
            scopes: Replaces the whole list.
            workloads: Replaces the whole list.
            scim: Merged; null: no provisioning.
            signals: Merged; null: no signals.
            status: A `disabled` provider accepts no sign-in.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_identity_provider.call(
                identity_provider_id,
                {
                    "name": name,
                    "audiences": audiences,
                    "algorithms": algorithms,
                    "token_types": token_types,
                    "role_claim": role_claim,
                    "role_map": role_map,
                    "link_claim": link_claim,
                    "people": people,
                    "client_id": client_id,
                    "scopes": scopes,
                    "workloads": workloads,
                    "scim": scim,
                    "signals": signals,
                    "status": status,
                },
                if_match=if_match,
            )
        )

    def get_signal_stream(
        self,
        identity_provider_id: str,
    ) -> SignalStream:
        """Read the state of a provider's signal stream.

        Needs the permission `identity_providers.read`.

        Args:
            identity_provider_id: The id of an identity provider.
        """
        return self._send(
            _get_signal_stream.call(
                identity_provider_id,
            )
        )

    def set_signal_credential(
        self,
        identity_provider_id: str,
        *,
        access_token: Secret | str,
        if_match: int | str | None = None,
    ) -> SignalStream:
        """Store the access token for the transmitter's API.

        It is sent only to that transmitter, and never shown.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _set_signal_credential.call(
                identity_provider_id,
                {
                    "access_token": access_token,
                },
                if_match=if_match,
            )
        )

    def set_signal_stream(
        self,
        identity_provider_id: str,
        *,
        push_secret: Secret | str | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> SignalStream:
        """Create the stream at the transmitter, or update it to the settings.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _set_signal_stream.call(
                identity_provider_id,
                {
                    "push_secret": push_secret,
                },
                if_match=if_match,
            )
        )

    def delete_signal_stream(
        self,
        identity_provider_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End the stream at the transmitter.

        Events that it still pushes are accepted while the settings exist.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_signal_stream.call(
                identity_provider_id,
                if_match=if_match,
            )
        )

    def verify_signal_stream(
        self,
        identity_provider_id: str,
        *,
        if_match: int | str | None = None,
    ) -> SignalStream:
        """Ask the transmitter for a verification event.

        `verified_at` is set when it arrives.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _verify_signal_stream.call(
                identity_provider_id,
                if_match=if_match,
            )
        )


class AsyncIdentityProvidersResource(AsyncResource):
    """The OpenID providers whose access tokens this API accepts, and the meaning of their claims."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        status: IdentityProviderStatus | Sequence[IdentityProviderStatus] | None = None,
        source: IdentityProviderSource | Sequence[IdentityProviderSource] | None = None,
        issuer: str | Sequence[str] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: IdentityProviderOrder | None = None,
    ) -> AsyncListing[IdentityProvider]:
        """List identity providers, newest first.

        Needs the permission `identity_providers.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            status: Only providers with this status.
            source: Only providers from this source.
            issuer: Exactly this issuer.
            q: Text in name or issuer.
            include: `ended`: also ended ones; needs `audit.read`.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_identity_providers.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                status=status,
                source=source,
                issuer=issuer,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        name: str,
        issuer: str,
        audiences: Sequence[str],
        algorithms: Sequence[SigningAlgorithm] | Unset = UNSET,
        token_types: Sequence[AccessTokenType] | Unset = UNSET,
        role_claim: str | Unset = UNSET,
        role_map: RoleMap | JsonObject | Unset = UNSET,
        link_claim: str | Unset = UNSET,
        people: Sequence[str] | Unset = UNSET,
        client_id: str | None | Unset = UNSET,
        scopes: Sequence[str] | Unset = UNSET,
        workloads: Sequence[Workload | JsonObject] | Unset = UNSET,
        scim: ScimSettings | JsonObject | None | Unset = UNSET,
        signals: SignalsSettings | JsonObject | None | Unset = UNSET,
        status: IdentityProviderStatus | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> IdentityProvider:
        """Register an OpenID provider.

        The API accepts its tokens from now on, with the mapped roles.

        Needs the permission `identity_providers.write`.

        Args:
            name: Its display name.
            issuer: Exactly as in its tokens; an https address. It cannot change, since links refer to it.
            audiences: A token must name one of these in its `aud`; use one only for Scopegate.
            algorithms: The accepted signature algorithms.
            token_types: The accepted `typ` headers: `JWT` for providers that do not send `at+jwt`, `none` for those that
                send none. With these two, tokens that are marked as ID tokens are refused.
            role_claim: The claim with groups or roles: a name, or a dotted path such as `realm_access.roles`.
            role_map: The role for each value of the role claim.
            link_claim: The claim that identifies a person permanently. Never one that people can change.
            people: Values of the role claim, such as groups, whose holders become people without a role at their
                first sign-in. Others without a linked identity are refused.
            client_id: The client id of Scopegate at the provider, for browser sign-in. A client without a secret,
                which PKCE replaces.
            scopes: The scopes that browser sign-in requests, with `openid`; some providers need `groups` for
                groups.
            workloads: Workloads that authenticate without a Scopegate secret.
            scim: SCIM provisioning of its people and groups.
            signals: Shared Signals about its people.
            status: A `disabled` provider accepts no sign-in.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_identity_provider.call(
                {
                    "name": name,
                    "issuer": issuer,
                    "audiences": audiences,
                    "algorithms": algorithms,
                    "token_types": token_types,
                    "role_claim": role_claim,
                    "role_map": role_map,
                    "link_claim": link_claim,
                    "people": people,
                    "client_id": client_id,
                    "scopes": scopes,
                    "workloads": workloads,
                    "scim": scim,
                    "signals": signals,
                    "status": status,
                },
                idempotency_key=idempotency_key,
            )
        )

    async def get(
        self,
        identity_provider_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> IdentityProvider:
        """Read one identity provider.

        Needs the permission `identity_providers.read`.

        Args:
            identity_provider_id: The id of an identity provider.
            include: `ended` shows one that has ended too; needs `audit.read`.
        """
        return await self._send(
            _get_identity_provider.call(
                identity_provider_id,
                include=include,
            )
        )

    async def delete(
        self,
        identity_provider_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End an identity provider.

        Sign-in with it stops immediately. Its identities stay.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_identity_provider.call(
                identity_provider_id,
                if_match=if_match,
            )
        )

    async def update(
        self,
        identity_provider_id: str,
        *,
        name: str | Unset = UNSET,
        audiences: Sequence[str] | Unset = UNSET,
        algorithms: Sequence[SigningAlgorithm] | Unset = UNSET,
        token_types: Sequence[AccessTokenType] | Unset = UNSET,
        role_claim: str | Unset = UNSET,
        role_map: RoleMapChanges | JsonObject | Unset = UNSET,
        link_claim: str | Unset = UNSET,
        people: Sequence[str] | Unset = UNSET,
        client_id: str | None | Unset = UNSET,
        scopes: Sequence[str] | Unset = UNSET,
        workloads: Sequence[Workload | JsonObject] | Unset = UNSET,
        scim: ScimSettingsUpdate | JsonObject | None | Unset = UNSET,
        signals: SignalsSettingsUpdate | JsonObject | None | Unset = UNSET,
        status: IdentityProviderStatus | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> IdentityProvider:
        """Change an identity provider (merge patch).

        It takes effect with the next request.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            name: Its display name.
            audiences: Replaces the whole list.
            algorithms: Replaces the whole list.
            token_types: Replaces the whole list.
            role_claim: The claim with groups or roles: a name, or a dotted path.
            role_map: Roles to set by value of the role claim; null removes a value.
            link_claim: Refused with 409 while people are linked by the current one.
            people: The whole list.
            client_id: The client id of Scopegate at the provider.
            scopes: Replaces the whole list.
            workloads: Replaces the whole list.
            scim: Merged; null: no provisioning.
            signals: Merged; null: no signals.
            status: A `disabled` provider accepts no sign-in.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_identity_provider.call(
                identity_provider_id,
                {
                    "name": name,
                    "audiences": audiences,
                    "algorithms": algorithms,
                    "token_types": token_types,
                    "role_claim": role_claim,
                    "role_map": role_map,
                    "link_claim": link_claim,
                    "people": people,
                    "client_id": client_id,
                    "scopes": scopes,
                    "workloads": workloads,
                    "scim": scim,
                    "signals": signals,
                    "status": status,
                },
                if_match=if_match,
            )
        )

    async def get_signal_stream(
        self,
        identity_provider_id: str,
    ) -> SignalStream:
        """Read the state of a provider's signal stream.

        Needs the permission `identity_providers.read`.

        Args:
            identity_provider_id: The id of an identity provider.
        """
        return await self._send(
            _get_signal_stream.call(
                identity_provider_id,
            )
        )

    async def set_signal_credential(
        self,
        identity_provider_id: str,
        *,
        access_token: Secret | str,
        if_match: int | str | None = None,
    ) -> SignalStream:
        """Store the access token for the transmitter's API.

        It is sent only to that transmitter, and never shown.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _set_signal_credential.call(
                identity_provider_id,
                {
                    "access_token": access_token,
                },
                if_match=if_match,
            )
        )

    async def set_signal_stream(
        self,
        identity_provider_id: str,
        *,
        push_secret: Secret | str | Unset = UNSET,
        if_match: int | str | None = None,
    ) -> SignalStream:
        """Create the stream at the transmitter, or update it to the settings.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _set_signal_stream.call(
                identity_provider_id,
                {
                    "push_secret": push_secret,
                },
                if_match=if_match,
            )
        )

    async def delete_signal_stream(
        self,
        identity_provider_id: str,
        *,
        if_match: int | str | None = None,
    ) -> None:
        """End the stream at the transmitter.

        Events that it still pushes are accepted while the settings exist.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_signal_stream.call(
                identity_provider_id,
                if_match=if_match,
            )
        )

    async def verify_signal_stream(
        self,
        identity_provider_id: str,
        *,
        if_match: int | str | None = None,
    ) -> SignalStream:
        """Ask the transmitter for a verification event.

        `verified_at` is set when it arrives.

        Needs the permission `identity_providers.write`.

        Args:
            identity_provider_id: The id of an identity provider.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _verify_signal_stream.call(
                identity_provider_id,
                if_match=if_match,
            )
        )
