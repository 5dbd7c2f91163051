"""Upstream credentials: set, remove and reencrypt them. Each is encrypted for one row, one server and one origin."""

import json
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.access.credentials import credential_place, find_credential, place_of_server
from app.crypto.keys import Sealer
from app.db import resealing
from app.db.change import Change
from app.domain.errors import FieldError, Invalid, NotFound
from app.features.identities.queries import lock_identity
from app.features.servers import schemas
from app.features.servers.service import SERVER, check_variables, get_server, lock_server
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.http.pagination import Cursors, ListQuery, Page, read_page
from app.http.runtime import Runtime
from app.lib.ids import IDENTITY, format_id, new_id
from app.models.servers import Server, ServerCredential
from app.outbound.http import AddressPolicy, ForbiddenUrl

_ERASE = text("DELETE FROM server_credentials WHERE identity_id = :id")

_KINDS = {"stdio": "env or none", "streamable_http": "bearer, header, oauth_client_credentials or none"}


async def list_credentials(
    session: AsyncSession, caller: Caller, server_id: UUID, query: schemas.CredentialQuery, runtime: Runtime
) -> Page[schemas.UpstreamCredentialView]:
    """Read a page of the credentials of a server, its own and those of identities, newest first. Raises
    ``NotFound``."""
    await get_server(session, caller, server_id)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_server_credentials", {"server_id": server_id})
    statement = select(ServerCredential).where(col(ServerCredential.server_id) == server_id)
    listing = ListQuery(limit=query.limit, cursor=query.cursor)
    credentials, next_cursor = await read_page(session, statement, ServerCredential, cursors, listing)
    items = [schemas.UpstreamCredentialView.model_validate(row, from_attributes=True) for row in credentials]
    return Page(items=items, next_cursor=next_cursor)


async def put_credential(
    change: Change,
    runtime: Runtime,
    server_id: UUID,
    identity_id: UUID | None,
    body: schemas.Credential,
    if_match: Precondition,
) -> ServerCredential:
    """Set or replace the credential of a server, or of one identity there. ``if_match`` is about the server. Raises
    ``Invalid``, ``NotFound`` and ``PreconditionFailed``."""
    session, server = change.session, await lock_server(change, server_id, if_match)
    _check_kind(server, body)
    if isinstance(body, schemas.EnvCredential):
        allowed = runtime.commands.variables(server.command or "", server.args or []) or frozenset()
        check_variables(allowed, {name: f"/variables/{name}" for name in body.variables})
    if isinstance(body, schemas.OAuthClientCredential):
        _check_token_url(runtime.outbound.policy, body.token_url)
    if identity_id is not None:
        identity = await lock_identity(session, identity_id, share=True)
        if identity is None or identity.status == "offboarded":
            raise NotFound("There is no such identity.")
    replaced = await find_credential(session, server.id, identity_id)
    if replaced is not None:
        await session.delete(replaced)
        await session.flush()
    id, origin = new_id(), place_of_server(server)
    plaintext = json.dumps(body.contents()).encode()
    sealed = runtime.sealer.seal(plaintext, credential_place(id, server.id, origin))
    credential = ServerCredential(
        id=id,
        server_id=server.id,
        identity_id=identity_id,
        kind=body.kind,
        origin=origin,
        key_id=sealed.key_id,
        sealed=sealed.data,
        updated_at=change.now,
    )
    session.add(credential)
    _record(change, "server_credential.set", server, credential)
    change.move(widens=[server.id])
    return credential


async def delete_credential(
    change: Change, server_id: UUID, identity_id: UUID | None, if_match: Precondition
) -> None:
    """Remove the credential of a server, or of one identity there. Raises ``NotFound`` and ``PreconditionFailed``."""
    server = await lock_server(change, server_id, if_match)
    credential = await find_credential(change.session, server.id, identity_id)
    if credential is None:
        raise NotFound("This server has no such credential.")
    await change.session.delete(credential)
    _record(change, "server_credential.delete", server, credential)
    change.move(narrows=[server.id])


def _record(change: Change, action: str, server: Server, credential: ServerCredential) -> None:
    server.revision += 1
    holder = credential.identity_id
    details = {"kind": credential.kind, "identity_id": holder and format_id(IDENTITY, holder)}
    change.record(action, SERVER, server, server, details=details, server_id=server.id)


def _check_kind(server: Server, put: schemas.Credential) -> None:
    """Require variables for a command, exactly those that it declares, and headers for a URL."""
    if isinstance(put, schemas.NoCredential):
        return
    if (server.transport == "stdio") != isinstance(put, schemas.EnvCredential):
        detail = f"A {server.transport} server takes the kinds {_KINDS[server.transport]}."
        raise Invalid.field("/kind", f"not_for_{server.transport}", detail)
    if isinstance(put, schemas.EnvCredential) and set(put.variables) != set(server.env_names or ()):
        names = ", ".join(sorted(server.env_names or ())) or "none"
        detail = f"Give a value for each name of the server's env_names: {names}."
        raise Invalid.field("/variables", "not_env_names", detail)


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


async def reseal(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> tuple[int, int]:
    """Reencrypt every stored credential, as ``db.resealing`` does. Its id stays, and so do the workers' caches."""

    def place(row: ServerCredential) -> bytes:
        return credential_place(row.id, row.server_id, row.origin)

    return await resealing.reseal(sessions, sealer, ServerCredential, place)


async def erase(change: Change, identity_id: UUID) -> None:
    """Delete the identity's own credentials for servers. No call can use them any more, so no version moves."""
    await change.session.execute(_ERASE, {"id": identity_id})
