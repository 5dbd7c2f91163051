"""`sgctl audit`: events of the audit log."""

import sys
from datetime import timedelta
from itertools import islice
from typing import Annotated, Any

import typer

from scopegate_client import Client
from scopegate_client.cli import values
from scopegate_client.cli.choices import choice
from scopegate_client.cli.command import Session, command
from scopegate_client.cli.finding import find_identity, find_server, is_id
from scopegate_client.cli.groups import group
from scopegate_client.cli.listing import LimitOption, answer_list, page_size
from scopegate_client.cli.output import Column, shown
from scopegate_client.models import AuditDecision, AuditEvent, AuditOutcome

app = group("Search and follow the audit log.")

ActionOption = Annotated[
    list[str] | None, typer.Option("--action", help="The action, for example tool.call; repeatable.")
]
ActorOption = Annotated[str | None, typer.Option("--actor", help="Who did it: a user name or an id.")]
TokenOption = Annotated[
    str | None, typer.Option("--token", metavar="TOKEN_ID", parser=values.token_id, help="The token.")
]
ServerOption = Annotated[str | None, typer.Option("--server", metavar="SLUG", help="The server.")]
ToolOption = Annotated[str | None, typer.Option("--tool", help="The tool.")]
DecisionOption = Annotated[list[Any] | None, choice("--decision", AuditDecision, "The decision.")]
OutcomeOption = Annotated[list[Any] | None, choice("--outcome", AuditOutcome, "The outcome; needs --since.")]
ObjectOption = Annotated[str | None, typer.Option("--object", metavar="ID", help="The changed object.")]
RequestOption = Annotated[str | None, typer.Option("--request-id", help="The request.")]
QueryOption = Annotated[
    str | None, typer.Option("--query", metavar="TEXT", help="Text in the names of persons and objects.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="A span such as 15m or 7d, or a time such as 2026-05-03."),
]


def _target(event: AuditEvent) -> str | None:
    """The object or tool of an event."""
    if event.server is not None:
        slug = event.server.slug or event.server.id
        return f"{slug}/{event.tool}" if event.tool else slug
    return event.object.id if event.object is not None else event.token_id


_COLUMNS: list[Column[AuditEvent]] = [
    Column("TIME", lambda event: event.time),
    Column("ACTION", lambda event: event.action),
    Column("ACTOR", lambda event: event.actor.name or event.actor.id or event.actor.type),
    Column("ON", _target),
    Column("DECISION", lambda event: event.decision),
    Column("OUTCOME", lambda event: event.outcome),
    Column("ID", lambda event: event.id),
]
# The default time range, which the API accepts with every filter.
_RECENT = "30d"
# The column widths of a list without an end.
_WIDTHS = (20, 24, 20, 34, 9, 12, 0)


@command(app, "search")
def search(
    session: Session,
    *,
    since: SinceOption = _RECENT,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="As --since.")] = None,
    action: ActionOption = None,
    actor: ActorOption = None,
    token: TokenOption = None,
    server: ServerOption = None,
    tool: ToolOption = None,
    decision: DecisionOption = None,
    outcome: OutcomeOption = None,
    object_id: ObjectOption = None,
    request_id: RequestOption = None,
    query: QueryOption = None,
    limit: LimitOption = 50,
) -> None:
    """Search the audit log, newest first."""
    with session.client() as client:
        filters = _who_and_where(client, actor, server) | {
            "since": values.earlier(since or _RECENT),
            "action": action or None,
            "token_id": token,
            "tool": tool,
            "decision": decision or None,
            "outcome": outcome or None,
            "object_id": object_id,
            "request_id": request_id,
            "q": query,
        }
        filters["until"] = values.earlier(until) if until is not None else None
        events = client.audit_events.list(page_size=page_size(limit), **filters)
        answer_list(session.output, events, _COLUMNS, limit)


@command(app, "tail")
def tail(
    session: Session,
    *,
    lines: Annotated[
        int,
        typer.Option("--lines", "-n", min=0, max=200, help="The number of earlier events, unless --since."),
    ] = 10,
    since: SinceOption = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="CURSOR", help="Continue after the cursor of another tail."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for new events.")] = True,
    action: ActionOption = None,
    actor: ActorOption = None,
    token: TokenOption = None,
    server: ServerOption = None,
    tool: ToolOption = None,
    decision: DecisionOption = None,
    outcome: OutcomeOption = None,
    object_id: ObjectOption = None,
    request_id: RequestOption = None,
    query: QueryOption = None,
) -> None:
    """Show new events in the order of their commits, without gaps. With -o json: NDJSON.

    Press Ctrl-C to stop.
    """
    with session.client() as client:
        filters = _who_and_where(client, actor, server) | {
            "since": values.earlier(since or _RECENT),
            "action": action or None,
            "token_id": token,
            "tool": tool,
            "decision": decision or None,
            "outcome": outcome or None,
            "object_id": object_id,
            "request_id": request_id,
            "q": query,
        }
        if since is None:
            filters["since"] = None if after else _time_of_last(client, lines, filters)
        following = client.audit_events.follow(after=after, wait=follow, **filters)
        try:
            for event in following:
                _show(session, event)
        finally:
            _tell_how_to_go_on(session, filters, following.cursor)


def _tell_how_to_go_on(session: Session, filters: dict[str, Any], cursor: str) -> None:
    """Print how to continue: a cursor belongs to the filters that it was created with, including the time."""
    began = "" if filters["since"] is None else f" --since {filters['since'].isoformat()}"
    reached = f" --after {cursor}" if cursor else ""
    session.output.remark(f"To go on from here, with the same filters:{began}{reached}")


def _who_and_where(client: Client, actor: str | None, server: str | None) -> dict[str, Any]:
    """The filters that people specify by name."""
    if actor is not None and not is_id(actor):
        actor = find_identity(client, actor).id
    return {
        "actor_id": actor,
        "server_id": find_server(client, server).id if server is not None else None,
    }


def _time_of_last(client: Client, lines: int, filters: dict[str, Any]) -> Any:
    """The time of the oldest of the last ``lines`` events, to start with."""
    last = list(islice(client.audit_events.list(page_size=max(lines, 1), **filters), max(lines, 1)))
    if not last:
        return filters["since"]
    return last[-1].time if lines else last[0].time + timedelta(microseconds=1)


def _show(session: Session, event: AuditEvent) -> None:
    if session.output.is_json:
        session.output.record(event)
        return
    cells = [shown(column.value(event)) for column in _COLUMNS]
    if not sys.stdout.isatty():
        session.output.line("\t".join(cells))
        return
    session.output.line("  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)))
