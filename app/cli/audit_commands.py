"""The commands of ``scopegate audit``."""

import json
from typing import Annotated

import typer

audit = typer.Typer(help="Verify and export the sealed audit log.", no_args_is_help=True)

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
    from app.cli.audit import LOG_FAULT, Part, verify_database, verify_files
    from app.cli.database import usable_database
    from app.cli.errors import CannotStart
    from app.settings import load_settings

    part = Part(first, end, since, until)
    if export is not None or proof is not None:
        if part != Part():
            raise CannotStart("files are looked at whole: leave the part out")
        verdict = verify_files(export, proof, checkpoint or [], key or [])
    else:
        with usable_database(load_settings()) as settings:
            verdict = verify_database(settings, part, checkpoint or [], key or [])
    for line in [json.dumps(verdict.as_json(), indent=2)] if as_json else verdict.lines():
        typer.echo(line)
    if not verdict.is_intact:
        raise typer.Exit(LOG_FAULT)


@audit.command()
def checkpoint() -> None:
    """Print the newest checkpoint, to keep elsewhere."""
    from app.cli.audit import newest_checkpoint
    from app.cli.database import usable_database
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        typer.echo(newest_checkpoint(settings), nl=False)


@audit.command()
def keys() -> None:
    """Print the public keys that verify checkpoints, newest first."""
    from app.cli.audit import verifier_keys
    from app.cli.database import usable_database
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        for key in verifier_keys(settings):
            typer.echo(key)


@audit.command()
def export(
    file: Annotated[str, typer.Argument(help="The file to write; its proof is written to FILE.proof.")],
    first: From = None,
    end: To = None,
) -> None:
    """Write the leaves of the log, or of a part of it, for verification elsewhere."""
    from app.cli.audit import export as run
    from app.cli.database import usable_database
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        part, proof = run(settings, file, first, end)
    typer.echo(f"{file}: {part}. Their proof is in {proof}.")


@audit.command()
def prove(event: Annotated[str, typer.Argument(help="The id of the event.")]) -> None:
    """Print the proof that the log contains an event, as JSON."""
    from app.cli.audit import prove as run
    from app.cli.database import usable_database
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        typer.echo(run(settings, event))


@audit.command()
def accept_restore() -> None:
    """Confirm that the database was restored to an older state, so that workers accept calls again."""
    from app.cli.audit import accept_restore as run
    from app.cli.database import usable_database
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        epoch, size = run(settings)
    typer.echo(f"The restore is confirmed: epoch {epoch} of the audit log begins after {size} sealed events.")
    typer.echo("Workers take calls again within seconds. Repeat what was revoked after the backup.", err=True)


@audit.command()
def rename() -> None:
    """Name the audit log after the public URL, after that has changed for all replicas."""
    from app.cli.audit import rename as run
    from app.cli.database import usable_database
    from app.settings import load_settings

    with usable_database(load_settings()) as settings:
        before, name = run(settings)
    was = (
        ""
        if not before
        else f" It was called {before}: keep its keys under that name too (scopegate audit keys)."
    )
    typer.echo(f"The audit log is called {name}.{was}")
