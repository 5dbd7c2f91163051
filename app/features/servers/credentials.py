"""Set and remove upstream credentials: each is encrypted for one row, one server and one origin."""

import json
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.credentials import credential_place, find_credential, place_of_server
from app.crypto.keys import Sealer
from app.db.versions import move_versions
from app.domain.errors import FieldError, Invalid, NotFound
from app.features.audit.record import record
from app.features.identities.queries import lock_identity
from app.features.servers import queries
from app.features.servers.credential_schemas import (
    Credential,
    EnvCredential,
    NoCredential,
    OAuthClientCredential,
)
from app.http.authorization import Caller
from app.lib.ids import IDENTITY, format_id, new_id
from app.models.servers import Server, ServerCredential
from app.outbound.http import AddressPolicy, ForbiddenUrl


async def put_credential(
    session: AsyncSession,
    sealer: Sealer,
    policy: AddressPolicy,
    server: Server,
    identity_id: UUID | None,
    put: Credential,
    caller: Caller,
    request_id: str | None,
) -> ServerCredential:
    """Set or replace a credential of a locked server. Raises ``Invalid``, ``NotFound``."""
    _check_kind(server, put)
    if isinstance(put, OAuthClientCredential):
        _check_token_url(policy, put.token_url)
    if identity_id is not None:
        await _require_identity(session, identity_id)
    row = await find_credential(session, server.id, identity_id)
    if row is not None:
        await session.delete(row)
        await session.flush()
    row = _seal(sealer, server, identity_id, put)
    row.updated_at = await queries.database_time(session)
    session.add(row)
    await _record_change(
        session, server, "server_credential.set", identity_id, put.kind, caller, request_id, narrows=False
    )
    return row


async def delete_credential(
    session: AsyncSession, server: Server, identity_id: UUID | None, caller: Caller, request_id: str | None
) -> None:
    """Remove a credential of a locked server. Raises ``NotFound``."""
    row = await find_credential(session, server.id, identity_id)
    if row is None:
        raise NotFound("This server has no such credential.")
    await session.delete(row)
    await _record_change(
        session, server, "server_credential.delete", identity_id, row.kind, caller, request_id, narrows=True
    )


def _seal(sealer: Sealer, server: Server, identity_id: UUID | None, put: Credential) -> ServerCredential:
    row_id, origin = new_id(), place_of_server(server)
    plaintext = json.dumps(put.contents()).encode()
    sealed = sealer.seal(plaintext, credential_place(row_id, server.id, origin))
    return ServerCredential(
        id=row_id,
        server_id=server.id,
        identity_id=identity_id,
        kind=put.kind,
        origin=origin,
        key_id=sealed.key_id,
        sealed=sealed.data,
    )


async def _record_change(
    session: AsyncSession,
    server: Server,
    action: str,
    identity_id: UUID | None,
    kind: str,
    caller: Caller,
    request_id: str | None,
    *,
    narrows: bool,
) -> None:
    server.revision += 1
    await move_versions(session, [server.id], narrows=narrows)
    holder = None if identity_id is None else format_id(IDENTITY, identity_id)
    changes = {"kind": kind, "identity_id": holder}
    await record(
        session,
        caller,
        action,
        "server",
        server.id,
        changes=changes,
        request_id=request_id,
        server_id=server.id,
    )


def _check_kind(server: Server, put: Credential) -> None:
    """Require variables for a command, exactly those that it declares, and headers for a URL."""
    if isinstance(put, NoCredential):
        return
    if (server.transport == "stdio") != isinstance(put, EnvCredential):
        kinds = (
            "env or none"
            if server.transport == "stdio"
            else "bearer, header, oauth_client_credentials or none"
        )
        raise Invalid.field(
            "/kind", f"not_for_{server.transport}", f"A {server.transport} server takes the kinds {kinds}."
        )
    if isinstance(put, EnvCredential) and set(put.variables) != set(server.env_names or ()):
        names = ", ".join(sorted(server.env_names or ())) or "none"
        raise Invalid.field(
            "/variables", "not_env_names", f"Give a value for each name of the server's env_names: {names}."
        )


def _check_token_url(policy: AddressPolicy, url: str) -> None:
    """Require TLS or an allowed network for the URL that gets the client secret."""
    reason = "the client secret is sent over http only to an address of an allowed network"
    try:
        origin = policy.check_url(url)
        if origin.scheme == "https" or policy.is_allowed_network(origin):
            return
    except ForbiddenUrl as error:
        reason = error.reason
    detail = f"{reason[:1].upper()}{reason[1:]}."
    raise Invalid(detail, code="forbidden_url", errors=[FieldError("/token_url", "forbidden_url", detail)])


async def _require_identity(session: AsyncSession, identity_id: UUID) -> None:
    identity = await lock_identity(session, identity_id, share=True)
    if identity is None or identity.status == "offboarded":
        raise NotFound("There is no such identity.")
