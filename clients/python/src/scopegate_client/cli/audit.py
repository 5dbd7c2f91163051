"""`sgctl audit`: who did what, and what was decided."""

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

app = group("Who did what, and what was decided.")

ActionOption = Annotated[
    list[str] | None, typer.Option("--action", help="As tool.call or token.issue; repeatable.")
]
ActorOption = Annotated[
    str | None, typer.Option("--actor", help="Who did it: a user name, or the id of whoever it was.")
]
TokenOption = Annotated[
    str | None, typer.Option("--token", metavar="TOKEN_ID", parser=values.token_id, help="With this token.")
]
ServerOption = Annotated[str | None, typer.Option("--server", metavar="SLUG", help="At this server.")]
ToolOption = Annotated[str | None, typer.Option("--tool", help="With this tool.")]
DecisionOption = Annotated[list[Any] | None, choice("--decision", AuditDecision, "What was decided.")]
OutcomeOption = Annotated[
    list[Any] | None, choice("--outcome", AuditOutcome, "What became of it; needs --since.")
]
ObjectOption = Annotated[str | None, typer.Option("--object", metavar="ID", help="What was changed.")]
RequestOption = Annotated[str | None, typer.Option("--request-id", help="Of this request.")]
QueryOption = Annotated[
    str | None, typer.Option("--query", metavar="TEXT", help="Names of who or what took part.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="A span as 15m or 7d, or a time as 2026-12-31.")
]


def _target(event: AuditEvent) -> str | None:
    """What it was done to or with."""
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
# How far back to look unless told: what the API takes with every filter.
_RECENT = "30d"
# How wide the columns are in a list that has no end.
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
    """Search the audit trail, newest first."""
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
        int, typer.Option("--lines", "-n", min=0, max=200, help="So many events from before, unless --since.")
    ] = 10,
    since: SinceOption = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="CURSOR", help="Go on where another tail left off.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for what comes.")] = True,
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
    """Show events as they come, in the order of their commits, skipping none. With -o json: NDJSON.

    Ctrl-C ends it.
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
    """A cursor is good for the filters that it came with, the time among them."""
    began = "" if filters["since"] is None else f" --since {filters['since'].isoformat()}"
    reached = f" --after {cursor}" if cursor else ""
    session.output.remark(f"To go on from here, with the same filters:{began}{reached}")


def _who_and_where(client: Client, actor: str | None, server: str | None) -> dict[str, Any]:
    """The filters that people give by name."""
    if actor is not None and not is_id(actor):
        actor = find_identity(client, actor).id
    return {
        "actor_id": actor,
        "server_id": find_server(client, server).id if server is not None else None,
    }


def _time_of_last(client: Client, lines: int, filters: dict[str, Any]) -> Any:
    """The time of the last so many recent events, to begin with. Without any there is nothing to leave out."""
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
