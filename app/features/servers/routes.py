"""``/api/v1/servers``: MCP servers and their credentials. ``/sync`` is in the routes of tools."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from app.features.servers import credentials, instructions, queries, service
from app.features.servers.credential_schemas import CredentialPut, CredentialQuery, UpstreamCredentialView
from app.features.servers.places import PlaceRules
from app.features.servers.schemas import (
    IncludeEnded,
    InstructionsApprove,
    ServerCreate,
    ServerInstructions,
    ServerPatch,
    ServerQuery,
    ServerView,
)
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.etags import IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import SERVER, IdentityId, ServerId, format_id
from app.models.servers import Server

router = api_router("servers")

Reader = Annotated[Caller, requires(Permission.SERVERS_READ)]
Writer = Annotated[Caller, requires(Permission.SERVERS_WRITE)]
_CHANGED = problem_responses(412)


@router.post("", operation_id="create_server", responses=problem_responses(409), status_code=201)
@once
async def create_server(
    body: ServerCreate,
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> ServerView:
    """Register a server. Nothing is sent to it; `POST /servers/{id}/sync` reads its tools."""
    rules = PlaceRules.of(runtime)
    row = await service.create(session, rules, body, caller, request.state.request_id)
    response.headers["Location"] = f"{router.prefix}/{format_id(SERVER, row.id)}"
    return await _shown(session, row, response)


@router.get("", operation_id="list_servers")
async def list_servers(
    query: Annotated[ServerQuery, Query()], caller: Reader, session: Session, runtime: CurrentRuntime
) -> Page[ServerView]:
    """List servers, newest first."""
    _asks_ended(caller, query.include)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_servers", query.filters())
    rows, next_cursor = await read_page(
        session, queries.select_servers(query), Server, cursors, query, queries.SORTS
    )
    return Page(items=await service.show(session, rows), next_cursor=next_cursor)


@router.get("/{server_id}", operation_id="get_server")
async def get_server(
    server_id: ServerId, caller: Reader, session: Session, response: Response, include: IncludeEnded = None
) -> ServerView:
    """Read one server."""
    row = await service.require(session, server_id, ended=_asks_ended(caller, include))
    return await _shown(session, row, response)


@router.patch("/{server_id}", operation_id="update_server", responses=problem_responses(409))
async def update_server(
    server_id: ServerId,
    body: ServerPatch,
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ServerView:
    """Change a server (merge patch). The slug and the transport never change."""
    row = await service.require_locked(session, server_id)
    if_match.check(row.revision)
    rules = PlaceRules.of(runtime)
    await service.update(session, rules, row, body, caller, request.state.request_id)
    return await _shown(session, row, response)


@router.delete("/{server_id}", operation_id="delete_server", status_code=204, responses=_CHANGED)
async def delete_server(
    server_id: ServerId, caller: Writer, session: Session, request: Request, if_match: IfMatch
) -> None:
    """End a server, immediately for every token. Its credentials are deleted, and its slug is reserved for 90 days."""
    row = await service.require_locked(session, server_id)
    if_match.check(row.revision)
    await service.end(session, row, caller, request.state.request_id)


@router.get(
    "/{server_id}/instructions",
    dependencies=[requires(Permission.SERVERS_READ)],
    operation_id="get_server_instructions",
)
async def get_server_instructions(server_id: ServerId, session: Session) -> ServerInstructions:
    """Read the instructions of a server: the latest text and the approved one that clients get."""
    return ServerInstructions.from_row(await service.require(session, server_id))


@router.post(
    "/{server_id}/instructions/approve",
    operation_id="approve_server_instructions",
    responses=problem_responses(409),
)
async def approve_server_instructions(
    server_id: ServerId,
    body: InstructionsApprove,
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
) -> ServerInstructions:
    """Approve the instructions of a server, the text with this digest.

    Clients that reach the whole server get them. `If-Match` takes the server's `ETag`."""
    row = await service.require_locked(session, server_id)
    if_match.check(row.revision)
    await instructions.approve(session, row, body.digest, caller, request.state.request_id)
    return ServerInstructions.from_row(row)


@router.get(
    "/{server_id}/credentials",
    dependencies=[requires(Permission.SERVERS_READ)],
    operation_id="list_server_credentials",
)
async def list_server_credentials(
    server_id: ServerId, query: Annotated[CredentialQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[UpstreamCredentialView]:
    """List the credentials of a server, its own and those of identities, newest first."""
    await service.require(session, server_id)
    key = runtime.peppers.derive("cursors")
    cursors = Cursors(key, "list_server_credentials", {"server_id": server_id})
    position = cursors.read(query.cursor)
    after = None if position is None else UUID(position[0])
    rows = await queries.credentials_after(session, server_id, after, query.limit + 1)
    shown = rows[: query.limit]
    following = cursors.write([shown[-1].id]) if len(rows) > query.limit else None
    return Page(items=[UpstreamCredentialView.from_row(row) for row in shown], next_cursor=following)


@router.put("/{server_id}/credential", operation_id="set_server_credential", responses=_CHANGED)
async def set_server_credential(
    server_id: ServerId,
    body: CredentialPut,
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
) -> UpstreamCredentialView:
    """Set the credential of a server, which replaces the client's token. It can be replaced, never read.

    `If-Match` takes the server's `ETag`."""
    row = await service.require_locked(session, server_id)
    if_match.check(row.revision)
    stored = await credentials.put_credential(
        session,
        runtime.sealer,
        runtime.outbound.policy,
        row,
        None,
        body.root,
        caller,
        request.state.request_id,
    )
    return UpstreamCredentialView.from_row(stored)


@router.delete(
    "/{server_id}/credential", operation_id="delete_server_credential", status_code=204, responses=_CHANGED
)
async def delete_server_credential(
    server_id: ServerId, caller: Writer, session: Session, request: Request, if_match: IfMatch
) -> None:
    """Remove the credential of a server: calls carry none. `If-Match` takes the server's `ETag`."""
    row = await service.require_locked(session, server_id)
    if_match.check(row.revision)
    await credentials.delete_credential(session, row, None, caller, request.state.request_id)


@router.put(
    "/{server_id}/credentials/{identity_id}", operation_id="set_identity_credential", responses=_CHANGED
)
async def set_identity_credential(
    server_id: ServerId,
    identity_id: IdentityId,
    body: CredentialPut,
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
) -> UpstreamCredentialView:
    """Set the credential for one identity's calls to a server, instead of the server's own.

    `If-Match` takes the server's `ETag`."""
    row = await service.require_locked(session, server_id)
    if_match.check(row.revision)
    stored = await credentials.put_credential(
        session,
        runtime.sealer,
        runtime.outbound.policy,
        row,
        identity_id,
        body.root,
        caller,
        request.state.request_id,
    )
    return UpstreamCredentialView.from_row(stored)


@router.delete(
    "/{server_id}/credentials/{identity_id}",
    operation_id="delete_identity_credential",
    status_code=204,
    responses=_CHANGED,
)
async def delete_identity_credential(
    server_id: ServerId,
    identity_id: IdentityId,
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
) -> None:
    """Remove the credential of one identity: its calls carry the server's own. `If-Match` takes the server's `ETag`."""
    row = await service.require_locked(session, server_id)
    if_match.check(row.revision)
    await credentials.delete_credential(session, row, identity_id, caller, request.state.request_id)


def _asks_ended(caller: Caller, include: IncludeEnded) -> bool:
    if include == "ended":
        authorize(caller, Permission.AUDIT_READ)
    return include == "ended"


async def _shown(session: Session, row: Server, response: Response) -> ServerView:
    set_etag(response, row.revision)
    return (await service.show(session, [row]))[0]
