"""Questions to the person at the terminal. They go to the error output, so that the output only has the result."""

import getpass
import sys

import typer

from scopegate_client import Secret
from scopegate_client.cli.failing import Failed, usage


def someone_is_there() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, otherwise: str, known: str | None = None) -> str:
    """Ask for a text, with a known value as default; without a terminal, use that or fail with ``otherwise``."""
    if not someone_is_there():
        if known is None:
            raise usage(otherwise)
        return known
    answer: str = typer.prompt(question, default=known, err=True)
    return answer.strip()


def ask_secret(question: str, otherwise: str) -> Secret:
    """Ask for a secret, without showing it."""
    if not someone_is_there():
        raise usage(otherwise)
    # It disables the echo before the prompt, so that text that is pasted immediately is not shown.
    return Secret(getpass.getpass(f"{question}: ", stream=sys.stderr).strip())


def confirm(question: str, *, yes: bool) -> None:
    """Continue only if the person agrees. Without a terminal no question is asked."""
    if yes or not someone_is_there():
        return
    if not typer.confirm(question, err=True):
        raise Failed("Nothing was changed.")


def agreed(question: str) -> bool:
    """Whether the person at the terminal agrees; False without a terminal."""
    return someone_is_there() and typer.confirm(question, err=True)


def read_secret(what: str) -> Secret:
    """Read a secret from the standard input."""
    if sys.stdin.isatty():
        sys.stderr.write(f"Waiting for {what} on the standard input, and Ctrl-D.\n")
    try:
        given = sys.stdin.read(65536).strip()
    except UnicodeDecodeError:
        raise usage(f"The standard input is not text, and cannot be a {what}.") from None
    if not given:
        raise usage(f"The standard input contained no {what}.")
    return Secret(given)
