"""Delivery of new secrets. They are shown once, so the way is chosen before a secret is created."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from scopegate_client import Secret
from scopegate_client.cli import asking
from scopegate_client.cli.failing import usage
from scopegate_client.cli.output import Output
from scopegate_client.cli.private_files import reserve_private_file

RevealOption = Annotated[bool, typer.Option("--reveal", help="Show the secret on this terminal.")]
SecretFileOption = Annotated[
    Path | None,
    typer.Option("--secret-file", metavar="FILE", help="Write the secret to this new private file."),
]

Show = Callable[[Any, "Secret | str | None", str], None]


@contextlib.contextmanager
def secret_way(output: Output, *, reveal: bool, file: Path | None) -> Iterator[Show]:
    """Choose the function that prints the response, its secret and a remark. Raises before a secret is created if the
    requested way is not possible."""
    if file is not None:
        with _into_file(output, file) as show:
            yield show
        return
    if (
        sys.stdout.isatty()
        and not reveal
        and not asking.agreed("Show the secret here? It is shown only once.")
    ):
        raise usage(
            "Nothing was created, since its secret would be lost: use --reveal to see it here, --secret-file FILE, or "
            "redirect the output."
        )
    yield lambda answer, secret, remark: _to_stdout(output, answer, secret, remark)


def _to_stdout(output: Output, answer: Any, secret: "Secret | str | None", remark: str) -> None:
    plain = Secret(secret).reveal()
    output.remark(remark)
    if output.is_json:
        output.document({**answer.to_dict(), "secret": plain})
    else:
        output.line(plain)


@contextlib.contextmanager
def _into_file(output: Output, path: Path) -> Iterator[Show]:
    descriptor = reserve_private_file(path)
    written = False

    def show(answer: Any, secret: "Secret | str | None", remark: str) -> None:
        nonlocal written
        with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as file:
            file.write(Secret(secret).reveal() + "\n")
        written = True
        output.remark(f"{remark} The secret is in {path}.")
        if output.is_json:
            output.document({**answer.to_dict(), "secret": None})

    try:
        yield show
    finally:
        os.close(descriptor)
        if not written:
            path.unlink(missing_ok=True)
