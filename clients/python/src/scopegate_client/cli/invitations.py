"""`sgctl invitation`: invitations of people without a directory."""

from typing import Annotated, Any

import typer

from scopegate_client import UNSET
from scopegate_client.cli.choices import choice
from scopegate_client.cli.command import Session, command
from scopegate_client.cli.failing import usage
from scopegate_client.cli.finding import find_identity
from scopegate_client.cli.groups import group
from scopegate_client.cli.listing import LimitOption, answer_list, page_size
from scopegate_client.cli.new_secrets import RevealOption, SecretFileOption, secret_way
from scopegate_client.cli.output import Column
from scopegate_client.models import Invitation, InvitationStatus, InvitedPerson

app = group("Invite people who cannot sign in yet.")

InvitationArgument = Annotated[str, typer.Argument(metavar="INVITATION", help="An id: inv_...")]

_IN_LIST: list[Column[Invitation]] = [
    Column("ID", lambda invitation: invitation.id),
    Column("IDENTITY", lambda invitation: invitation.identity_id),
    Column("EMAIL", lambda invitation: invitation.email),
    Column("SUBJECT", lambda invitation: invitation.subject),
    Column("STATUS", lambda invitation: invitation.status),
    Column("EXPIRES", lambda invitation: invitation.expires_at),
]
_ALONE: list[Column[Invitation]] = [
    *_IN_LIST,
    Column("PROVIDER", lambda invitation: invitation.provider_id),
    Column("CLAIMED BY", lambda invitation: invitation.claim.subject if invitation.claim else None),
    Column("CLAIMED AS", lambda invitation: invitation.claim.email if invitation.claim else None),
    Column("VERIFIED", lambda invitation: invitation.claim.email_verified if invitation.claim else None),
]


@command(app, "create")
def create(
    session: Session,
    *,
    identity: Annotated[
        str, typer.Argument(metavar="IDENTITY", help="A user name or idn_...; with --new a new user name.")
    ],
    provider: Annotated[str, typer.Option("--provider", metavar="ID", help="Their provider: idp_...")],
    email: Annotated[
        str | None, typer.Option("--email", metavar="ADDRESS", help="The address of their account.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="TEXT", help="The link claim of their account.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Create the person.")] = False,
    reveal: RevealOption = False,
    secret_file: SecretFileOption = None,
) -> None:
    """Invite a person, and print the link to send to them. It is shown only once."""
    if (email is None) == (subject is None):
        raise usage("Specify the account for the invitation: either --email or --subject.")
    with secret_way(session.output, reveal=reveal, file=secret_file) as show, session.client() as client:
        made = client.invitations.create(
            provider_id=provider,
            identity_id=UNSET if new else find_identity(client, identity).id,
            person=InvitedPerson(user_name=identity) if new else UNSET,
            email=UNSET if email is None else email,
            subject=UNSET if subject is None else subject,
        )
        show(made.invitation, made.url, f"Invited {identity} ({made.invitation.id}). Send them this link.")


@command(app, "list")
def list_invitations(
    session: Session,
    *,
    status: Annotated[list[Any] | None, choice("--status", InvitationStatus, "Repeatable.")] = None,
    limit: LimitOption = 100,
) -> None:
    """List invitations, newest first."""
    with session.client() as client:
        found = client.invitations.list(page_size=page_size(limit), status=status or None)
        answer_list(session.output, found, _IN_LIST, limit)


@command(app, "show")
def show_invitation(session: Session, *, invitation: InvitationArgument) -> None:
    """Show one invitation, with the account that has claimed it."""
    with session.client() as client:
        _answer(session, client.invitations.get(invitation))


@command(app, "confirm")
def confirm(session: Session, *, invitation: InvitationArgument) -> None:
    """Link the account that claimed an invitation, so that it can sign in as the person."""
    with session.client() as client:
        _answer(session, client.invitations.confirm(invitation))


@command(app, "revoke")
def revoke(session: Session, *, invitation: InvitationArgument) -> None:
    """Revoke an invitation, so that its link no longer works."""
    with session.client() as client:
        _answer(session, client.invitations.revoke(invitation))


def _answer(session: Session, invitation: Invitation) -> None:
    if session.output.is_json:
        session.output.document(invitation)
    else:
        session.output.fields(invitation, _ALONE)
