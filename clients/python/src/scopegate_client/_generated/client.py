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
        """MCP servers: their addresses, the credentials for calls to them, and their tools."""
        from .api.servers import ServersResource

        return ServersResource(self._driver)

    @cached_property
    def tools(self) -> ToolsResource:
        """The tools that syncs found on the servers, their risk, and their approved definitions."""
        from .api.tools import ToolsResource

        return ToolsResource(self._driver)

    @cached_property
    def identities(self) -> IdentitiesResource:
        """People and their agents. Offboarding ends all access of a person and the person's agents."""
        from .api.identities import IdentitiesResource

        return IdentitiesResource(self._driver)

    @cached_property
    def scheduled_offboardings(self) -> ScheduledOffboardingsResource:
        """Offboardings at a later time: when, why, and their result."""
        from .api.scheduled_offboardings import ScheduledOffboardingsResource

        return ScheduledOffboardingsResource(self._driver)

    @cached_property
    def offboarding_receipts(self) -> OffboardingReceiptsResource:
        """Signed proof of what each offboarding ended; and the keys to verify it."""
        from .api.offboarding_receipts import OffboardingReceiptsResource

        return OffboardingReceiptsResource(self._driver)

    @cached_property
    def invitations(self) -> InvitationsResource:
        """One-time links that let people sign in with their own account, without a directory."""
        from .api.invitations import InvitationsResource

        return InvitationsResource(self._driver)

    @cached_property
    def groups(self) -> GroupsResource:
        """Sets of identities that can receive grants."""
        from .api.groups import GroupsResource

        return GroupsResource(self._driver)

    @cached_property
    def grants(self) -> GrantsResource:
        """Durable rights: who may use which tools of which servers, from when, until when."""
        from .api.grants import GrantsResource

        return GrantsResource(self._driver)

    @cached_property
    def approvals(self) -> ApprovalsResource:
        """Calls that wait for a decision, and access requests: what, by whom, and who may approve."""
        from .api.approvals import ApprovalsResource

        return ApprovalsResource(self._driver)

    @cached_property
    def policies(self) -> PoliciesResource:
        """Cedar policies: which calls are denied or need approval, by caller, tool and time."""
        from .api.policies import PoliciesResource

        return PoliciesResource(self._driver)

    @cached_property
    def tokens(self) -> TokensResource:
        """Scoped tokens for MCP clients: each is issued to one identity, within its grants, and can be revoked."""
        from .api.tokens import TokensResource

        return TokensResource(self._driver)

    @cached_property
    def access(self) -> AccessResource:
        """Explanations of decisions, now or on another day."""
        from .api.access import AccessResource

        return AccessResource(self._driver)

    @cached_property
    def service_accounts(self) -> ServiceAccountsResource:
        """Programs that manage Scopegate itself, and their client secrets."""
        from .api.service_accounts import ServiceAccountsResource

        return ServiceAccountsResource(self._driver)

    @cached_property
    def administrators(self) -> AdministratorsResource:
        """People with a role at this API. Disabling one ends their access immediately."""
        from .api.administrators import AdministratorsResource

        return AdministratorsResource(self._driver)

    @cached_property
    def identity_providers(self) -> IdentityProvidersResource:
        """The OpenID providers whose access tokens this API accepts, and the meaning of their claims."""
        from .api.identity_providers import IdentityProvidersResource

        return IdentityProvidersResource(self._driver)

    @cached_property
    def audit_sinks(self) -> AuditSinksResource:
        """Destinations of the audit log: batches over HTTPS, in order, each at least once."""
        from .api.audit_sinks import AuditSinksResource

        return AuditSinksResource(self._driver)

    @cached_property
    def webhooks(self) -> WebhooksResource:
        """Destinations of signed messages about events, such as a call that waits for a decision, with retries."""
        from .api.webhooks import WebhooksResource

        return WebhooksResource(self._driver)

    @cached_property
    def audit_events(self) -> AuditEventsResource:
        """Who did what, when, and the decision: all calls through the gateway and all changes here."""
        from .api.audit_events import AuditEventsResource

        return AuditEventsResource(self._driver)

    @cached_property
    def me(self) -> MeResource:
        """The caller and its permissions."""
        from .api.me import MeResource

        return MeResource(self._driver)

    @cached_property
    def break_glass(self) -> BreakGlassResource:
        """Sign-in with a password if no OpenID provider can be reached. Off unless configured."""
        from .api.break_glass import BreakGlassResource

        return BreakGlassResource(self._driver)

    @cached_property
    def oauth(self) -> OauthResource:
        """Bearers for service accounts (RFC 6749, client credentials)."""
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
        """MCP servers: their addresses, the credentials for calls to them, and their tools."""
        from .api.servers import AsyncServersResource

        return AsyncServersResource(self._driver)

    @cached_property
    def tools(self) -> AsyncToolsResource:
        """The tools that syncs found on the servers, their risk, and their approved definitions."""
        from .api.tools import AsyncToolsResource

        return AsyncToolsResource(self._driver)

    @cached_property
    def identities(self) -> AsyncIdentitiesResource:
        """People and their agents. Offboarding ends all access of a person and the person's agents."""
        from .api.identities import AsyncIdentitiesResource

        return AsyncIdentitiesResource(self._driver)

    @cached_property
    def scheduled_offboardings(self) -> AsyncScheduledOffboardingsResource:
        """Offboardings at a later time: when, why, and their result."""
        from .api.scheduled_offboardings import AsyncScheduledOffboardingsResource

        return AsyncScheduledOffboardingsResource(self._driver)

    @cached_property
    def offboarding_receipts(self) -> AsyncOffboardingReceiptsResource:
        """Signed proof of what each offboarding ended; and the keys to verify it."""
        from .api.offboarding_receipts import AsyncOffboardingReceiptsResource

        return AsyncOffboardingReceiptsResource(self._driver)

    @cached_property
    def invitations(self) -> AsyncInvitationsResource:
        """One-time links that let people sign in with their own account, without a directory."""
        from .api.invitations import AsyncInvitationsResource

        return AsyncInvitationsResource(self._driver)

    @cached_property
    def groups(self) -> AsyncGroupsResource:
        """Sets of identities that can receive grants."""
        from .api.groups import AsyncGroupsResource

        return AsyncGroupsResource(self._driver)

    @cached_property
    def grants(self) -> AsyncGrantsResource:
        """Durable rights: who may use which tools of which servers, from when, until when."""
        from .api.grants import AsyncGrantsResource

        return AsyncGrantsResource(self._driver)

    @cached_property
    def approvals(self) -> AsyncApprovalsResource:
        """Calls that wait for a decision, and access requests: what, by whom, and who may approve."""
        from .api.approvals import AsyncApprovalsResource

        return AsyncApprovalsResource(self._driver)

    @cached_property
    def policies(self) -> AsyncPoliciesResource:
        """Cedar policies: which calls are denied or need approval, by caller, tool and time."""
        from .api.policies import AsyncPoliciesResource

        return AsyncPoliciesResource(self._driver)

    @cached_property
    def tokens(self) -> AsyncTokensResource:
        """Scoped tokens for MCP clients: each is issued to one identity, within its grants, and can be revoked."""
        from .api.tokens import AsyncTokensResource

        return AsyncTokensResource(self._driver)

    @cached_property
    def access(self) -> AsyncAccessResource:
        """Explanations of decisions, now or on another day."""
        from .api.access import AsyncAccessResource

        return AsyncAccessResource(self._driver)

    @cached_property
    def service_accounts(self) -> AsyncServiceAccountsResource:
        """Programs that manage Scopegate itself, and their client secrets."""
        from .api.service_accounts import AsyncServiceAccountsResource

        return AsyncServiceAccountsResource(self._driver)

    @cached_property
    def administrators(self) -> AsyncAdministratorsResource:
        """People with a role at this API. Disabling one ends their access immediately."""
        from .api.administrators import AsyncAdministratorsResource

        return AsyncAdministratorsResource(self._driver)

    @cached_property
    def identity_providers(self) -> AsyncIdentityProvidersResource:
        """The OpenID providers whose access tokens this API accepts, and the meaning of their claims."""
        from .api.identity_providers import AsyncIdentityProvidersResource

        return AsyncIdentityProvidersResource(self._driver)

    @cached_property
    def audit_sinks(self) -> AsyncAuditSinksResource:
        """Destinations of the audit log: batches over HTTPS, in order, each at least once."""
        from .api.audit_sinks import AsyncAuditSinksResource

        return AsyncAuditSinksResource(self._driver)

    @cached_property
    def webhooks(self) -> AsyncWebhooksResource:
        """Destinations of signed messages about events, such as a call that waits for a decision, with retries."""
        from .api.webhooks import AsyncWebhooksResource

        return AsyncWebhooksResource(self._driver)

    @cached_property
    def audit_events(self) -> AsyncAuditEventsResource:
        """Who did what, when, and the decision: all calls through the gateway and all changes here."""
        from .api.audit_events import AsyncAuditEventsResource

        return AsyncAuditEventsResource(self._driver)

    @cached_property
    def me(self) -> AsyncMeResource:
        """The caller and its permissions."""
        from .api.me import AsyncMeResource

        return AsyncMeResource(self._driver)

    @cached_property
    def break_glass(self) -> AsyncBreakGlassResource:
        """Sign-in with a password if no OpenID provider can be reached. Off unless configured."""
        from .api.break_glass import AsyncBreakGlassResource

        return AsyncBreakGlassResource(self._driver)

    @cached_property
    def oauth(self) -> AsyncOauthResource:
        """Bearers for service accounts (RFC 6749, client credentials)."""
        from .api.oauth import AsyncOauthResource

        return AsyncOauthResource(self._driver)

    @cached_property
    def health(self) -> AsyncHealthResource:
        """For load balancers and monitoring."""
        from .api.health import AsyncHealthResource

        return AsyncHealthResource(self._driver)
