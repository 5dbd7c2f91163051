"""Who may do what at the API: permissions, roles, and the dependency that every route declares.

A route names its permission with ``requires(...)``; a test lists all routes and fails on one without.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Forbidden
from app.http.transaction import Session


class Permission(StrEnum):
    """One thing a role may do. ``<resource>.<verb>``."""

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
"""Roles that only a caller with the same or a higher one acts on."""
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
    """Whoever authenticated this request at the API.

    ``identity_id`` is the person who signed in, or who answers for a service account. A signed-in person without
    a role has no roles, and may read who they are and see to their own tokens and access requests. A stranger, whom a
    provider knows and nobody here, may nothing.
    """

    kind: str  # "service_account" | "administrator" | "identity" | "stranger" | "break_glass" | "system"
    id: UUID
    roles: frozenset[Role]
    identity_id: UUID | None = None

    @property
    def permissions(self) -> frozenset[Permission]:
        """What any of the roles may do, and what everybody may who has an identity."""
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
            return f"nobody without a role{'' if self.identity_id else ' or an identity here'} has"
        names = " and ".join(role.value for role in Role if role in self.roles)
        return f"the role {names} does not have" if len(self.roles) == 1 else f"the roles {names} do not have"

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions


class BearerReader(Protocol):
    """Turns the text of one class of bearer into a caller. Raises ``Unauthenticated``."""

    def __call__(self, request: Request, session: AsyncSession, bearer: str) -> Awaitable[Caller]: ...


class Authenticator(Protocol):
    """Turns a request's credential into a caller. Raises ``Unauthenticated``; wired by the composition root."""

    def __call__(self, request: Request, session: AsyncSession) -> Awaitable[Caller]: ...


def authorize(caller: Caller, permission: Permission) -> None:
    """Raise ``Forbidden``, naming the permission, unless the caller has it."""
    if not caller.may(permission):
        raise Forbidden(f"This needs the permission {permission.value}, which {caller.lacking}.")


def authorize_giving(caller: Caller, role: Role) -> None:
    """Raise ``Forbidden`` for a role above the caller's own: nobody grants, changes or arms such a one."""
    missing = ROLE_PERMISSIONS[role] - caller.permissions
    if missing or (role is Role.OWNER and Role.OWNER not in caller.roles):
        raise Forbidden(
            f"The role {role.value} is above your own; an owner has to do this.", code="role_above_own"
        )


def authorize_acting_on(caller: Caller, roles: Collection[Role]) -> None:
    """Raise ``Forbidden`` for a caller below the roles of those it acts on: only owners act on owners, and only owners
    and administrators on administrators."""
    for role, above in ((Role.OWNER, {Role.OWNER}), (Role.ADMIN, MANAGING_ROLES)):
        if role in roles and not caller.roles & above:
            raise Forbidden(
                f"This identity holds the role {role.value}, which is above your own; an owner has to do this.",
                code="role_above_own",
            )


def requires(permission: Permission, *, machine: bool = False) -> Any:
    """The dependency that authenticates the caller and demands a permission. Its value is the ``Caller``.

    ``machine``: a client secret itself is taken as a bearer too, from those who can keep one bearer and no more.
    """

    async def check(request: Request, session: Session) -> Caller:
        runtime = request.app.state.runtime
        authenticate: Authenticator = runtime.authenticate_machine if machine else runtime.authenticate
        caller = await authenticate(request, session)
        request.state.caller = caller
        authorize(caller, permission)
        return caller

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


def permission_of(dependency: Callable[..., Any] | None) -> Permission | None:
    """The permission that a dependency demands, for the test over all routes."""
    return getattr(dependency, "permission", None)


CanReadSelf = Annotated[Caller, requires(Permission.SELF_READ)]
CanWriteSelf = Annotated[Caller, requires(Permission.SELF_WRITE)]
