"""`sgctl login`, `sgctl logout`, `sgctl whoami` and `sgctl profile`: sign-in and profiles."""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from scopegate_client import Secret
from scopegate_client.cli import asking, profiles
from scopegate_client.cli.command import Session, command
from scopegate_client.cli.failing import ExitCode, Failed, usage
from scopegate_client.cli.groups import group
from scopegate_client.cli.output import Column
from scopegate_client.errors import SignInFailed, Unauthenticated
from scopegate_client.models import Me

app = group("List the stored profiles.")

_ME: list[Column[Me]] = [
    Column("NAME", lambda me: me.name),
    Column("ID", lambda me: me.id),
    Column("TYPE", lambda me: me.type),
    Column("IDENTITY", lambda me: me.identity_id),
    Column("ROLES", lambda me: list(me.roles)),
    Column("PERMISSIONS", lambda me: list(me.permissions)),
]
_PROFILES: list[Column[tuple[str, str, str]]] = [
    Column("PROFILE", lambda line: line[0]),
    Column("URL", lambda line: line[1]),
    Column("SIGNS IN AS", lambda line: line[2]),
]


def login(
    session: Session,
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="The address of Scopegate; default: SCOPEGATE_URL."),
    ] = None,
    client_id: Annotated[
        str | None,
        typer.Option("--client-id", help="The service account: sa_...; default: SCOPEGATE_CLIENT_ID."),
    ] = None,
    client_secret_file: Annotated[
        Path | None,
        typer.Option("--client-secret-file", metavar="FILE", help="The file with its secret."),
    ] = None,
    client_secret_stdin: Annotated[
        bool, typer.Option("--client-secret-stdin", help="Read its secret from the standard input.")
    ] = False,
    access_token_stdin: Annotated[
        bool,
        typer.Option(
            "--access-token-stdin",
            help="Read an access token, for example of your OpenID provider, from the standard input.",
        ),
    ] = False,
) -> None:
    """Sign in, and store the credential for later commands.

    The secret is read from a hidden prompt, a file, the standard input, or SCOPEGATE_CLIENT_SECRET. It is never an
    argument, since those are visible in the list of processes.
    """
    if sum((client_secret_file is not None, client_secret_stdin, access_token_stdin)) > 1:
        raise usage("Use one of --client-secret-file, --client-secret-stdin and --access-token-stdin.")
    if access_token_stdin and client_id is not None:
        raise usage("An access token already names its owner: omit --client-id.")
    name = profiles.selected_profile(session.profile)
    profiles.profile_path(name)
    known = _known(name)
    address = _address(url, known)
    if access_token_stdin:
        profile = profiles.Profile(address, access_token=asking.read_secret("access token"))
    else:
        account = client_id or os.environ.get("SCOPEGATE_CLIENT_ID")
        account = account or asking.ask(
            "Client id",
            "Specify the account: --client-id sa_..., or SCOPEGATE_CLIENT_ID.",
            known.client_id if known is not None and known.url == address else None,
        )
        secret = _client_secret(client_secret_file, from_stdin=client_secret_stdin)
        profile = profiles.Profile(address, client_id=account, client_secret=secret)
    me = _try(profile)
    path = profiles.save_profile(name, profile)
    session.output.remark(
        f"Signed in at {address} as {me.name or me.id} ({', '.join(me.roles) or 'no role'})."
    )
    session.output.remark(f"The credential is stored in {path}, a private file.")
    if session.output.is_json:
        session.output.document(me)


def logout(session: Session) -> None:
    """Remove the credential of a profile. It stays valid elsewhere unless you revoke it."""
    name = profiles.selected_profile(session.profile)
    known = _known(name)
    if known is not None:
        known.forget_bearer()
    if profiles.remove_profile(name):
        session.output.remark(f"The profile {name} was removed.")
    else:
        session.output.remark(f"The profile {name} does not exist.")


def whoami(session: Session) -> None:
    """Show who is signed in, and their permissions."""
    with session.client() as client:
        me = client.me.get()
    if session.output.is_json:
        session.output.document(me)
    else:
        session.output.fields(me, _ME)


@command(app, "list")
def list_profiles(session: Session) -> None:
    """List the stored profiles, without their secrets."""
    lines = [
        (name, profile.url, profile.client_id or "an access token")
        for name in profiles.profile_names()
        if (profile := profiles.load_profile(name)) is not None
    ]
    if session.output.is_json:
        session.output.document(
            [{"profile": name, "url": url, "signs_in_as": who} for name, url, who in lines]
        )
    elif lines:
        session.output.rows(lines, _PROFILES)
    else:
        session.output.remark("There is none.")


def _known(name: str) -> profiles.Profile | None:
    """The stored profile with that name, for default values."""
    try:
        return profiles.load_profile(name)
    except Failed:  # It will be overwritten.
        return None


def _address(given: str | None, known: profiles.Profile | None) -> str:
    address = given or os.environ.get("SCOPEGATE_URL")
    address = address or asking.ask(
        "Address of Scopegate",
        "Specify the address of Scopegate: --url, or SCOPEGATE_URL.",
        known.url if known is not None else None,
    )
    address = address.strip().rstrip("/")
    parts = urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise usage(f"{address} would transmit the secret unencrypted: use an https:// address.")
    return address


def _client_secret(file: Path | None, *, from_stdin: bool) -> Secret:
    if from_stdin:
        return asking.read_secret("client secret")
    path = file or os.environ.get("SCOPEGATE_CLIENT_SECRET_FILE")
    if path:
        return Secret(Path(path).read_text(encoding="utf-8").strip())
    given = os.environ.get("SCOPEGATE_CLIENT_SECRET")
    if given:
        return Secret(given)
    return asking.ask_secret(
        "Client secret",
        "Pass the secret: --client-secret-stdin, --client-secret-file, or SCOPEGATE_CLIENT_SECRET.",
    )


def _try(profile: profiles.Profile) -> Me:
    """Return the owner of the credential, before it is stored."""
    profile.forget_bearer()  # A cached bearer would not test this secret.
    try:
        with profile.open() as client:
            return client.me.get()
    except (SignInFailed, Unauthenticated) as error:
        profile.forget_bearer()
        raise Failed(f"{error} Nothing was stored.", ExitCode.UNAUTHENTICATED) from None
