"""`sgctl token`: issue, show and revoke scoped tokens."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scopegate_client import UNSET, Client
from scopegate_client.cli import asking, values
from scopegate_client.cli.choices import choice
from scopegate_client.cli.command import Session, command
from scopegate_client.cli.finding import find_identity, find_server
from scopegate_client.cli.groups import group
from scopegate_client.cli.listing import LimitOption, answer_list, page_size
from scopegate_client.cli.new_secrets import RevealOption, SecretFileOption, secret_way
from scopegate_client.cli.output import Column, shown
from scopegate_client.models import GrantsScope, ListedScope, Risk, Token, TokenRevocation, TokenStatus

app = group("Issue, show and revoke scoped tokens.")

TokenArgument = Annotated[
    str, typer.Argument(metavar="TOKEN_ID", parser=values.token_id, help="The id of a token: tok_...")
]

_IN_LIST: list[Column[Token]] = [
    Column("ID", lambda token: token.id),
    Column("NAME", lambda token: token.name),
    Column("IDENTITY", lambda token: token.identity_id),
    Column("STATUS", lambda token: token.status),
    Column("EXPIRES", lambda token: token.expires_at),
    Column("LAST USED", lambda token: token.last_used_at),
]
_ALONE: list[Column[Token]] = [
    *_IN_LIST,
    Column("SCOPE", lambda token: scope_in_words(token.scope)),
    Column("TOOLS NOW", lambda token: None if token.reaches is None else token.reaches.tools),
    Column("WARNINGS", lambda token: [warning.detail for warning in token.warnings or []]),
    Column("FROM ADDRESSES", lambda token: token.ip_allow),
    Column("PARENT", lambda token: token.parent_id),
    Column("OLD SECRET UNTIL", lambda token: token.overlap_until),
    Column("CREATED", lambda token: token.created_at),
    Column("REVOKED", lambda token: token.revoked_at),
    Column("REVOKED FOR", lambda token: token.revoke_reason),
]
_REVOCATION: list[Column[TokenRevocation]] = [
    Column("TOKEN", lambda answer: answer.token.id),
    Column("NAME", lambda answer: answer.token.name),
    Column("ENDED", lambda answer: answer.revoked.tokens),
    Column("CALLS CUT", lambda answer: answer.revoked.in_flight),
]


@command(app, "issue")
def issue(
    session: Session,
    *,
    identity: Annotated[
        str,
        typer.Option("--identity", "-i", metavar="IDENTITY", help="The identity: a user name or idn_..."),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The name, for example 'laptop'.")],
    expires: Annotated[
        str,
        typer.Option(
            "--expires", metavar="WHEN", help="A span such as 12h or 30d, or a time such as 2098-12-31."
        ),
    ] = "30d",
    server: Annotated[
        list[str] | None, typer.Option("--server", metavar="SLUG", help="Only this server; repeatable.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="Only servers with all of these; repeatable."),
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", metavar="NAME", help="Only this tool; repeatable.")
    ] = None,
    risk: Annotated[
        list[Any] | None,
        choice("--risk", Risk, "Only tools of this risk; repeatable."),
    ] = None,
    scope_file: Annotated[
        Path | None,
        typer.Option("--scope-file", metavar="FILE", help="The scope in the API's JSON format; - is stdin."),
    ] = None,
    ip_allow: Annotated[
        list[str] | None,
        typer.Option(
            "--from", metavar="CIDR", parser=values.network, help="Only from these addresses; repeatable."
        ),
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option("--parent", metavar="TOKEN_ID", parser=values.token_id, help="Attenuate this token."),
    ] = None,
    reveal: RevealOption = False,
    secret_file: SecretFileOption = None,
) -> None:
    """Issue a token. Without --server, --label, --tool or --risk it reaches all that its identity's grants allow.

    Into a pipe, the secret is the only output:

    \b
      export SCOPEGATE_TOKEN="$(sgctl token issue -i ada --name laptop)"
    """
    expires_at = values.later(expires)
    if scope_file is not None and (server or label or tool or risk):
        raise typer.BadParameter("Use --scope-file, or --server, --label, --tool and --risk, not both.")
    with secret_way(session.output, reveal=reveal, file=secret_file) as show, session.client() as client:
        if scope_file is not None:
            scope = values.read_scope(scope_file)
        else:
            scope = values.scope_of(_server_ids(client, server), label or [], tool or [], risk or [])
        issued = client.tokens.create(
            identity_id=find_identity(client, identity).id,
            name=name,
            scope=scope,
            expires_at=expires_at,
            ip_allow=ip_allow or UNSET,
            parent_id=parent if parent is not None else UNSET,
        )
        show(
            issued,
            issued.secret,
            f"Issued {issued.token.id}, {name!r}, until {shown(issued.token.expires_at)}.",
        )
        _remark_reach(session, issued.token)


def _remark_reach(session: Session, token: Token) -> None:
    """Print how much a new token reaches, and which part of its scope matches nothing."""
    if token.reaches is not None:
        session.output.remark(
            f"It currently reaches {token.reaches.tools} tools on {token.reaches.servers} servers, if policies allow."
        )
    for warning in token.warnings or []:
        session.output.remark(f"Warning: {warning.detail}")


@command(app, "list")
def list_tokens(
    session: Session,
    *,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity", "-i", metavar="IDENTITY", help="Tokens of this identity: a user name or idn_..."
        ),
    ] = None,
    status: Annotated[
        list[Any] | None,
        choice("--status", TokenStatus, "Repeatable."),
    ] = None,
    server: Annotated[
        str | None, typer.Option("--server", metavar="SLUG", help="Tokens that can reach this server.")
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(
            "--parent", metavar="TOKEN_ID", parser=values.token_id, help="Tokens attenuated from this one."
        ),
    ] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="TEXT", help="Text in the name.")] = None,
    limit: LimitOption = 100,
) -> None:
    """List tokens, newest first."""
    with session.client() as client:
        tokens = client.tokens.list(
            page_size=page_size(limit),
            identity_id=find_identity(client, identity).id if identity is not None else None,
            status=status or None,
            server_id=find_server(client, server).id if server is not None else None,
            parent_id=parent,
            q=query,
        )
        answer_list(session.output, tokens, _IN_LIST, limit)


@command(app, "show")
def show_token(session: Session, *, token_id: TokenArgument) -> None:
    """Show one token, without any secret."""
    with session.client() as client:
        token = client.tokens.get(token_id)
    if session.output.is_json:
        session.output.document(token)
    else:
        session.output.fields(token, _ALONE)


@command(app, "rotate")
def rotate(
    session: Session,
    *,
    token_id: TokenArgument,
    overlap: Annotated[
        str,
        typer.Option(
            "--overlap", metavar="SPAN", help="How long the old secret still works, for example 15m."
        ),
    ] = "0s",
    reveal: RevealOption = False,
    secret_file: SecretFileOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give a token a new secret. Without --overlap the old one stops working immediately."""
    overlap_s = values.seconds(overlap)
    with secret_way(session.output, reveal=reveal, file=secret_file) as show, session.client() as client:
        if overlap_s == 0:
            asking.confirm(f"The secret of {token_id} stops working immediately. Continue?", yes=yes)
        issued = client.tokens.rotate(token_id, overlap_s=overlap_s)
        until = issued.token.overlap_until
        old = f"works until {shown(until)}" if until is not None else "no longer works"
        show(issued, issued.secret, f"{token_id} has a new secret; the old one {old}.")


@command(app, "revoke")
def revoke(
    session: Session,
    *,
    token_id: TokenArgument,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", "-r", metavar="TEXT", help="The reason, which is stored with the ended tokens."
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Revoke a token immediately and permanently, with all tokens that were attenuated from it."""
    with session.client() as client:
        if not dry_run:
            asking.confirm(f"Revoke {token_id} permanently?", yes=yes)
        answer = client.tokens.revoke(token_id, reason=reason, dry_run=dry_run)
    output = session.output
    if output.is_json:
        output.document(answer)
    else:
        output.fields(answer, _REVOCATION)
    if dry_run:
        output.remark("Nothing was changed: this is what would end.")
    elif not answer.changed:
        output.remark("It had already ended.")


def scope_in_words(scope: GrantsScope | ListedScope) -> str:
    """Format a scope for a cell."""
    if isinstance(scope, GrantsScope):
        return "all that the grants allow"
    lines = (f"{entry.tools.to_dict()} of {entry.servers.to_dict()}" for entry in scope.entries)
    return "; ".join(lines) or "nothing"


def _server_ids(client: Client, servers: list[str] | None) -> list[str]:
    return [find_server(client, each).id for each in servers or []]
