"""Upstream credentials, opened for sending: each is sealed for one row, one server and one origin."""

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


def place_of_server(server: Server) -> str:
    """What a credential is bound to: the URL's origin, or a digest of the command."""
    fields = {name: getattr(server, name) for name in ("url", "command", "args", "env_names")}
    return place_of_fields(server.transport, fields)


def place_of_fields(transport: str, fields: dict[str, Any]) -> str:
    """The same, of fields that have been checked."""
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
    """The identities that have a credential of their own for the server."""
    query = select(col(ServerCredential.identity_id)).where(
        col(ServerCredential.server_id) == server_id, col(ServerCredential.identity_id).is_not(None)
    )
    return frozenset(await session.scalars(query))


async def open_credential(
    session: AsyncSession, sealer: Sealer, server_row: Server, identity_id: UUID | None = None
) -> Opened:
    """What to send to a server: the identity's own credential, or else the server's; nothing without either.

    Raises ``UnsealingFault`` when a stored one does not open for the server's present origin. Never log the answer.
    """
    row = None
    if identity_id is not None:
        row = await find_credential(session, server_row.id, identity_id)
    if row is None:
        row = await find_credential(session, server_row.id, None)
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
