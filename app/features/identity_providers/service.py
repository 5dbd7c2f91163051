"""Register, read, change and end identity providers, and keep the environment's provider current."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel, col

from app.db import rows
from app.db.change import Change, Subject, Values, savepoint
from app.db.rows import Lock
from app.domain.errors import Conflict, FieldError, Forbidden, Invalid
from app.features.browser_sessions.service import end_sessions_where
from app.features.identities.role_checks import require_remaining_owner
from app.features.identity_providers import queries, schemas
from app.features.identity_providers.scim_user import is_attribute_path
from app.features.invitations.service import end_invitations_with_claim
from app.http.authorization import ROLE_PERMISSIONS, Caller, Permission, Role, authorize, authorize_giving
from app.http.etags import Precondition
from app.http.pagination import Cursors, read_page, select_filtered
from app.http.runtime import Runtime
from app.lib.ids import SERVICE_ACCOUNT, parse_id
from app.models.identities import BrowserSession, ServiceAccount
from app.models.identity_providers import IdentityProvider
from app.outbound.http import AddressPolicy, ForbiddenUrl

_log = logging.getLogger(__name__)

API = "api"
ENVIRONMENT = "environment"
_OWN_COLUMNS = frozenset({"name", "issuer", "status", "source"})
_MAX_ROLES = 200
# Claims that all accepted tokens share: many issuers give tokens to anyone, for any audience.
_SHARED_CLAIMS = frozenset({"iss", "aud"})


class _ProviderSubject(Subject):
    """Most of what is recorded of a provider is in one column, ``settings``."""

    def values(self, row: SQLModel) -> Values:
        """The columns and settings of a provider, by the names of the API."""
        if not isinstance(row, IdentityProvider):
            raise TypeError("only identity providers have settings")
        content = _content(row)
        return Values(row.id, {name: content.get(name) for name in self.audited})


_RECORDED = (*schemas.IdentityProviderUpdate.model_fields, "issuer", "source")
PROVIDER = _ProviderSubject(
    "identity_provider", audited=_RECORDED, history="identity_provider", kept=_RECORDED
)


class Surface(StrEnum):
    """A protocol that a service account serves for a provider; also the name of its settings."""

    SCIM = "scim"
    SIGNALS = "signals"


_SCHEMAS: dict[Surface, type[schemas.ScimSettings] | type[schemas.SignalsSettings]] = {
    Surface.SCIM: schemas.ScimSettings,
    Surface.SIGNALS: schemas.SignalsSettings,
}
_NEEDED = {
    Surface.SCIM: {Permission.IDENTITIES_WRITE, Permission.IDENTITIES_OFFBOARD, Permission.GROUPS_WRITE},
    Surface.SIGNALS: {Permission.IDENTITIES_OFFBOARD},
}
_NOT_IN_ENVIRONMENT = frozenset(surface.value for surface in Surface)


async def list_providers(
    session: AsyncSession, caller: Caller, query: schemas.IdentityProviderQuery, runtime: Runtime
) -> tuple[list[IdentityProvider], str | None]:
    """Read a page of providers and the next cursor. Raises ``Forbidden`` when ended ones are requested."""
    filters, texts = ("status", "source", "issuer"), ("name", "issuer")
    statement = select_filtered(IdentityProvider, query, *filters, texts=texts)
    if query.include is None:
        statement = statement.where(queries.LIVE)
    else:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_identity_providers", query.filters())
    return await read_page(session, statement, IdentityProvider, cursors, query, queries.SORTS)


async def get_provider(
    session: AsyncSession, caller: Caller, id: UUID, *, ended: bool = False
) -> IdentityProvider:
    """Read a provider; with ``ended``, also an ended one. Raises ``NotFound`` and ``Forbidden``."""
    if ended:
        authorize(caller, Permission.AUDIT_READ)
    row = await session.get(IdentityProvider, id)
    return row if ended and row is not None else rows.existing(row, "identity provider")


async def require_served_provider(
    session: AsyncSession, surface: Surface, caller: Caller
) -> IdentityProvider:
    """The active provider that this service account serves. Raises ``Forbidden`` if there is none."""
    row: IdentityProvider | None = None
    if caller.kind == "service_account":
        served = queries.served_by(surface.value, caller.id)
        row = await session.scalar(select(IdentityProvider).where(served, queries.ACTIVE))
    if row is None:
        raise Forbidden(
            f"No active identity provider names this service account in its {surface.value} settings: set it there."
        )
    return row


async def create_provider(
    change: Change, policy: AddressPolicy, body: schemas.IdentityProviderCreate
) -> IdentityProvider:
    """Register a provider, without a request to it.

    Raises ``Invalid`` (``forbidden_url`` among its codes), ``Conflict`` (``issuer_taken``) and ``Forbidden`` for a role
    above the caller's own.
    """
    try:
        _check_address(policy, "/issuer", body.issuer)
        # Without a query or fragment (OpenID Connect Discovery section 3); a fragment is refused as an address.
        if "?" in body.issuer:
            raise Invalid.field("/issuer", "forbidden_url", "An issuer must not have a query.")
    except Invalid as error:
        raise Invalid(error.detail, code="forbidden_url", errors=error.errors) from None
    _check_roles(change.caller, body.role_map.values())
    await _check_workloads(change, body.workloads)
    values = body.model_dump(mode="json")
    await _check_settings(change, policy, None, values)
    return await _insert(change, {**values, "source": API})


async def update_provider(
    change: Change,
    policy: AddressPolicy,
    id: UUID,
    body: schemas.IdentityProviderUpdate,
    if_match: Precondition,
) -> IdentityProvider:
    """Apply a merge patch. For the environment's provider, only SCIM and Shared Signals settings can change.

    Raises ``NotFound``, ``PreconditionFailed``, ``Invalid``, ``Forbidden`` and ``Conflict``, also when no active owner
    could sign in any more.
    """
    row = await _lock_live(change, id)
    if_match.check(row.revision)
    if row.source == ENVIRONMENT and body.model_fields_set - _NOT_IN_ENVIRONMENT:
        raise _set_by_environment()
    # A caller who may not give a role may not change what gives it either.
    _check_roles(change.caller, (Role(role) for role in row.settings["role_map"].values()))
    values = body.model_dump(mode="json", exclude_unset=True)
    if "role_map" in values:
        values["role_map"] = _merge(row.settings["role_map"], values["role_map"])
        if len(values["role_map"]) > _MAX_ROLES:
            raise Invalid.field("/role_map", "too_many", f"A role map has at most {_MAX_ROLES} values.")
        _check_roles(change.caller, (Role(role) for role in values["role_map"].values()))
    if "workloads" in values:
        await _check_workloads(change, body.workloads)
    changes_claim = values.get("link_claim", row.settings["link_claim"]) != row.settings["link_claim"]
    if changes_claim and await queries.has_links(change.session, row):
        raise Conflict(
            "People are linked by this claim. With another claim they would become new identities, including those who "
            "are locked out. To change it, end this provider and register it again.",
            code="link_claim_in_use",
        )
    for surface in Surface:
        if surface.value in values:
            stored = row.settings.get(surface.value)
            values[surface.value] = _merge_settings(surface, stored, values[surface.value])
    await _check_settings(change, policy, row.id, values)
    async with require_remaining_owner(change.session):
        await _change(change, row, values)
    return row


async def end_provider(change: Change, id: UUID, if_match: Precondition) -> None:
    """End a provider: sign-in with it stops. Its links stay, for a later one with the same issuer.

    A provider of an earlier environment can be ended too. Raises ``NotFound``, ``PreconditionFailed``, and ``Conflict``
    for the current one's, and when no active owner could sign in any more.
    """
    row = await _lock_live(change, id)
    if_match.check(row.revision)
    if row.source == ENVIRONMENT and row.status == "active":
        raise _set_by_environment()
    async with require_remaining_owner(change.session):
        row.ended_at = change.now
        row.revision += 1
        await change.session.flush()
    change.record("identity_provider.delete", PROVIDER, row, None, details={"issuer": row.issuer})


async def sync_environment(session: AsyncSession, configured: schemas.IdentityProviderCreate | None) -> None:
    """Apply the environment's settings: its provider is active, one of an earlier environment is disabled.

    A provider with the same issuer from the API becomes the environment's, with its links.
    """
    change = await Change.begin(session, Caller.system(Role.OWNER))
    issuer = None if configured is None else configured.issuer
    mine = None
    for row in await queries.lock_environments(session, ENVIRONMENT, issuer):
        if row.issuer == issuer:
            mine = row
        else:
            await _change(change, row, {"status": "disabled"})
    if configured is None:
        return
    values = {**configured.model_dump(mode="json", exclude=set(_NOT_IN_ENVIRONMENT)), "source": ENVIRONMENT}
    if mine is None:
        await _insert(change, values)
        return
    if values["link_claim"] != mine.settings["link_claim"] and await queries.has_links(session, mine):
        _log.warning(
            "SCOPEGATE_OIDC_LINK_CLAIM has changed: all linked people, including those "
            "who were offboarded or disabled, become new identities"
        )
    await _change(change, mine, values)


async def _insert(change: Change, values: Mapping[str, Any]) -> IdentityProvider:
    columns = {name: value for name, value in values.items() if name in _OWN_COLUMNS}
    settings = {name: value for name, value in values.items() if name not in _OWN_COLUMNS}
    row = IdentityProvider(**columns, settings=settings)
    try:
        async with savepoint(change.session):
            change.session.add(row)
            await change.session.flush()
    except IntegrityError as error:
        raise Conflict(
            "A provider with this issuer is already registered: change that one.",
            code="issuer_taken",
            errors=[FieldError("/issuer", "issuer_taken", "another provider has this issuer")],
        ) from error
    await change.session.refresh(row)
    change.record("identity_provider.create", PROVIDER, PROVIDER.blank(row), row)
    return row


async def _change(change: Change, row: IdentityProvider, values: Mapping[str, Any]) -> None:
    content, before = _content(row), PROVIDER.values(row)
    changed = {name: value for name, value in values.items() if content.get(name) != value}
    if not changed:
        return
    for name in changed.keys() & _OWN_COLUMNS:
        setattr(row, name, changed[name])
    row.settings = row.settings | {name: value for name, value in changed.items() if name not in _OWN_COLUMNS}
    row.revision += 1
    await change.session.flush()
    if changed.get("status") == "disabled":
        # Reenabling the provider must not restore them.
        await end_sessions_where(change.session, col(BrowserSession.provider_id) == row.id)
    if "link_claim" in changed:
        await end_invitations_with_claim(change.session, row.id)
    await change.session.refresh(row)
    change.record("identity_provider.update", PROVIDER, before, row)


def _content(row: IdentityProvider) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _OWN_COLUMNS} | row.settings


async def _lock_live(change: Change, id: UUID) -> IdentityProvider:
    # An exclusive lock: sign-ins hold the key of their provider while they use its link claim.
    row = await rows.lock(change.session, IdentityProvider, id, Lock.UPDATE)
    return rows.existing(row, "identity provider")


def _merge(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**old, **patch}.items() if value is not None}


def _merge_settings(
    surface: Surface, old: Mapping[str, Any] | None, patch: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Apply a merge patch to settings, ready to store. Raises ``Invalid`` if something is missing."""
    if patch is None:
        return None
    merged = dict(old or {}) | dict(patch)
    if "attributes" in patch:
        merged["attributes"] = _merge((old or {}).get("attributes", {}), patch["attributes"])
    try:
        return _SCHEMAS[surface].model_validate(merged).model_dump(mode="json")
    except ValidationError as error:
        errors = [
            FieldError("/" + "/".join([surface.value, *map(str, one["loc"])]), one["type"], one["msg"])
            for one in error.errors()
        ]
        raise Invalid("These settings are not complete.", errors=errors) from None


async def _check_settings(
    change: Change, policy: AddressPolicy, provider_id: UUID | None, values: Mapping[str, Any]
) -> None:
    """Check new settings of both kinds. Raises ``Invalid``, ``Forbidden`` and ``Conflict``."""
    for surface in Surface:
        settings = values.get(surface.value)
        if settings is None:
            continue
        for name, path in settings.get("attributes", {}).items():
            if not is_attribute_path(path):
                raise Invalid.field(
                    f"/{surface.value}/attributes/{name}",
                    "unknown_path",
                    "This is not the path of a text attribute of a SCIM user: GET /scim/v2/Schemas lists them.",
                )
        if settings["service_account_id"] is not None:
            await _check_account(change, provider_id, surface, settings["service_account_id"])
        elif settings.get("delivery") == "push":
            raise Invalid.field(
                "/signals/service_account_id", "required", "Delivery by push needs a service account."
            )
        for name in ("issuer", "jwks_uri"):
            if settings.get(name) is not None:
                _check_address(policy, f"/{surface.value}/{name}", settings[name])


async def _check_account(change: Change, provider_id: UUID | None, surface: Surface, account: str) -> None:
    pointer = f"/{surface.value}/service_account_id"
    id = parse_id(SERVICE_ACCOUNT, account)
    # Serialized, so that the second of two providers that name it sees the first.
    await rows.lock(change.session, ServiceAccount, id)
    roles = await queries.account_roles(change.session, [id])
    role = _check_role(change.caller, roles.get(id), pointer)
    if not ROLE_PERMISSIONS[role] >= _NEEDED[surface]:
        raise Invalid.field(
            pointer,
            "role_too_narrow",
            f"The role {role.value} may not do this; give it the role provisioner.",
        )
    other = select(col(IdentityProvider.id)).where(
        queries.served_by(surface.value, id), queries.LIVE, col(IdentityProvider.id) != provider_id
    )
    if await change.session.scalar(other.limit(1)) is not None:
        raise Conflict(
            "Another provider names this service account: create one for each provider.",
            code="service_account_in_use",
            errors=[FieldError(pointer, "service_account_in_use", "another provider names it")],
        )


async def _check_workloads(change: Change, workloads: Sequence[schemas.WorkloadView]) -> None:
    ids = [workload.service_account_id for workload in workloads]
    roles = await queries.account_roles(change.session, ids)
    for index, (id, workload) in enumerate(zip(ids, workloads, strict=True)):
        pointer = f"/workloads/{index}"
        _check_role(change.caller, roles.get(id), f"{pointer}/service_account_id")
        if workload.claims.keys() <= _SHARED_CLAIMS:
            raise Invalid.field(
                f"{pointer}/claims",
                "too_wide",
                "Every accepted token of the issuer has these: name a claim that identifies its holder, such as sub.",
            )


def _check_role(caller: Caller, role: Role | None, pointer: str) -> Role:
    """The role of a named service account. Raises ``Invalid``, and ``Forbidden`` above the caller's own role."""
    if role is None:
        raise Invalid.field(pointer, "unknown_service_account", "There is no such service account.")
    authorize_giving(caller, role)
    return role


def _set_by_environment() -> Conflict:
    return Conflict(
        "This provider is set by SCOPEGATE_OIDC_*: change the environment and restart the service.",
        code="set_by_environment",
    )


def _check_address(policy: AddressPolicy, pointer: str, url: str) -> None:
    """Require an https address that may be connected to.

    Plain http only to the loopback interface: keys sent over a network in the clear could be replaced on the way.
    """
    try:
        origin = policy.check_url(url)
    except ForbiddenUrl as error:
        detail = f"{error.reason[:1].upper()}{error.reason[1:]}."
        raise Invalid.field(pointer, "forbidden_url", detail) from None
    if origin.scheme != "https" and origin.host not in {"localhost", "127.0.0.1", "::1"}:
        raise Invalid.field(pointer, "forbidden_url", "This must be an https address.")


def _check_roles(caller: Caller, roles: Iterable[Role]) -> None:
    for role in roles:
        authorize_giving(caller, role)
