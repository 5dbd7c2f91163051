"""Password input: hidden and repeated in a terminal, or the first line of a pipe. Never an argument, which every
process on the machine can read."""

import sys
from getpass import getpass

from app.cli.errors import CannotStart
from app.crypto.passwords import MAX_LENGTH, MIN_LENGTH


def read_password() -> str:
    """Read a password. Raises ``CannotStart`` if it is not acceptable, or if the repetition differs."""
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
