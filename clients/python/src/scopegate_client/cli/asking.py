"""Ask the person at the terminal. Questions go to the error output: the answer of a command stands alone."""

import getpass
import sys

import typer

from scopegate_client import Secret
from scopegate_client.cli.failing import Failed, usage


def someone_is_there() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, otherwise: str, known: str | None = None) -> str:
    """What the person types, or just confirms; without one what is known, else ``otherwise`` says what to give."""
    if not someone_is_there():
        if known is None:
            raise usage(otherwise)
        return known
    answer: str = typer.prompt(question, default=known, err=True)
    return answer.strip()


def ask_secret(question: str, otherwise: str) -> Secret:
    """The same, and nobody sees what is typed."""
    if not someone_is_there():
        raise usage(otherwise)
    # It turns the echo off before it asks, so that what is pasted at once does not show either.
    return Secret(getpass.getpass(f"{question}: ", stream=sys.stderr).strip())


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the person says so. Where nobody is to be asked, the command itself says so."""
    if yes or not someone_is_there():
        return
    if not typer.confirm(question, err=True):
        raise Failed("Nothing was changed.")


def agreed(question: str) -> bool:
    """Whether the person at the terminal agrees; nobody there is no."""
    return someone_is_there() and typer.confirm(question, err=True)


def read_secret(what: str) -> Secret:
    """A secret from the standard input."""
    if sys.stdin.isatty():
        sys.stderr.write(f"Waiting for {what} on the standard input, and Ctrl-D.\n")
    try:
        given = sys.stdin.read(65536).strip()
    except UnicodeDecodeError:
        raise usage(f"What came on the standard input is not text, and no {what}.") from None
    if not given:
        raise usage(f"The standard input held no {what}.")
    return Secret(given)
