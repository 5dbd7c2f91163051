"""Register, change and end identity providers, and keep the environment's provider current."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.change import savepoint
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.features.audit.record import keep_version, record
from app.features.identities.role_checks import require_remaining_owner
from app.features.identity_providers import queries
from app.features.identity_providers.provisioning import Surface, check_settings, merge_settings
from app.features.identity_providers.schemas import (
    IdentityProviderCreate,
    IdentityProviderUpdate,
    WorkloadView,
)
from app.http.authorization import Caller, Role, authorize_giving
from app.models.identity_providers import IdentityProvider
from app.outbound.http import AddressPolicy, ForbiddenUrl

_log = logging.getLogger(__name__)

API = "api"
ENVIRONMENT = "environment"
_KIND = "identity_provider"
_SYSTEM = Caller("system", UUID(int=0), frozenset({Role.OWNER}))
_OWN_COLUMNS = frozenset({"name", "issuer", "status", "source"})
_NOT_IN_ENVIRONMENT = frozenset({surface.value for surface in Surface})
_MAX_ROLES = 200
# Claims that all accepted tokens share: many issuers give tokens to anyone, for any audience.
_SHARED_CLAIMS = frozenset({"iss", "aud"})


async def create(
    session: AsyncSession,
    policy: AddressPolicy,
    new: IdentityProviderCreate,
    caller: Caller,
    request_id: str | None,
) -> IdentityProvider:
    """Register a provider, without a request to it.

    Raises ``Invalid`` (``forbidden_url`` among its codes), ``Conflict`` (``issuer_taken``) and ``Forbidden`` for a role
    above the caller's own.
    """
    _check_issuer(policy, new.issuer)
    _check_roles(caller, new.role_map.values())
    await _check_workloads(session, caller, new.workloads)
    values = new.model_dump(mode="json")
    await check_settings(session, policy, caller, None, values)
    return await _insert(session, {**values, "source": API}, caller, request_id)


async def update(
    session: AsyncSession,
    policy: AddressPolicy,
    row: IdentityProvider,
    patch: IdentityProviderUpdate,
    caller: Caller,
    request_id: str | None,
) -> None:
    """Change a locked provider by a merge patch. Raises ``Invalid``, ``Forbidden`` and ``Conflict``, also when no
    active owner could sign in any more.

    For the environment's provider, only SCIM and Shared Signals settings can change.
    """
    if row.source == ENVIRONMENT and patch.model_fields_set - _NOT_IN_ENVIRONMENT:
        raise _set_by_environment()
    # A caller who may not give a role may not change what gives it either.
    _check_roles(caller, (Role(role) for role in row.settings["role_map"].values()))
    values = patch.model_dump(mode="json", exclude_unset=True)
    if "role_map" in values:
        merged = {**row.settings["role_map"], **values["role_map"]}
        values["role_map"] = {value: role for value, role in merged.items() if role is not None}
        if len(values["role_map"]) > _MAX_ROLES:
            raise Invalid.field("/role_map", "too_many", f"A role map has at most {_MAX_ROLES} values.")
        _check_roles(caller, (Role(role) for role in values["role_map"].values()))
    if "workloads" in values:
        await _check_workloads(session, caller, patch.workloads)
    if values.get("link_claim", row.settings["link_claim"]) != row.settings["link_claim"]:
        await _check_no_links(session, row)
    for surface in Surface:
        if surface.value in values:
            values[surface.value] = merge_settings(
                surface, row.settings.get(surface.value), values[surface.value]
            )
    await check_settings(session, policy, caller, row.id, values)
    async with require_remaining_owner(session):
        await _change(session, row, values, caller, request_id)


async def end(session: AsyncSession, row: IdentityProvider, caller: Caller, request_id: str | None) -> None:
    """End a locked provider: sign-in with it stops. Its links stay, for a later one with the same issuer.

    A provider of an earlier environment can be ended too. Raises ``Conflict`` for the current one's, and when no active
    owner could sign in any more.
    """
    if row.source == ENVIRONMENT and row.status == "active":
        raise _set_by_environment()
    async with require_remaining_owner(session):
        row.ended_at = await queries.database_now(session)
        row.revision += 1
        await session.flush()
    await keep_version(session, _KIND, row.id, None)
    await _record(session, caller, "identity_provider.delete", row, {"issuer": row.issuer}, request_id)


async def sync_environment(session: AsyncSession, configured: IdentityProviderCreate | None) -> None:
    """Apply the environment's settings: its provider is active, one of an earlier environment is disabled.

    A provider with the same issuer from the API becomes the environment's, with its links.
    """
    await queries.lock_environment(session)
    issuer = None if configured is None else configured.issuer
    mine = None
    for row in await queries.lock_environments(session, ENVIRONMENT, issuer):
        if row.issuer == issuer:
            mine = row
        else:
            await _change(session, row, {"status": "disabled"}, _SYSTEM, None)
    if configured is None:
        return
    values = {**configured.model_dump(mode="json", exclude=set(_NOT_IN_ENVIRONMENT)), "source": ENVIRONMENT}
    if mine is None:
        await _insert(session, values, _SYSTEM, None)
    else:
        if values["link_claim"] != mine.settings["link_claim"] and await queries.has_links(session, mine):
            _log.warning(
                "SCOPEGATE_OIDC_LINK_CLAIM has changed: all linked people, including those "
                "who were offboarded or disabled, become new identities"
            )
        await _change(session, mine, values, _SYSTEM, None)


async def require(session: AsyncSession, provider_id: UUID, *, ended: bool = False) -> IdentityProvider:
    """Read a provider. Raises ``NotFound``."""
    row = await queries.find(session, provider_id, ended=ended)
    if row is None:
        raise _not_found()
    return row


async def require_locked(session: AsyncSession, provider_id: UUID) -> IdentityProvider:
    """Lock and read a provider. Raises ``NotFound``."""
    row = await queries.lock(session, provider_id)
    if row is None:
        raise _not_found()
    return row


async def _insert(
    session: AsyncSession, values: dict[str, Any], caller: Caller, request_id: str | None
) -> IdentityProvider:
    columns = {name: value for name, value in values.items() if name in _OWN_COLUMNS}
    settings = {name: value for name, value in values.items() if name not in _OWN_COLUMNS}
    row = IdentityProvider(**columns, settings=settings)
    try:
        async with savepoint(session):
            session.add(row)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(
            "A provider with this issuer is already registered: change that one.",
            code="issuer_taken",
            errors=[FieldError("/issuer", "issuer_taken", "another provider has this issuer")],
        ) from error
    await keep_version(session, _KIND, row.id, _content(row))
    await _record(session, caller, "identity_provider.create", row, _content(row), request_id)
    await session.refresh(row)
    return row


async def _change(
    session: AsyncSession,
    row: IdentityProvider,
    values: Mapping[str, Any],
    caller: Caller,
    request_id: str | None,
) -> None:
    before = _content(row)
    changed = {name: value for name, value in values.items() if before.get(name) != value}
    if not changed:
        return
    for name in changed.keys() & _OWN_COLUMNS:
        setattr(row, name, changed[name])
    row.settings = row.settings | {name: value for name, value in changed.items() if name not in _OWN_COLUMNS}
    row.revision += 1
    await session.flush()
    if changed.get("status") == "disabled":
        await queries.end_browser_sessions(session, row.id)
    if "link_claim" in changed:
        await queries.revoke_invitations(session, row.id)
    await keep_version(session, _KIND, row.id, _content(row))
    changes = {name: {"from": before.get(name), "to": changed[name]} for name in sorted(changed)}
    await _record(session, caller, "identity_provider.update", row, changes, request_id)
    await session.refresh(row)


def _content(row: IdentityProvider) -> dict[str, Any]:
    return {**{name: getattr(row, name) for name in sorted(_OWN_COLUMNS)}, **row.settings}


def _not_found() -> NotFound:
    return NotFound("There is no such identity provider.")


async def _check_no_links(session: AsyncSession, row: IdentityProvider) -> None:
    """Raise ``Conflict`` when people are linked: with another claim, offboarded and disabled people would return as new
    ones."""
    if await queries.has_links(session, row):
        raise Conflict(
            "People are linked by this claim. With another claim they would become new identities, including those who "
            "are locked out. To change it, end this provider and register it again.",
            code="link_claim_in_use",
        )


def _set_by_environment() -> Conflict:
    return Conflict(
        "This provider is set by SCOPEGATE_OIDC_*: change the environment and restart the service.",
        code="set_by_environment",
    )


def _check_issuer(policy: AddressPolicy, issuer: str) -> None:
    """Require an https address without query or fragment (OpenID Connect Discovery section 3) that may be connected to.

    Plain http only to the loopback interface: keys sent over a network in the clear could be replaced on the way.
    """
    try:
        origin = policy.check_url(issuer)
    except ForbiddenUrl as error:
        raise _forbidden_url(f"{error.reason[:1].upper()}{error.reason[1:]}.") from None
    if origin.scheme != "https" and origin.host not in {"localhost", "127.0.0.1", "::1"}:
        raise _forbidden_url("An issuer must be an https address.")
    if "?" in issuer:
        raise _forbidden_url("An issuer must not have a query.")


def _forbidden_url(detail: str) -> Invalid:
    error = FieldError("/issuer", "forbidden_url", detail)
    return Invalid(detail, code="forbidden_url", errors=[error])


def _check_roles(caller: Caller, roles: Iterable[Role]) -> None:
    for role in roles:
        authorize_giving(caller, role)


async def _check_workloads(session: AsyncSession, caller: Caller, workloads: Sequence[WorkloadView]) -> None:
    roles = await queries.account_roles(session, [workload.service_account_id for workload in workloads])
    for index, workload in enumerate(workloads):
        role = roles.get(workload.service_account_id)
        if role is None:
            raise Invalid.field(
                f"/workloads/{index}/service_account_id",
                "unknown_service_account",
                "There is no such service account.",
            )
        authorize_giving(caller, role)
        if workload.claims.keys() <= _SHARED_CLAIMS:
            raise Invalid.field(
                f"/workloads/{index}/claims",
                "too_wide",
                "Every accepted token of the issuer has these: name a claim that identifies its holder, such as sub.",
            )


async def _record(
    session: AsyncSession,
    caller: Caller,
    action: str,
    row: IdentityProvider,
    changes: dict[str, Any],
    request_id: str | None,
) -> None:
    await record(session, caller, action, _KIND, row.id, changes=changes, request_id=request_id)
