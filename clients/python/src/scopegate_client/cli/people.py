"""`sgctl identity` and `sgctl offboard`: people, agents and offboardings."""

from typing import Annotated, Any

import typer

from scopegate_client import UNSET
from scopegate_client.cli import asking, values
from scopegate_client.cli.choices import choice
from scopegate_client.cli.command import Session, command
from scopegate_client.cli.failing import usage
from scopegate_client.cli.finding import find_identity, is_id
from scopegate_client.cli.groups import group
from scopegate_client.cli.listing import LimitOption, answer_list, page_size
from scopegate_client.cli.output import Column, shown
from scopegate_client.models import Identity, IdentityKind, IdentityStatus, OffboardReceipt

app = group("List, show and suspend people and agents.")

IdentityArgument = Annotated[str, typer.Argument(metavar="IDENTITY", help="A user name, or an id: idn_...")]

_IN_LIST: list[Column[Identity]] = [
    Column("ID", lambda identity: identity.id),
    Column("USER NAME", lambda identity: identity.user_name),
    Column("NAME", lambda identity: identity.display_name),
    Column("KIND", lambda identity: identity.kind),
    Column("STATUS", lambda identity: identity.status),
    Column("EXTERNAL ID", lambda identity: identity.external_id),
]
_ALONE: list[Column[Identity]] = [
    *_IN_LIST,
    Column("EMAIL", lambda identity: identity.email),
    Column("OWNER", lambda identity: identity.owner_id),
    Column("SOURCE", lambda identity: identity.source),
    Column("LINKS", lambda identity: [f"{link.kind}:{link.value}" for link in identity.links]),
    Column("CREATED", lambda identity: identity.created_at),
]
_RECEIPT: list[Column[OffboardReceipt]] = [
    Column("IDENTITY", lambda receipt: receipt.identity.id),
    Column("USER NAME", lambda receipt: receipt.identity.user_name),
    Column("STATUS", lambda receipt: receipt.identity.status),
    Column("RECEIPT", lambda receipt: receipt.receipt_id),
    Column("TOKENS ENDED", lambda receipt: receipt.revoked.tokens),
    Column("AGENTS SUSPENDED", lambda receipt: receipt.revoked.agents),
    Column("CALLS CUT", lambda receipt: receipt.revoked.in_flight),
    Column("APPROVALS WITHDRAWN", lambda receipt: receipt.revoked.approvals),
    Column("ADMINISTRATOR DISABLED", lambda receipt: receipt.revoked.administrator),
    Column("SCHEDULED FOR", lambda receipt: receipt.scheduled.effective_at if receipt.scheduled else None),
]


@command(app, "list")
def list_identities(
    session: Session,
    *,
    kind: Annotated[list[Any] | None, choice("--kind", IdentityKind, "Repeatable.")] = None,
    status: Annotated[
        list[Any] | None,
        choice("--status", IdentityStatus, "Repeatable."),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option("--owner", metavar="IDENTITY", help="The agents of this person: a user name or idn_..."),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="TEXT", help="Text in the names or the email.")
    ] = None,
    limit: LimitOption = 100,
) -> None:
    """List identities, newest first."""
    with session.client() as client:
        identities = client.identities.list(
            page_size=page_size(limit),
            kind=kind or None,
            status=status or None,
            owner_id=find_identity(client, owner).id if owner is not None else None,
            q=query,
        )
        answer_list(session.output, identities, _IN_LIST, limit)


@command(app, "show")
def show_identity(session: Session, *, identity: IdentityArgument) -> None:
    """Show one identity."""
    with session.client() as client:
        _answer(session, find_identity(client, identity))


@command(app, "suspend")
def suspend(session: Session, *, identity: IdentityArgument) -> None:
    """Suspend an identity and its agents until it is reinstated."""
    with session.client() as client:
        _answer(session, client.identities.suspend(find_identity(client, identity).id))


@command(app, "reinstate")
def reinstate(session: Session, *, identity: IdentityArgument) -> None:
    """Reinstate a suspended or offboarded identity. Revoked access is not restored."""
    with session.client() as client:
        _answer(session, client.identities.reinstate(find_identity(client, identity).id))


def offboard(
    session: Session,
    *,
    reason: Annotated[
        str,
        typer.Option("--reason", "-r", metavar="TEXT", help="The reason, which is stored in the receipt."),
    ],
    identity: Annotated[
        str | None, typer.Argument(metavar="[IDENTITY]", help="A user name, or an id: idn_...")
    ] = None,
    external_id: Annotated[
        str | None,
        typer.Option("--external-id", metavar="ID", help="The id in your HR or directory system."),
    ] = None,
    user_name: Annotated[
        str | None, typer.Option("--user-name", metavar="NAME", help="The user name.")
    ] = None,
    transfer_agents_to: Annotated[
        str | None,
        typer.Option("--transfer-agents-to", help="The new owner of the agents: a user name or idn_..."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="WHEN",
            help="A later time: a span such as 12h or 30d, or a time such as 2098-12-31T17:00:00Z.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """End all access of a leaver, and print the receipt.

    The tokens of the person and of the person's agents, running calls and the administrator's access end immediately,
    or at the time of --at. On a terminal it shows what would end, and asks.
    """
    if sum(each is not None for each in (identity, external_id, user_name)) != 1:
        raise usage("Specify one of IDENTITY, --external-id and --user-name.")
    if identity is not None and not is_id(identity, "idn"):
        identity, user_name = None, identity
    effective_at = values.later(at) if at is not None else UNSET
    with session.client() as client:
        heir = find_identity(client, transfer_agents_to).id if transfer_agents_to is not None else None

        def ask(*, dry_run: bool, if_match: int | None = None, now: bool = False) -> OffboardReceipt:
            return client.identities.offboard(
                identity,
                external_id=external_id,
                user_name=user_name,
                reason=reason,
                transfer_agents_to=heir if heir is not None else UNSET,
                effective_at=UNSET if now else effective_at,
                dry_run=dry_run,
                if_match=if_match,
            )

        seen: int | None = None
        if not dry_run and not yes and asking.someone_is_there():
            preview = ask(dry_run=True, now=True)
            seen = _agree(preview) if preview.changed else None
        receipt = ask(dry_run=dry_run, if_match=seen)
    if session.output.is_json:
        session.output.document(receipt)
    else:
        session.output.fields(receipt, _RECEIPT)
    if dry_run:
        session.output.remark("Nothing was changed: this is what would end.")
    elif receipt.scheduled is not None:
        session.output.remark(
            f"Nothing has ended yet: it is set for {shown(receipt.scheduled.effective_at)} ({receipt.scheduled.id})."
        )
    elif not receipt.changed:
        session.output.remark("They were offboarded before: this is the first receipt.")


def _agree(preview: OffboardReceipt) -> int:
    """Show what would end, and ask; return the revision of the identity that was agreed on."""
    leaver, ended = preview.identity, preview.revoked
    asking.confirm(
        f"Offboard {leaver.user_name} ({leaver.id})? "
        f"Ends: tokens {len(ended.tokens)}, agents {len(ended.agents)}, running calls {ended.in_flight}.",
        yes=False,
    )
    return leaver.revision


def _answer(session: Session, identity: Identity) -> None:
    if session.output.is_json:
        session.output.document(identity)
    else:
        session.output.fields(identity, _ALONE)
