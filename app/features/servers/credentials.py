"""Upstream credentials: sealed for one row, one server and one origin, and opened for sending alone."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import FieldError, Invalid, NotFound
from app.features.audit.record import record
from app.features.identities.repository import lock_identity
from app.features.servers import repository
from app.features.servers.credential_schemas import (
    Credential,
    EnvCredential,
    NoCredential,
    OAuthClientCredential,
)
from app.features.servers.models import Server, ServerCredential
from app.features.servers.places import place_of_server
from app.kit.authorization import Caller
from app.kit.client_tokens import ClientCredentials
from app.kit.crypto import Sealed, Sealer
from app.kit.ids import IDENTITY, format_id, new_id
from app.kit.outbound import AddressPolicy, ForbiddenUrl
from app.kit.stdio import Launch
from app.kit.versions import move_versions

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A credential as it is sent: as headers, as a client that an access token is fetched for, or as the variables
    of a command."""

    headers: Headers = ()
    client: ClientCredentials | None = None
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def credential_place(row_id: UUID, server_id: UUID, origin: str) -> bytes:
    """The associated data that binds a sealed credential to where it may be used."""
    return f"server-credential {row_id} {server_id} {origin}".encode()


def place_of(row: ServerCredential, server: Server) -> bytes:
    """Where a credential may be used: made of what is true now, never of what the row says of itself."""
    return credential_place(row.id, server.id, place_of_server(server))


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
    row = await repository.find_credential(session, server.id, identity_id)
    if row is not None:
        await session.delete(row)
        await session.flush()
    row = _seal(sealer, server, identity_id, put)
    row.updated_at = await repository.database_time(session)
    session.add(row)
    await _changed(
        session, server, "server_credential.set", identity_id, put.kind, caller, request_id, narrows=False
    )
    return row


async def delete_credential(
    session: AsyncSession, server: Server, identity_id: UUID | None, caller: Caller, request_id: str | None
) -> None:
    """Remove a credential of a locked server. Raises ``NotFound``."""
    row = await repository.find_credential(session, server.id, identity_id)
    if row is None:
        raise NotFound("This server has no such credential.")
    await session.delete(row)
    await _changed(
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


async def _changed(
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
    """A command is given variables, and exactly those that it declares; a URL is sent headers."""
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
        wanted = ", ".join(sorted(server.env_names or ())) or "none"
        raise Invalid.field(
            "/variables", "not_env_names", f"Give a value for each name of the server's env_names: {wanted}."
        )


def _check_token_url(policy: AddressPolicy, url: str) -> None:
    """The client's secret goes there: over TLS, or to an address that the operator has allowed."""
    reason = "the client's secret may go over http only to an address of an allowed network"
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


async def open_credential(
    session: AsyncSession, sealer: Sealer, server_row: Server, identity_id: UUID | None = None
) -> Opened:
    """What to send to a server: the identity's own credential, or else the server's; nothing without either.

    Raises ``UnsealingFault`` when a stored one does not open for the server's present origin. Never log the answer.
    """
    row = None
    if identity_id is not None:
        row = await repository.find_credential(session, server_row.id, identity_id)
    if row is None:
        row = await repository.find_credential(session, server_row.id, None)
    if row is None:
        return Opened()
    plaintext = sealer.unseal(Sealed(row.key_id, row.sealed), place_of(row, server_row))
    return _opened(row.id, json.loads(plaintext))


def _opened(row_id: UUID, contents: Any) -> Opened:
    if contents is None:
        return Opened()
    if isinstance(contents, dict) and contents["kind"] == "env":
        return Opened(variables=tuple(sorted(contents["variables"].items())))
    if isinstance(contents, dict):
        del contents["kind"]
        return Opened(client=ClientCredentials(row_id, **contents))
    name, value = contents
    return Opened(((name.encode("ascii"), value.encode("ascii")),))


def launch_of(server: Server, opened: Opened) -> Launch | None:
    """What a server is that runs as a command; ``None`` for one at a URL."""
    if server.transport != "stdio" or server.command is None:
        return None
    return Launch(server.id, server.command, tuple(server.args or ()), opened.variables)
