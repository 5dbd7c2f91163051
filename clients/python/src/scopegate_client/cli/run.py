"""The complete command line, and its entry point."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from scopegate_client.cli import audit, connect, fleet, invitations, people, sign_in, tokens
from scopegate_client.cli.command import command, print_failure
from scopegate_client.cli.failing import ExitCode, Failed, usage
from scopegate_client.cli.groups import group, without_changing_options
from scopegate_client.cli.inert import holds_secret

app = group(
    "Scopegate from the command line: scoped, revocable, audited access to MCP servers.",
    name="sgctl",
    epilog="Start with `sgctl login`. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not signed in, "
    "5 forbidden, 6 conflict, 7 unavailable.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

command(app, "login")(sign_in.login)
command(app, "logout")(sign_in.logout)
command(app, "whoami")(sign_in.whoami)
command(app, "offboard")(people.offboard)
app.add_typer(tokens.app, name="token")
app.add_typer(people.app, name="identity")
app.add_typer(invitations.app, name="invitation")
app.add_typer(fleet.servers, name="server")
app.add_typer(fleet.grants, name="grant")
app.add_typer(audit.app, name="audit")
app.add_typer(connect.app, name="connect")
app.add_typer(sign_in.app, name="profile")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sgctl {version('scopegate-client')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Scopegate from the command line: scoped, revocable, audited access to MCP servers."""


def run(arguments: Sequence[str]) -> int:
    """Run the command of these arguments; return the exit code."""
    try:
        _refuse_secrets(arguments)
        answer = app(args=list(arguments), prog_name="sgctl", standalone_mode=False)
        return answer if isinstance(answer, int) else ExitCode.OK
    except Failed as failure:
        print_failure(failure)
        return failure.code
    except typer.TyperException as mistake:
        if (
            type(mistake).__name__ == "NoArgsIsHelpError"
        ):  # Its message is the help; the class has no public name.
            sys.stderr.write(f"{mistake.format_message()}\n")
            return ExitCode.USAGE
        print_failure(
            usage(
                f"{without_changing_options(mistake).format_message()} (`{_command(arguments)} --help` says how.)"
            )
        )
        return ExitCode.USAGE
    except typer.Abort:
        sys.stderr.write("\n")
        return ExitCode.INTERRUPTED
    except Exception as error:  # An internal fault: one sentence for the person, the traceback on demand.
        if os.environ.get("SGCTL_DEBUG"):
            raise
        print_failure(
            Failed(
                f"Unexpected {type(error).__name__}: {error}. SGCTL_DEBUG=1 shows where; please report it."
            )
        )
        return ExitCode.FAILED


def _refuse_secrets(arguments: Sequence[str]) -> None:
    if any(holds_secret(argument) for argument in arguments):
        raise usage(
            "A secret is among the arguments, which are visible in the list of processes and the shell's history. "
            "Nothing was done; rotate or revoke that secret, and pass the new one on the standard input."
        )


def _command(arguments: Sequence[str]) -> str:
    """The command in these arguments."""
    group = app.registered_groups
    names = {each.name for each in group} | {each.name for each in app.registered_commands}
    words = [argument for argument in arguments if not argument.startswith("-")]
    if not words or words[0] not in names:
        return "sgctl"
    found = ["sgctl", words[0]]
    for each in group:
        inner = each.typer_instance
        if each.name == words[0] and inner is not None and len(words) > 1:
            found += [words[1]] if words[1] in {known.name for known in inner.registered_commands} else []
    return " ".join(found)
