"""What every command has: the options for whom to sign in as and how to answer, and one way to fail."""

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
        help="Whose credentials to use, as `sgctl login --profile` kept them.",
    ),
]
FormatOption = Annotated[Any, choice("--output -o", Format, "How to answer.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Answers and errors only, no remarks.")]

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
        """A client, signed in."""
        with profiles.open_client(self.profile) as client:
            yield client


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of ``app``: its first argument is the session, the others are its own options."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(*, profile: str | None, output_format: Format, quiet: bool, **own: Any) -> None:
            session = Session(profile, Output(output_format, quiet=quiet))
            with _told():
                function(session, **own)
                sys.stdout.flush()

        run.__doc__ = function.__doc__
        parameters = [*list(inspect.signature(function, eval_str=True).parameters.values())[1:], *_COMMON]
        # Typer reads these two: the options of the function, and the common ones in place of the session.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(name)(run)
        return function

    return register


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell a failure in one sentence, and end with its exit code."""
    try:
        yield
    except BrokenPipeError:
        # Whoever read has enough, as `head` has. Nothing more is written, at the end of the program neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.BROKEN_PIPE) from None
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        tell(failure)
        raise typer.Exit(failure.code) from None


def tell(failure: Failed) -> None:
    """The sentence of a failure, on the error output."""
    sys.stderr.write(f"sgctl: {masked(inert(' '.join(failure.sentence.split())))}\n")
