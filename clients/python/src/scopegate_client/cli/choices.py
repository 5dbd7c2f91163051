"""Options with a fixed set of values."""

from collections.abc import Callable
from typing import Any, get_args

import typer


def choice(flag: str, words: Any, help: str) -> Any:  # noqa: A002 - as in typer.Option
    """Build an option whose values are the words of a ``Literal``."""
    known = get_args(words)
    return typer.Option(*flag.split(), parser=_parser(known), metavar="|".join(known), help=help)


def _parser(known: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in known:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(known)}.")
        return text

    return parse
