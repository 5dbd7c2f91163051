"""All resources, as attributes of a client. The operations of a resource are imported when it is first used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from .._resource import AsyncSender, Sender

if TYPE_CHECKING:
    from .api.access import AccessResource, AsyncAccessResource
    from .api.administrators import AdministratorsResource, AsyncAdministratorsResource
    from .api.approvals import ApprovalsResource, AsyncApprovalsResource
    from .api.audit_events import AsyncAuditEventsResource, AuditEventsResource
    from .api.audit_sinks import AsyncAuditSinksResource, AuditSinksResource
    from .api.break_glass import AsyncBreakGlassResource, BreakGlassResource
    from .api.grants import AsyncGrantsResource, GrantsResource
    from .api.groups import AsyncGroupsResource, GroupsResource
    from .api.health import AsyncHealthResource, HealthResource
    from .api.identities import AsyncIdentitiesResource, IdentitiesResource
    from .api.identity_providers import (
        AsyncIdentityProvidersResource,
        IdentityProvidersResource,
    )
    from .api.invitations import AsyncInvitationsResource, InvitationsResource
    from .api.me import AsyncMeResource, MeResource
    from .api.oauth import AsyncOauthResource, OauthResource
    from .api.offboarding_receipts import (
        AsyncOffboardingReceiptsResource,
        OffboardingReceiptsResource,
    )
    from .api.policies import AsyncPoliciesResource, PoliciesResource
    from .api.scheduled_offboardings import (
        AsyncScheduledOffboardingsResource,
        ScheduledOffboardingsResource,
    )
    from .api.servers import AsyncServersResource, ServersResource
    from .api.service_accounts import (
        AsyncServiceAccountsResource,
        ServiceAccountsResource,
    )
    from .api.tokens import AsyncTokensResource, TokensResource
    from .api.tools import AsyncToolsResource, ToolsResource
    from .api.webhooks import AsyncWebhooksResource, WebhooksResource


class Resources:
    """The resources of a client for threads."""

    _driver: Sender

    @cached_property
    def servers(self) -> ServersResource:
        """MCP servers: where they are, the credential that calls to them carry, and which of their tools exist."""
        from .api.servers import ServersResource

        return ServersResource(self._driver)

    @cached_property
    def tools(self) -> ToolsResource:
        """The tools that syncing found on the servers, their risk, and the definitions that were approved."""
        from .api.tools import ToolsResource

        return ToolsResource(self._driver)

    @cached_property
    def identities(self) -> IdentitiesResource:
        """People, and the agents that they answer for. Offboarding ends all that one and its agents can do."""
        from .api.identities import IdentitiesResource

        return IdentitiesResource(self._driver)

    @cached_property
    def scheduled_offboardings(self) -> ScheduledOffboardingsResource:
        """Offboardings that are set for later: when, why, and what became of them."""
        from .api.scheduled_offboardings import ScheduledOffboardingsResource

        return ScheduledOffboardingsResource(self._driver)

    @cached_property
    def offboarding_receipts(self) -> OffboardingReceiptsResource:
        """What each offboarding ended, signed, to be kept as proof; and the keys to check it with."""
        from .api.offboarding_receipts import OffboardingReceiptsResource

        return OffboardingReceiptsResource(self._driver)

    @cached_property
    def invitations(self) -> InvitationsResource:
        """How people whom no directory provisions come to sign in: by a link and their own account, once."""
        from .api.invitations import InvitationsResource

        return InvitationsResource(self._driver)

    @cached_property
    def groups(self) -> GroupsResource:
        """Sets of identities that grants can be made to."""
        from .api.groups import GroupsResource

        return GroupsResource(self._driver)

    @cached_property
    def grants(self) -> GrantsResource:
        """Durable rights: who may use which tools of which servers, from when, until when."""
        from .api.grants import GrantsResource

        return GrantsResource(self._driver)

    @cached_property
    def approvals(self) -> ApprovalsResource:
        """Calls that wait for a person, and access that people ask for: what, by whom, and who may say yes."""
        from .api.approvals import ApprovalsResource

        return ApprovalsResource(self._driver)

    @cached_property
    def policies(self) -> PoliciesResource:
        """Cedar policies: which calls are denied, or wait for a person, by who asks, for what, and when."""
        from .api.policies import PoliciesResource

        return PoliciesResource(self._driver)

    @cached_property
    def tokens(self) -> TokensResource:
        """Scoped tokens for MCP clients: issued to one identity, within its grants, revoked each on its own."""
        from .api.tokens import TokensResource

        return TokensResource(self._driver)

    @cached_property
    def access(self) -> AccessResource:
        """Why a call is decided as it is, now or on another day."""
        from .api.access import AccessResource

        return AccessResource(self._driver)

    @cached_property
    def service_accounts(self) -> ServiceAccountsResource:
        """Programs that manage Scopegate itself, and their client secrets."""
        from .api.service_accounts import ServiceAccountsResource

        return ServiceAccountsResource(self._driver)

    @cached_property
    def administrators(self) -> AdministratorsResource:
        """People with a role at this API. Disabling one ends their access at once."""
        from .api.administrators import AdministratorsResource

        return AdministratorsResource(self._driver)

    @cached_property
    def identity_providers(self) -> IdentityProvidersResource:
        """The OpenID providers whose access tokens open this API, and what their claims mean here."""
        from .api.identity_providers import IdentityProvidersResource

        return IdentityProvidersResource(self._driver)

    @cached_property
    def audit_sinks(self) -> AuditSinksResource:
        """Where the audit trail goes as it grows: batches by HTTPS, in order, each at least once."""
        from .api.audit_sinks import AuditSinksResource

        return AuditSinksResource(self._driver)

    @cached_property
    def webhooks(self) -> WebhooksResource:
        """Where messages go when something happens, as a call that waits for a person: signed, and sent again."""
        from .api.webhooks import WebhooksResource

        return WebhooksResource(self._driver)

    @cached_property
    def audit_events(self) -> AuditEventsResource:
        """Who did what, when, and what was decided: every call through the gateway, every change here."""
        from .api.audit_events import AuditEventsResource

        return AuditEventsResource(self._driver)

    @cached_property
    def me(self) -> MeResource:
        """Who the caller is, and what they may do."""
        from .api.me import MeResource

        return MeResource(self._driver)

    @cached_property
    def break_glass(self) -> BreakGlassResource:
        """Signing in with a password when no OpenID provider can be reached. Off unless configured."""
        from .api.break_glass import BreakGlassResource

        return BreakGlassResource(self._driver)

    @cached_property
    def oauth(self) -> OauthResource:
        """How service accounts get a bearer (RFC 6749, client credentials)."""
        from .api.oauth import OauthResource

        return OauthResource(self._driver)

    @cached_property
    def health(self) -> HealthResource:
        """For load balancers and monitoring."""
        from .api.health import HealthResource

        return HealthResource(self._driver)


class AsyncResources:
    """The resources of a client for asyncio."""

    _driver: AsyncSender

    @cached_property
    def servers(self) -> AsyncServersResource:
        """MCP servers: where they are, the credential that calls to them carry, and which of their tools exist."""
        from .api.servers import AsyncServersResource

        return AsyncServersResource(self._driver)

    @cached_property
    def tools(self) -> AsyncToolsResource:
        """The tools that syncing found on the servers, their risk, and the definitions that were approved."""
        from .api.tools import AsyncToolsResource

        return AsyncToolsResource(self._driver)

    @cached_property
    def identities(self) -> AsyncIdentitiesResource:
        """People, and the agents that they answer for. Offboarding ends all that one and its agents can do."""
        from .api.identities import AsyncIdentitiesResource

        return AsyncIdentitiesResource(self._driver)

    @cached_property
    def scheduled_offboardings(self) -> AsyncScheduledOffboardingsResource:
        """Offboardings that are set for later: when, why, and what became of them."""
        from .api.scheduled_offboardings import AsyncScheduledOffboardingsResource

        return AsyncScheduledOffboardingsResource(self._driver)

    @cached_property
    def offboarding_receipts(self) -> AsyncOffboardingReceiptsResource:
        """What each offboarding ended, signed, to be kept as proof; and the keys to check it with."""
        from .api.offboarding_receipts import AsyncOffboardingReceiptsResource

        return AsyncOffboardingReceiptsResource(self._driver)

    @cached_property
    def invitations(self) -> AsyncInvitationsResource:
        """How people whom no directory provisions come to sign in: by a link and their own account, once."""
        from .api.invitations import AsyncInvitationsResource

        return AsyncInvitationsResource(self._driver)

    @cached_property
    def groups(self) -> AsyncGroupsResource:
        """Sets of identities that grants can be made to."""
        from .api.groups import AsyncGroupsResource

        return AsyncGroupsResource(self._driver)

    @cached_property
    def grants(self) -> AsyncGrantsResource:
        """Durable rights: who may use which tools of which servers, from when, until when."""
        from .api.grants import AsyncGrantsResource

        return AsyncGrantsResource(self._driver)

    @cached_property
    def approvals(self) -> AsyncApprovalsResource:
        """Calls that wait for a person, and access that people ask for: what, by whom, and who may say yes."""
        from .api.approvals import AsyncApprovalsResource

        return AsyncApprovalsResource(self._driver)

    @cached_property
    def policies(self) -> AsyncPoliciesResource:
        """Cedar policies: which calls are denied, or wait for a person, by who asks, for what, and when."""
        from .api.policies import AsyncPoliciesResource

        return AsyncPoliciesResource(self._driver)

    @cached_property
    def tokens(self) -> AsyncTokensResource:
        """Scoped tokens for MCP clients: issued to one identity, within its grants, revoked each on its own."""
        from .api.tokens import AsyncTokensResource

        return AsyncTokensResource(self._driver)

    @cached_property
    def access(self) -> AsyncAccessResource:
        """Why a call is decided as it is, now or on another day."""
        from .api.access import AsyncAccessResource

        return AsyncAccessResource(self._driver)

    @cached_property
    def service_accounts(self) -> AsyncServiceAccountsResource:
        """Programs that manage Scopegate itself, and their client secrets."""
        from .api.service_accounts import AsyncServiceAccountsResource

        return AsyncServiceAccountsResource(self._driver)

    @cached_property
    def administrators(self) -> AsyncAdministratorsResource:
        """People with a role at this API. Disabling one ends their access at once."""
        from .api.administrators import AsyncAdministratorsResource

        return AsyncAdministratorsResource(self._driver)

    @cached_property
    def identity_providers(self) -> AsyncIdentityProvidersResource:
        """The OpenID providers whose access tokens open this API, and what their claims mean here."""
        from .api.identity_providers import AsyncIdentityProvidersResource

        return AsyncIdentityProvidersResource(self._driver)

    @cached_property
    def audit_sinks(self) -> AsyncAuditSinksResource:
        """Where the audit trail goes as it grows: batches by HTTPS, in order, each at least once."""
        from .api.audit_sinks import AsyncAuditSinksResource

        return AsyncAuditSinksResource(self._driver)

    @cached_property
    def webhooks(self) -> AsyncWebhooksResource:
        """Where messages go when something happens, as a call that waits for a person: signed, and sent again."""
        from .api.webhooks import AsyncWebhooksResource

        return AsyncWebhooksResource(self._driver)

    @cached_property
    def audit_events(self) -> AsyncAuditEventsResource:
        """Who did what, when, and what was decided: every call through the gateway, every change here."""
        from .api.audit_events import AsyncAuditEventsResource

        return AsyncAuditEventsResource(self._driver)

    @cached_property
    def me(self) -> AsyncMeResource:
        """Who the caller is, and what they may do."""
        from .api.me import AsyncMeResource

        return AsyncMeResource(self._driver)

    @cached_property
    def break_glass(self) -> AsyncBreakGlassResource:
        """Signing in with a password when no OpenID provider can be reached. Off unless configured."""
        from .api.break_glass import AsyncBreakGlassResource

        return AsyncBreakGlassResource(self._driver)

    @cached_property
    def oauth(self) -> AsyncOauthResource:
        """How service accounts get a bearer (RFC 6749, client credentials)."""
        from .api.oauth import AsyncOauthResource

        return AsyncOauthResource(self._driver)

    @cached_property
    def health(self) -> AsyncHealthResource:
        """For load balancers and monitoring."""
        from .api.health import AsyncHealthResource

        return AsyncHealthResource(self._driver)
