"""Register, read, change and end servers, and approve their instructions."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.credentials import place_of_fields
from app.db import rows
from app.db.change import Change, Subject, savepoint
from app.db.rows import Lock
from app.domain.access import FLEET_ID
from app.domain.definitions import text_digest
from app.domain.errors import Conflict, FieldError, Invalid
from app.features.servers import queries
from app.features.servers.schemas import ServerCreate, ServerPatch, ServerQuery, ServerView
from app.http.authorization import Caller, Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Cursors, Page, read_page
from app.http.runtime import Runtime
from app.http.selectors import MAX_LABELS
from app.lib import strict_json
from app.lib.ids import GROUP, format_id
from app.models.identities import Group
from app.models.servers import Server, ServerCredential
from app.outbound.http import ForbiddenUrl

_PLACES = {"streamable_http": ("url",), "stdio": ("command", "args", "env_names")}
"""The fields with the location of a server, by transport."""
_PLACE = tuple(name for names in _PLACES.values() for name in names)
# Decisions depend on these, so a change moves the server's version; fields that grants select by also move the fleet's.
_DECISIVE = {*_PLACE, "status", "labels", "owner_group_id", "keep_arguments"}


def _digest_of(args: Sequence[str]) -> str:
    """Arguments for the audit log, since they may contain a key."""
    digest = hashlib.sha256(strict_json.dumps(list(args))).hexdigest()[:16]
    return f"{len(args)} words, sha256 {digest}"


SERVER = Subject(
    "server",
    audited=("slug", "transport", *ServerPatch.model_fields),
    history="server",
    kept=("slug", "status", "labels"),
    shown={
        # Its query may contain a key.
        "url": lambda url: urlsplit(url)._replace(query="").geturl(),
        "args": _digest_of,
        "owner_group_id": lambda id: format_id(GROUP, id),
    },
)


async def list_servers(
    session: AsyncSession, caller: Caller, query: ServerQuery, runtime: Runtime
) -> Page[ServerView]:
    """Read a page of servers. Raises ``Forbidden`` when ended ones are requested."""
    if query.include is not None:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_servers", query.filters())
    statement = queries.select_servers(query)
    servers, next_cursor = await read_page(session, statement, Server, cursors, query, queries.SORTS)
    return Page(items=await _views(session, servers), next_cursor=next_cursor)


async def _views(session: AsyncSession, servers: Sequence[Server]) -> list[ServerView]:
    ids = [server.id for server in servers]
    counts = await queries.count_tools(session, ids)
    credentials = await queries.own_credentials(session, ids)
    return [ServerView.from_row(row, counts.get(row.id, 0), credentials.get(row.id)) for row in servers]


async def get_server(session: AsyncSession, caller: Caller, id: UUID, *, ended: bool = False) -> Server:
    """Read a server; with ``ended``, also an ended one. Raises ``NotFound`` and ``Forbidden``."""
    if ended:
        authorize(caller, Permission.AUDIT_READ)
    server = await session.get(Server, id)
    return server if ended and server is not None else rows.existing(server, "server")


async def show(session: AsyncSession, server: Server) -> ServerView:
    """Build the view of one server."""
    return (await _views(session, [server]))[0]


async def create_server(change: Change, runtime: Runtime, body: ServerCreate) -> Server:
    """Register a server. Raises ``Invalid`` (``forbidden_url`` and ``stdio_not_allowed`` among its codes) and
    ``Conflict`` (``slug_taken``)."""
    session = change.session
    _check_place(runtime, body.transport, {name: getattr(body, name) for name in _PLACE})
    await _check_owner(session, body.owner_group_id)
    if await queries.slug_is_taken(session, body.slug):
        raise _slug_taken(body.slug)
    server = Server(**body.model_dump(exclude={"name"}), name=body.name or body.slug)
    if server.transport == "stdio":
        server.args, server.env_names = server.args or [], server.env_names or []
    try:
        async with savepoint(session):
            session.add(server)
            await session.flush()
    except IntegrityError as error:
        raise _slug_taken(body.slug) from error
    await session.refresh(server)
    change.record(
        "server.create", SERVER, SERVER.blank(server), server,
        widens=[server.id, FLEET_ID], server_id=server.id,
    )  # fmt: skip
    return server


async def update_server(
    change: Change, runtime: Runtime, id: UUID, body: ServerPatch, if_match: Precondition
) -> Server:
    """Apply a merge patch. Raises ``NotFound``, ``PreconditionFailed``, ``Invalid``, and ``Conflict`` for a URL or
    command other than the one that a stored credential is bound to."""
    session, server = change.session, await lock_server(change, id, if_match)
    fields = body.given()
    if "labels" in fields:
        fields["labels"] = _merge(server.labels, fields["labels"])
    changed = {name for name, value in fields.items() if getattr(server, name) != value}
    if not changed:
        return server
    if changed.intersection(_PLACE):
        place = {name: fields.get(name, getattr(server, name)) for name in _PLACE}
        _check_place(runtime, server.transport, place)
        await _check_bound(session, server, place_of_fields(server.transport, place))
        server.sync_state, server.sync_started_at = "never", None
    if "owner_group_id" in changed:
        await _check_owner(session, fields["owner_group_id"])
    before = SERVER.values(server)
    for name in changed:
        setattr(server, name, fields[name])
    server.revision += 1
    await session.flush()
    await session.refresh(server)
    moved = [server.id] if changed & _DECISIVE else []
    if "labels" in changed:
        moved.append(FLEET_ID)
    disabled = "status" in changed and server.status != "active"
    narrows = disabled or bool(changed & {"labels", "owner_group_id"})
    change.record("server.update", SERVER, before, server, server_id=server.id)
    change.move(narrows=moved if narrows else [], widens=moved)
    return server


async def end_server(change: Change, id: UUID, if_match: Precondition) -> None:
    """End a server: it cannot be called, its credentials are deleted, its history stays. Raises ``NotFound`` and
    ``PreconditionFailed``."""
    server = await lock_server(change, id, if_match)
    server.ended_at = change.now
    server.revision += 1
    statement = delete(ServerCredential).where(col(ServerCredential.server_id) == server.id)
    await change.session.execute(statement)
    change.record(
        "server.delete", SERVER, server, None,
        details={"slug": server.slug}, narrows=[server.id, FLEET_ID], server_id=server.id,
    )  # fmt: skip


async def approve_instructions(change: Change, id: UUID, seen_digest: str, if_match: Precondition) -> Server:
    """Approve a server's latest instructions (MCP's ``instructions``, which models follow), with the digest that was
    reviewed. Raises ``NotFound``, ``PreconditionFailed``, and ``Conflict`` (``definition_changed``)."""
    server = await lock_server(change, id, if_match)
    latest, before = server.instructions, server.approved_instructions
    if latest is None or text_digest(latest).hex() != seen_digest:
        raise Conflict(
            "The server's instructions no longer have this digest: read them again and approve the current ones.",
            code="definition_changed",
            errors=[FieldError("/digest", "definition_changed", "not the latest instructions")],
        )
    if before == latest:
        return server
    server.approved_instructions = latest
    server.revision += 1
    digests = {"from": None if before is None else text_digest(before).hex(), "to": seen_digest}
    change.record(
        "server.approve_instructions", SERVER, server, server,
        details={"digest": digests}, widens=[server.id], server_id=server.id,
    )  # fmt: skip
    return server


async def lock_server(change: Change, id: UUID, if_match: Precondition) -> Server:
    """Lock and read a live server. Raises ``NotFound`` and ``PreconditionFailed``."""
    server = rows.existing(await rows.lock(change.session, Server, id, Lock.UPDATE), "server")
    if_match.check(server.revision)
    return server


def _slug_taken(slug: str) -> Conflict:
    days = queries.SLUG_RESERVATION.days
    return Conflict(
        f"The slug {slug} is in use, or was until less than {days} days ago; choose another.",
        code="slug_taken",
        errors=[FieldError("/slug", "slug_taken", "choose another slug")],
    )


async def _check_bound(session: AsyncSession, server: Server, place: str) -> None:
    query = select(col(ServerCredential.origin)).where(col(ServerCredential.server_id) == server.id)
    bound = set(await session.scalars(query))
    if bound and bound != {place}:
        what = "command" if server.transport == "stdio" else "URL"
        raise Conflict(
            "A stored credential is bound to the current origin and is never sent elsewhere. Remove it (DELETE "
            f"/api/v1/servers/.../credential), change the {what}, and set it again. "
            f"Bound to: {', '.join(sorted(bound))}.",
            code="credential_bound_to_origin",
        )


async def _check_owner(session: AsyncSession, group_id: UUID | None) -> None:
    if group_id is None:
        return
    group = await rows.lock(session, Group, group_id, Lock.SHARE)
    if group is None or group.ended_at is not None:
        raise Invalid.field("/owner_group_id", "unknown_group", "There is no such group.")


def _merge(labels: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    merged = {key: value for key, value in {**labels, **changes}.items() if value is not None}
    if len(merged) > MAX_LABELS:
        detail = f"A server has at most {MAX_LABELS} labels; set some to null."
        raise Invalid.field("/labels", "too_many", detail)
    return merged


def _check_place(runtime: Runtime, transport: str, fields: dict[str, Any]) -> None:
    """Raise ``Invalid`` for fields of the other transport, and for a URL or command that the operator forbids."""
    other = "stdio" if transport == "streamable_http" else "streamable_http"
    for name in _PLACES[other]:
        if fields[name] is not None:
            detail = f"{name} belongs to the transport {other}; leave it out."
            raise Invalid.field(f"/{name}", f"not_for_{transport}", detail)
    required = _PLACES[transport][0]
    if fields[required] is None:
        detail = f"A server with the transport {transport} needs a {required}."
        raise Invalid.field(f"/{required}", "required", detail)
    if transport == "streamable_http":
        _check_url(runtime, fields["url"])
        return
    variables = runtime.commands.variables(fields["command"], fields["args"] or [])
    if variables is None:
        detail = (
            "This command line may not run on the gateway's host. Its operator allows exact command lines in "
            "SCOPEGATE_STDIO_ALLOWED_COMMANDS."
        )
        raise _forbidden("/command", detail, code="stdio_not_allowed")
    check_variables(
        variables, {name: f"/env_names/{at}" for at, name in enumerate(fields["env_names"] or [])}
    )


def check_variables(allowed: frozenset[str], pointers: Mapping[str, str]) -> None:
    """Raise ``Invalid`` for a variable, given with its pointer, that the operator does not allow for the command."""
    for name, pointer in pointers.items():
        if name not in allowed:
            detail = (
                f"A credential may not set {name} for this command. The operator of the gateway's host allows it by "
                f'an entry of SCOPEGATE_STDIO_ALLOWED_COMMANDS with "variables": ["{name}"].'
            )
            raise _forbidden(pointer, detail, code="stdio_not_allowed")


def _check_url(runtime: Runtime, url: str) -> None:
    if runtime.own_addresses.holds(url):
        detail = "This is the gateway's own address. Give the URL of the server behind it."
        raise _forbidden("/url", detail, code="forbidden_url")
    try:
        runtime.outbound.policy.check_url(url)
    except ForbiddenUrl as error:
        reason = f"{error.reason[:1].upper()}{error.reason[1:]}"
        detail = f"{reason}. Private addresses need SCOPEGATE_UPSTREAM_ALLOWED_NETWORKS."
        raise _forbidden("/url", detail, code="forbidden_url") from None


def _forbidden(pointer: str, detail: str, *, code: str) -> Invalid:
    return Invalid(detail, code=code, errors=[FieldError(pointer, code, detail)])
