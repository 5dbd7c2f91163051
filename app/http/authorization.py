"""Authorization at the API: permissions, roles, and the dependency that every route declares.

A route names its permission with ``requires(...)``; a test lists all routes and fails on one without.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.change import Change
from app.domain.caller import MANAGING_ROLES, ROLE_PERMISSIONS, Caller, Permission, Role
from app.domain.errors import Forbidden
from app.http.transaction import Session

# Also exported from here.
__all__ = ["MANAGING_ROLES", "ROLE_PERMISSIONS", "Caller", "Permission", "Role"]

BearerReader = Callable[[Request, AsyncSession, str], Awaitable[Caller]]
"""Authenticates one class of bearers. Raises ``Unauthenticated``."""
Authenticator = Callable[[Request, AsyncSession], Awaitable[Caller]]
"""Authenticates a request. Raises ``Unauthenticated``; wired by the composition root."""


def authorize(caller: Caller, permission: Permission) -> None:
    """Raise ``Forbidden``, naming the permission, unless the caller has it."""
    if not caller.may(permission):
        raise Forbidden(f"This needs the permission {permission.value}, which {caller.lacking}.")


def authorize_giving(caller: Caller, role: Role) -> None:
    """Raise ``Forbidden`` for a role above the caller's own, which the caller may not grant, change or arm."""
    missing = ROLE_PERMISSIONS[role] - caller.permissions
    if missing or (role is Role.OWNER and Role.OWNER not in caller.roles):
        raise Forbidden(
            f"The role {role.value} is above your own; an owner has to do this.", code="role_above_own"
        )


def authorize_acting_on(caller: Caller, roles: Collection[Role]) -> None:
    """Raise ``Forbidden`` for a caller below the roles of the identities to change: only owners change owners, and only
    owners and administrators change administrators."""
    for role, above in ((Role.OWNER, {Role.OWNER}), (Role.ADMIN, MANAGING_ROLES)):
        if role in roles and not caller.roles & above:
            raise Forbidden(
                f"This identity holds the role {role.value}, which is above your own; an owner has to do this.",
                code="role_above_own",
            )


def requires(permission: Permission, *, machine: bool = False) -> Any:
    """The dependency that authenticates the caller and demands a permission. Its value is the ``Caller``.

    ``machine``: also accepts a client secret as a bearer, for clients that can only store one static bearer.
    """

    async def check(request: Request, session: Session) -> Caller:
        return await _authenticate(request, session, permission, machine=machine)

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check, scope="function")


def changes(permission: Permission, *, machine: bool = False) -> Any:
    """The dependency of an operation that changes something. Its value is a ``Change`` by a caller with the permission,
    recorded when the request commits. ``machine`` is as in ``requires``.
    """

    async def begin(request: Request, session: Session) -> Change:
        caller = await _authenticate(request, session, permission, machine=machine)
        return await Change.begin(session, caller, request.state.request_id)

    begin.permission = permission  # type: ignore[attr-defined]
    return Depends(begin, scope="function")


async def _authenticate(
    request: Request, session: AsyncSession, permission: Permission, *, machine: bool
) -> Caller:
    runtime = request.app.state.runtime
    authenticate: Authenticator = runtime.authenticate_machine if machine else runtime.authenticate
    caller = await authenticate(request, session)
    request.state.caller = caller
    authorize(caller, permission)
    return caller


def permission_of(dependency: Callable[..., Any] | None) -> Permission | None:
    """The permission that a dependency requires, for the test over all routes."""
    return getattr(dependency, "permission", None)


CanReadSelf = Annotated[Caller, requires(Permission.SELF_READ)]
CanWriteSelf = Annotated[Caller, requires(Permission.SELF_WRITE)]
