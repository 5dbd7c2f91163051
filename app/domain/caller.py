"""Callers of the API, roles and permissions."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Permission(StrEnum):
    """A permission of a role: ``<resource>.<verb>``."""

    SERVERS_READ = "servers.read"
    SERVERS_WRITE = "servers.write"
    TOOLS_READ = "tools.read"
    TOOLS_WRITE = "tools.write"
    IDENTITIES_READ = "identities.read"
    IDENTITIES_WRITE = "identities.write"
    IDENTITIES_OFFBOARD = "identities.offboard"
    IDENTITIES_ERASE = "identities.erase"
    GROUPS_READ = "groups.read"
    GROUPS_WRITE = "groups.write"
    GRANTS_READ = "grants.read"
    GRANTS_WRITE = "grants.write"
    TOKENS_READ = "tokens.read"
    TOKENS_ISSUE = "tokens.issue"
    TOKENS_REVOKE = "tokens.revoke"
    SERVICE_ACCOUNTS_READ = "service_accounts.read"
    SERVICE_ACCOUNTS_WRITE = "service_accounts.write"
    ADMINISTRATORS_READ = "administrators.read"
    ADMINISTRATORS_WRITE = "administrators.write"
    IDENTITY_PROVIDERS_READ = "identity_providers.read"
    IDENTITY_PROVIDERS_WRITE = "identity_providers.write"
    POLICIES_READ = "policies.read"
    POLICIES_WRITE = "policies.write"
    APPROVALS_READ = "approvals.read"
    APPROVALS_DECIDE = "approvals.decide"
    WEBHOOKS_READ = "webhooks.read"
    WEBHOOKS_WRITE = "webhooks.write"
    ACCESS_EXPLAIN = "access.explain"
    ARGUMENTS_READ = "arguments.read"
    AUDIT_READ = "audit.read"
    AUDIT_SINKS_READ = "audit_sinks.read"
    AUDIT_SINKS_WRITE = "audit_sinks.write"
    SELF_READ = "self.read"
    SELF_WRITE = "self.write"


class Role(StrEnum):
    """What a caller may do at the API, strongest first."""

    OWNER = "owner"
    ADMIN = "admin"
    ISSUER = "issuer"
    APPROVER = "approver"
    PROVISIONER = "provisioner"
    AUDITOR = "auditor"


MANAGING_ROLES = frozenset({Role.OWNER, Role.ADMIN})
"""Roles whose holders can be changed only by a caller with the same or a higher role."""
_SELF = {Permission.SELF_READ, Permission.SELF_WRITE}
_READ = {
    Permission.SERVERS_READ,
    Permission.TOOLS_READ,
    Permission.IDENTITIES_READ,
    Permission.GROUPS_READ,
    Permission.GRANTS_READ,
    Permission.TOKENS_READ,
    Permission.POLICIES_READ,
    Permission.APPROVALS_READ,
    Permission.ACCESS_EXPLAIN,
} | _SELF
_OWNER_ONLY = {
    Permission.IDENTITIES_ERASE,
    Permission.SERVICE_ACCOUNTS_READ,
    Permission.SERVICE_ACCOUNTS_WRITE,
    Permission.ADMINISTRATORS_READ,
    Permission.ADMINISTRATORS_WRITE,
    Permission.IDENTITY_PROVIDERS_WRITE,
}

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.OWNER: frozenset(Permission),
    Role.ADMIN: frozenset(set(Permission) - _OWNER_ONLY),
    Role.ISSUER: frozenset(_READ | {Permission.TOKENS_ISSUE, Permission.TOKENS_REVOKE}),
    Role.APPROVER: frozenset(_READ | {Permission.APPROVALS_DECIDE, Permission.ARGUMENTS_READ}),
    Role.PROVISIONER: frozenset(
        _SELF
        | {
            Permission.IDENTITIES_READ,
            Permission.IDENTITIES_WRITE,
            Permission.IDENTITIES_OFFBOARD,
            Permission.GROUPS_READ,
            Permission.GROUPS_WRITE,
        }
    ),
    Role.AUDITOR: frozenset(
        _READ
        | {
            Permission.AUDIT_READ,
            Permission.AUDIT_SINKS_READ,
            Permission.ARGUMENTS_READ,
            Permission.WEBHOOKS_READ,
            Permission.SERVICE_ACCOUNTS_READ,
            Permission.ADMINISTRATORS_READ,
            Permission.IDENTITY_PROVIDERS_READ,
        }
    ),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller of an API request.

    ``identity_id`` is the signed-in person, or the person responsible for a service account. A signed-in person without
    roles can only read their own data and manage their own tokens and access requests. A stranger, who has an account
    at a provider but no identity here, has no permissions.
    """

    kind: str  # "service_account" | "administrator" | "identity" | "stranger" | "break_glass" | "system"
    id: UUID
    roles: frozenset[Role]
    identity_id: UUID | None = None

    @classmethod
    def system(cls, *roles: Role, on_behalf_of: UUID | None = None) -> "Caller":
        """The service itself, with these roles."""
        return cls("system", UUID(int=0), frozenset(roles), on_behalf_of)

    @classmethod
    def person(cls, identity_id: UUID) -> "Caller":
        """A person without a role."""
        return cls("identity", identity_id, frozenset(), identity_id)

    @property
    def permissions(self) -> frozenset[Permission]:
        """The permissions of all roles, and those of every caller with an identity."""
        own = _SELF if self.identity_id is not None else set()
        return frozenset(own).union(*(ROLE_PERMISSIONS[role] for role in self.roles))

    @property
    def role(self) -> Role | None:
        """The strongest role."""
        return next((role for role in Role if role in self.roles), None)

    @property
    def lacking(self) -> str:
        """The end of a sentence about a permission that is missing."""
        if not self.roles:
            return f"callers without a role{'' if self.identity_id else ' or an identity here'} do not have"
        names = " and ".join(role.value for role in Role if role in self.roles)
        return f"the role {names} does not have" if len(self.roles) == 1 else f"the roles {names} do not have"

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions
