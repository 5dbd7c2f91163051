"""All resources, as attributes of a client."""

from functools import cached_property

from .._resource import AsyncSender, Sender
from .api.administrators import AdministratorsResource, AsyncAdministratorsResource
from .api.audit_events import AsyncAuditEventsResource, AuditEventsResource
from .api.break_glass import AsyncBreakGlassResource, BreakGlassResource
from .api.grants import AsyncGrantsResource, GrantsResource
from .api.groups import AsyncGroupsResource, GroupsResource
from .api.health import AsyncHealthResource, HealthResource
from .api.identities import AsyncIdentitiesResource, IdentitiesResource
from .api.identity_providers import (
    AsyncIdentityProvidersResource,
    IdentityProvidersResource,
)
from .api.me import AsyncMeResource, MeResource
from .api.oauth import AsyncOauthResource, OauthResource
from .api.servers import AsyncServersResource, ServersResource
from .api.service_accounts import AsyncServiceAccountsResource, ServiceAccountsResource
from .api.tokens import AsyncTokensResource, TokensResource
from .api.tools import AsyncToolsResource, ToolsResource


class Resources:
    """The resources of a client for threads."""

    _driver: Sender

    @cached_property
    def identities(self) -> IdentitiesResource:
        """`identities`."""
        return IdentitiesResource(self._driver)

    @cached_property
    def servers(self) -> ServersResource:
        """`servers`."""
        return ServersResource(self._driver)

    @cached_property
    def tools(self) -> ToolsResource:
        """`tools`."""
        return ToolsResource(self._driver)

    @cached_property
    def groups(self) -> GroupsResource:
        """`groups`."""
        return GroupsResource(self._driver)

    @cached_property
    def grants(self) -> GrantsResource:
        """`grants`."""
        return GrantsResource(self._driver)

    @cached_property
    def tokens(self) -> TokensResource:
        """`tokens`."""
        return TokensResource(self._driver)

    @cached_property
    def service_accounts(self) -> ServiceAccountsResource:
        """`service_accounts`."""
        return ServiceAccountsResource(self._driver)

    @cached_property
    def identity_providers(self) -> IdentityProvidersResource:
        """`identity_providers`."""
        return IdentityProvidersResource(self._driver)

    @cached_property
    def administrators(self) -> AdministratorsResource:
        """`administrators`."""
        return AdministratorsResource(self._driver)

    @cached_property
    def me(self) -> MeResource:
        """`me`."""
        return MeResource(self._driver)

    @cached_property
    def break_glass(self) -> BreakGlassResource:
        """`break_glass`."""
        return BreakGlassResource(self._driver)

    @cached_property
    def audit_events(self) -> AuditEventsResource:
        """`audit_events`."""
        return AuditEventsResource(self._driver)

    @cached_property
    def oauth(self) -> OauthResource:
        """`oauth`."""
        return OauthResource(self._driver)

    @cached_property
    def health(self) -> HealthResource:
        """`health`."""
        return HealthResource(self._driver)


class AsyncResources:
    """The resources of a client for asyncio."""

    _driver: AsyncSender

    @cached_property
    def identities(self) -> AsyncIdentitiesResource:
        """`identities`."""
        return AsyncIdentitiesResource(self._driver)

    @cached_property
    def servers(self) -> AsyncServersResource:
        """`servers`."""
        return AsyncServersResource(self._driver)

    @cached_property
    def tools(self) -> AsyncToolsResource:
        """`tools`."""
        return AsyncToolsResource(self._driver)

    @cached_property
    def groups(self) -> AsyncGroupsResource:
        """`groups`."""
        return AsyncGroupsResource(self._driver)

    @cached_property
    def grants(self) -> AsyncGrantsResource:
        """`grants`."""
        return AsyncGrantsResource(self._driver)

    @cached_property
    def tokens(self) -> AsyncTokensResource:
        """`tokens`."""
        return AsyncTokensResource(self._driver)

    @cached_property
    def service_accounts(self) -> AsyncServiceAccountsResource:
        """`service_accounts`."""
        return AsyncServiceAccountsResource(self._driver)

    @cached_property
    def identity_providers(self) -> AsyncIdentityProvidersResource:
        """`identity_providers`."""
        return AsyncIdentityProvidersResource(self._driver)

    @cached_property
    def administrators(self) -> AsyncAdministratorsResource:
        """`administrators`."""
        return AsyncAdministratorsResource(self._driver)

    @cached_property
    def me(self) -> AsyncMeResource:
        """`me`."""
        return AsyncMeResource(self._driver)

    @cached_property
    def break_glass(self) -> AsyncBreakGlassResource:
        """`break_glass`."""
        return AsyncBreakGlassResource(self._driver)

    @cached_property
    def audit_events(self) -> AsyncAuditEventsResource:
        """`audit_events`."""
        return AsyncAuditEventsResource(self._driver)

    @cached_property
    def oauth(self) -> AsyncOauthResource:
        """`oauth`."""
        return AsyncOauthResource(self._driver)

    @cached_property
    def health(self) -> AsyncHealthResource:
        """`health`."""
        return AsyncHealthResource(self._driver)
