"""Decryption of upstream credentials. Each is bound to one row, one server and one origin."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer
from app.models.servers import Server, ServerCredential
from app.outbound.client_tokens import ClientCredentials
from app.outbound.http import origin_of
from app.outbound.stdio import Launch, command_place

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class OpenedCredential:
    """A decrypted credential: headers, client credentials for an access token, or the variables of a command."""

    headers: Headers = ()
    client: ClientCredentials | None = None
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def credential_place(row_id: UUID, server_id: UUID, origin: str) -> bytes:
    """The associated data that binds an encrypted credential to its row, server and origin."""
    return f"server-credential {row_id} {server_id} {origin}".encode()


def credential_binding(row: ServerCredential, server: Server) -> bytes:
    """The associated data of a stored credential, from the present state of its server."""
    return credential_place(row.id, server.id, place_of_server(server))


def place_of_server(server: Server) -> str:
    """The origin that a server's credential is bound to, or a digest of its command."""
    fields = {name: getattr(server, name) for name in ("url", "command", "args", "env_names")}
    return place_of_fields(server.transport, fields)


def place_of_fields(transport: str, fields: dict[str, Any]) -> str:
    """The same for validated fields of a request."""
    if transport == "stdio":
        return command_place(fields["command"] or "", fields["args"] or [], fields["env_names"] or [])
    return str(origin_of(fields["url"] or ""))


async def find_credential(
    session: AsyncSession, server_id: UUID, identity_id: UUID | None
) -> ServerCredential | None:
    """The credential of a server for one identity, or the server's own (None)."""
    mine = col(ServerCredential.identity_id)
    query = select(ServerCredential).where(
        col(ServerCredential.server_id) == server_id,
        mine.is_(None) if identity_id is None else mine == identity_id,
    )
    return (await session.scalars(query)).one_or_none()


async def credential_holders(session: AsyncSession, server_id: UUID) -> frozenset[UUID]:
    """The identities with their own credential for the server."""
    query = select(col(ServerCredential.identity_id)).where(
        col(ServerCredential.server_id) == server_id, col(ServerCredential.identity_id).is_not(None)
    )
    return frozenset(await session.scalars(query))


async def open_credential(
    session: AsyncSession, sealer: Sealer, server_row: Server, identity_id: UUID | None = None
) -> OpenedCredential:
    """Decrypt the credential for a server: the identity's own, or else the server's; empty without either.

    Raises ``UnsealingFault`` when it is not bound to the server's present origin. Never log the result.
    """
    row = None
    if identity_id is not None:
        row = await find_credential(session, server_row.id, identity_id)
    if row is None:
        row = await find_credential(session, server_row.id, None)
    if row is None:
        return OpenedCredential()
    plaintext = sealer.unseal(Sealed(row.key_id, row.sealed), credential_binding(row, server_row))
    return _parse(row.id, json.loads(plaintext))


def _parse(row_id: UUID, contents: Any) -> OpenedCredential:
    if contents is None:
        return OpenedCredential()
    if isinstance(contents, dict) and contents["kind"] == "env":
        return OpenedCredential(variables=tuple(sorted(contents["variables"].items())))
    if isinstance(contents, dict):
        del contents["kind"]
        return OpenedCredential(client=ClientCredentials(row_id, **contents))
    name, value = contents
    return OpenedCredential(((name.encode("ascii"), value.encode("ascii")),))


def launch_of(server: Server, opened: OpenedCredential) -> Launch | None:
    """The launch parameters of a server that runs as a command; ``None`` for a server with a URL."""
    if server.transport != "stdio" or server.command is None:
        return None
    return Launch(server.id, server.command, tuple(server.args or ()), opened.variables)
