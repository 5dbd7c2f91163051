"""The commands of ``scopegate``.

A command that fails prints one line on the error output; exit code 2 means that the operator must fix something
before the next start. Each command imports what it needs when it runs: ``--version`` and a mistake in the settings
need no database driver. So a command names its function, which returns the lines to print.
"""

import json
import socket
import sys
from collections.abc import Iterable
from getpass import getpass
from importlib import import_module
from typing import Annotated, Any

import typer

from app import __version__
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
        failure = _words_and_code(fault)
        if failure is None:
            raise
        _fail(*failure)


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


def _show_version(is_given: bool) -> None:
    if is_given:
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


def _run(function: str, *arguments: Any) -> None:
    """Run ``module:function`` of this package with the settings, and print the lines that it returns."""
    from app.settings import load_settings

    _print(_import(function)(load_settings(), *arguments))


def _run_at_database(function: str, *arguments: Any) -> None:
    """The same with the settings of a database that serves this code."""
    from app.cli.database import usable_database
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        _print(_import(function)(settings, *arguments))


def _import(function: str) -> Any:
    module, _, name = function.partition(":")
    return getattr(import_module(f"app.cli.{module}"), name)


def _print(lines: Iterable[str] | None) -> None:
    for line in lines or ():
        typer.echo(line)


@app.command()
def serve() -> None:
    """Serve the API and the gateway."""
    _run("serve:serve")


@app.command()
def dev() -> None:
    """Serve on this machine with an embedded database and a demo fleet of real MCP servers."""
    _run("dev:dev")


@app.command()
def demo() -> None:
    """Demonstrate the life of a token against a running `scopegate dev`."""
    _run("demo:demo")


@app.command()
def bootstrap() -> None:
    """Create the first identity and its service account, and print the secret once."""
    _run_at_database("database:bootstrap_credential")


@app.command()
def hash_password() -> None:
    """Read the break-glass administrator's password, and print the hash to configure."""
    from app.crypto.passwords import hash_password as hashed

    typer.echo(hashed(_read_password()))


def _read_password() -> str:
    """Read a password: hidden and repeated in a terminal, or the first line of a pipe. Never an argument, which every
    process on the machine can read. Raises ``CannotStart`` if it is not acceptable, or if the repetition differs."""
    from app.crypto.passwords import MAX_LENGTH, MIN_LENGTH

    if sys.stdin.isatty():
        password = getpass("Password: ")
        if getpass("The same again: ") != password:
            raise CannotStart("the two passwords differ")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise CannotStart(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    if not password.isprintable():
        raise CannotStart("a password is readable text in UTF-8")
    return password


@app.command()
def migrate() -> None:
    """Upgrade the database to the schema of this version."""
    _run("database:migrate")


@app.command()
def maintain() -> None:
    """Create the coming months of the audit log, and drop those past the retention. For cron."""
    _run_at_database("database:maintain")


@app.command()
def doctor() -> None:
    """Check whether the service can start here: settings, keys, database, schema, port."""
    _run("doctor:doctor")


@app.command()
def export_openapi() -> None:
    """Print the OpenAPI document of this version, which only depends on the code, not on the environment."""
    from pydantic import SecretStr

    from app.main import create_api
    from app.settings import Settings

    # Nothing connects before the application starts, and no setting is part of the document.
    unused = SecretStr("unused-" * 8)
    settings = Settings(
        database_url=SecretStr("postgresql://localhost/unused"),
        token_pepper=unused,
        encryption_key=unused,
        signing_key=unused,
    )
    typer.echo(json.dumps(create_api(settings).openapi(), indent=2, ensure_ascii=False))


keys = typer.Typer(
    help="The keys that seal stored secrets, digest tokens and sign receipts.", no_args_is_help=True
)
app.add_typer(keys, name="keys")


@keys.command("list")
def list_keys() -> None:
    """Show each key by its id, and what it protects."""
    _run_at_database("keys:list_keys")


@keys.command()
def rotate() -> None:
    """Seal everything with the newest key, also while the service runs. May be repeated."""
    _run_at_database("keys:rotate")


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
    _print(_import("receipts:verify_receipt")(file, keys, url))


audit = typer.Typer(help="Verify and export the sealed audit log.", no_args_is_help=True)
app.add_typer(audit, name="audit")
From = Annotated[int | None, typer.Option("--from", min=0, help="The first position.")]
To = Annotated[int | None, typer.Option("--to", min=1, help="The position after the last one.")]


@audit.command()
def verify(
    *,
    first: From = None,
    end: To = None,
    since: Annotated[str | None, typer.Option(help="Only events that were sealed from this time.")] = None,
    until: Annotated[str | None, typer.Option(help="Only events that were sealed before this time.")] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="A checkpoint that was kept elsewhere; may be repeated.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="A key of the log or a witness that verifies signatures; may be repeated."),
    ] = None,
    export: Annotated[str | None, typer.Option(help="Exported leaves to verify without a database.")] = None,
    proof: Annotated[str | None, typer.Option(help="The proof of a range or of an event to verify.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify the log, or exported leaves of it; exit code 1 if it does not match its seals.

    Without options: the whole log, against the checkpoints in the database. Files need no settings and no database.
    """
    from app.cli.audit import Part

    part, kept, theirs = Part(first, end, since, until), checkpoint or [], key or []
    if export is None and proof is None:
        _run_at_database("audit:verify_database", part, kept, theirs, as_json)
        return
    if part != Part():
        raise CannotStart("files are looked at whole: leave the part out")
    _print(_import("audit:verify_files")(export, proof, kept, theirs, as_json))


@audit.command()
def checkpoint() -> None:
    """Print the newest checkpoint, to keep elsewhere."""
    _run_at_database("audit:newest_checkpoint")


@audit.command("keys")
def audit_keys() -> None:
    """Print the public keys that verify checkpoints, newest first."""
    _run_at_database("audit:verifier_keys")


@audit.command()
def export(
    file: Annotated[str, typer.Argument(help="The file to write; its proof is written to FILE.proof.")],
    first: From = None,
    end: To = None,
) -> None:
    """Write the leaves of the log, or of a part of it, for verification elsewhere."""
    _run_at_database("audit:export", file, first, end)


@audit.command()
def prove(event: Annotated[str, typer.Argument(help="The id of the event.")]) -> None:
    """Print the proof that the log contains an event, as JSON."""
    _run_at_database("audit:prove", event)


@audit.command()
def accept_restore() -> None:
    """Confirm that the database was restored to an older state, so that workers accept calls again."""
    _run_at_database("audit:accept_restore")


@audit.command()
def rename() -> None:
    """Name the audit log after the public URL, after that has changed for all replicas."""
    _run_at_database("audit:rename")
