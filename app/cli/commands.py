"""The commands of ``scopegate``.

A command that fails prints one line on the error output; exit code 2 means that the operator must fix something
before the next start. Each command imports what it needs when it runs: ``--version`` and a mistake in the settings
need no database driver.
"""

import socket
import sys
from typing import Annotated

import typer

from app import __version__
from app.cli.audit_commands import audit
from app.cli.errors import CANNOT_START, CannotStart
from app.lib.logs import use_line_records

app = typer.Typer(
    name="scopegate",
    help="Scoped, revocable, audited access to MCP servers. Settings are SCOPEGATE_* environment variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line and exit."""
    use_line_records()
    try:
        app()
    except CannotStart as fault:
        _fail(str(fault), fault.code)
    except Exception as fault:
        said = _words_and_code(fault)
        if said is None:
            raise
        _fail(*said)


def _words_and_code(fault: Exception) -> tuple[str, int] | None:
    """The line and exit code for a mistake of the operator or a database fault; ``None`` for an internal fault."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.db.connection import DRIVER_FAULTS
    from app.db.embedded_postgres import EmbeddedPostgresError
    from app.db.migrations import DatabaseFault, database_fault
    from app.domain.errors import Conflict, Unavailable
    from app.settings import SettingsError

    if isinstance(fault, Conflict):
        return str(fault), 1
    if isinstance(fault, SettingsError | DatabaseFault | EmbeddedPostgresError):
        return str(fault), CANNOT_START
    if isinstance(fault, OSError) and fault.filename is not None:
        return f"cannot use {fault.filename}: {fault.strerror or fault}", CANNOT_START
    if isinstance(fault, OSError) and not isinstance(fault, ConnectionError | TimeoutError | socket.gaierror):
        return fault.strerror or str(fault), CANNOT_START
    if isinstance(fault, (Unavailable, SQLAlchemyError, *DRIVER_FAULTS)):
        return str(database_fault(fault)), CANNOT_START
    return None


def _fail(message: str, code: int) -> None:
    typer.echo(f"scopegate: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"scopegate {__version__}")
        raise typer.Exit


@app.callback()
def scopegate(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """The options of all commands."""


@app.command()
def serve() -> None:
    """Serve the API and the gateway."""
    from app.cli.serve import serve as run
    from app.settings import load_settings

    run(load_settings())


@app.command()
def dev() -> None:
    """Serve on this machine with an embedded database and a demo fleet of real MCP servers."""
    from app.cli.dev import dev as run
    from app.settings import load_settings

    run(load_settings())


@app.command()
def demo() -> None:
    """Demonstrate the life of a token against a running `scopegate dev`."""
    from app.cli.demo import demo as run
    from app.settings import load_settings

    run(load_settings())


@app.command()
def bootstrap() -> None:
    """Create the first identity and its service account, and print the secret once."""
    from app.cli.credentials import bootstrap_credential
    from app.cli.database import usable_database
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        client_id, client_secret = bootstrap_credential(settings)
    typer.echo(f"client_id      {client_id}")
    typer.echo(f"client_secret  {client_secret}")
    typer.echo("This is the only time that the secret is shown.", err=True)


@app.command()
def hash_password() -> None:
    """Read the break-glass administrator's password, and print the hash to configure."""
    from app.cli.credentials import read_password
    from app.crypto.passwords import hash_password as hashed

    typer.echo(hashed(read_password()))


@app.command()
def migrate() -> None:
    """Upgrade the database to the schema of this version."""
    from app.cli.database import migrate as run
    from app.settings import load_settings

    run(load_settings())
    typer.echo("The database is up to date.")


@app.command()
def maintain() -> None:
    """Create the coming months of the audit log, and drop those past the retention. For cron."""
    from app.cli.database import maintain as run
    from app.cli.database import usable_database
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        done = run(settings)
    for name in done.made:
        typer.echo(f"made     {name}")
    for name in done.dropped:
        typer.echo(f"dropped  {name}")
    for name, reason in done.kept:
        typer.echo(f"kept     {name}: {reason}")
    typer.echo("The audit log is in order.")


keys = typer.Typer(
    help="The keys that seal stored secrets, digest tokens and sign receipts.",
    no_args_is_help=True,
)
app.add_typer(keys, name="keys")


@keys.command("list")
def list_keys() -> None:
    """Show each key by its id, and what it protects."""
    from app.cli.database import usable_database
    from app.cli.keys import standing
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        for line in standing(settings).lines():
            typer.echo(line)


@keys.command()
def rotate() -> None:
    """Seal everything with the newest key, also while the service runs. May be repeated."""
    from app.cli.database import usable_database
    from app.cli.keys import rotate as run
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        done, after = run(settings)
    typer.echo(f"Sealed again: {done.done}")
    for line in after.advice():
        typer.echo(line)
    if done.unopened:
        typer.echo(f"Not opened by any configured key, and left as they are: {done.unopened}", err=True)
        raise typer.Exit(1)


receipt = typer.Typer(help="The receipts of offboardings.", no_args_is_help=True)
app.add_typer(receipt, name="receipt")


@receipt.command("verify")
def verify_receipt(
    file: Annotated[
        str,
        typer.Argument(help="The receipt: its `signed` text or the API's response; - for standard input."),
    ],
    keys: Annotated[str | None, typer.Option(help="A file with the public keys.")] = None,
    url: Annotated[str | None, typer.Option(help="The service to fetch the public keys from.")] = None,
) -> None:
    """Verify a receipt with the public keys, and print its content. Needs no settings and no database."""
    from app.cli.receipts import verify_receipt as run

    for line in run(file, keys, url):
        typer.echo(line)


app.add_typer(audit, name="audit")


@app.command()
def doctor() -> None:
    """Check whether the service can start here: settings, keys, database, schema, port."""
    from app.cli.doctor import doctor as run
    from app.settings import load_settings

    if not run(load_settings()):
        raise typer.Exit(CANNOT_START)


@app.command()
def export_openapi() -> None:
    """Print the OpenAPI document of this version."""
    from app.cli.openapi import openapi

    sys.stdout.write(openapi())
