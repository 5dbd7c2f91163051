"""`sgctl server` and `sgctl grant`: the servers, and who may use them."""

from typing import Annotated, Any

import typer

from scopegate_client.cli.choices import choice
from scopegate_client.cli.command import Session, command
from scopegate_client.cli.finding import find_identity, find_server
from scopegate_client.cli.groups import group
from scopegate_client.cli.listing import LimitOption, answer_list, page_size
from scopegate_client.cli.output import Column
from scopegate_client.models import Grant, GrantStatus, Server, ServerStatus

servers = group("List and show MCP servers.")
grants = group("List grants: who may use which tools.")

_SERVERS: list[Column[Server]] = [
    Column("ID", lambda server: server.id),
    Column("SLUG", lambda server: server.slug),
    Column("NAME", lambda server: server.name),
    Column("STATUS", lambda server: server.status),
    Column("SYNC", lambda server: server.sync.state),
    Column("TOOLS", lambda server: server.tool_count),
]
_SERVER: list[Column[Server]] = [
    *_SERVERS,
    Column("DESCRIPTION", lambda server: server.description),
    Column("LABELS", lambda server: server.labels.to_dict()),
    Column("TRANSPORT", lambda server: server.transport),
    Column("URL", lambda server: server.url),
    Column("COMMAND", lambda server: server.command),
    Column("NEW TOOLS", lambda server: server.new_tools),
    Column("SYNCED", lambda server: server.sync.at),
    Column("SYNC ERROR", lambda server: server.sync.error),
    Column("CREATED", lambda server: server.created_at),
]
_GRANTS: list[Column[Grant]] = [
    Column("ID", lambda grant: grant.id),
    Column("PRINCIPAL", lambda grant: grant.principal.id),
    Column("SERVERS", lambda grant: selected(grant.servers.to_dict())),
    Column("TOOLS", lambda grant: selected(grant.tools.to_dict())),
    Column("STATUS", lambda grant: grant.status),
    Column("EXPIRES", lambda grant: grant.expires_at),
]


@command(servers, "list")
def list_servers(
    session: Session,
    *,
    status: Annotated[list[Any] | None, choice("--status", ServerStatus, "Repeatable.")] = None,
    query: Annotated[
        str | None,
        typer.Option("--query", metavar="TEXT", help="Text in the slug, the name or the description."),
    ] = None,
    limit: LimitOption = 100,
) -> None:
    """List servers, newest first."""
    with session.client() as client:
        found = client.servers.list(page_size=page_size(limit), status=status or None, q=query)
        answer_list(session.output, found, _SERVERS, limit)


@command(servers, "show")
def show_server(
    session: Session,
    *,
    server: Annotated[str, typer.Argument(metavar="SERVER", help="A slug, or an id: srv_...")],
) -> None:
    """Show one server."""
    with session.client() as client:
        found = find_server(client, server)
    if session.output.is_json:
        session.output.document(found)
    else:
        session.output.fields(found, _SERVER)


@command(grants, "list")
def list_grants(
    session: Session,
    *,
    identity: Annotated[
        str | None,
        typer.Option("--identity", "-i", help="Grants to this identity: a user name or idn_..."),
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="GROUP_ID", help="Grants to this group: grp_...")
    ] = None,
    status: Annotated[list[Any] | None, choice("--status", GrantStatus, "Repeatable.")] = None,
    limit: LimitOption = 100,
) -> None:
    """List grants, newest first."""
    with session.client() as client:
        found = client.grants.list(
            page_size=page_size(limit),
            identity_id=find_identity(client, identity).id if identity is not None else None,
            group_id=group,
            status=status or None,
        )
        answer_list(session.output, found, _GRANTS, limit)


def selected(selector: dict[str, object]) -> str:
    """Format a selector for a cell."""
    match selector:
        case {"kind": "ids", "ids": list(ids)}:
            return ", ".join(map(str, ids)) or "none"
        case {"kind": "names", "names": list(names)}:
            return ", ".join(map(str, names)) or "none"
        case {"kind": "labels", "labels": dict(labels)}:
            return ", ".join(f"{key}={value}" for key, value in labels.items())
        case {"kind": "risk", "risk": list(risks)}:
            return "risk " + " or ".join(map(str, risks))
        case {"kind": kind}:
            return str(kind)
    return "-"
