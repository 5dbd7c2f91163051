"""Common parts of all commands: the options for the profile and the output, and the handling of failures."""

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from scopegate_client import Client
from scopegate_client.cli import profiles
from scopegate_client.cli.choices import choice
from scopegate_client.cli.failing import ExitCode, Failed, failure_of
from scopegate_client.cli.inert import inert, masked
from scopegate_client.cli.output import Format, Output

ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        metavar="NAME",
        help="The profile from `sgctl login --profile` whose credentials to use.",
    ),
]
FormatOption = Annotated[Any, choice("--output -o", Format, "The output format.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print results and errors only, no remarks.")
]

_COMMON = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
    for name, annotation, default in (
        ("profile", ProfileOption, None),
        ("output_format", FormatOption, "table"),
        ("quiet", QuietOption, False),
    )
]


class Session:
    """One run of a command."""

    def __init__(self, profile: str | None, output: Output) -> None:
        self.profile = profile
        self.output = output

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """A client that is signed in."""
        with profiles.open_client(self.profile) as client:
            yield client


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command of ``app``: its first argument is the session, the others are its options."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(*, profile: str | None, output_format: Format, quiet: bool, **own: Any) -> None:
            session = Session(profile, Output(output_format, quiet=quiet))
            with _report_failures():
                function(session, **own)
                sys.stdout.flush()

        run.__doc__ = function.__doc__
        parameters = [*list(inspect.signature(function, eval_str=True).parameters.values())[1:], *_COMMON]
        # Typer reads these two: the options of the function, and the common ones instead of the session.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(name)(run)
        return function

    return register


@contextlib.contextmanager
def _report_failures() -> Iterator[None]:
    """Print a failure in one sentence, and exit with its code."""
    try:
        yield
    except BrokenPipeError:
        # The reader of the pipe closed it, like `head`. Nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.BROKEN_PIPE) from None
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        print_failure(failure)
        raise typer.Exit(failure.code) from None


def print_failure(failure: Failed) -> None:
    """Print the sentence of a failure on the error output."""
    sys.stderr.write(f"sgctl: {masked(inert(' '.join(failure.sentence.split())))}\n")
