"""Lists in commands, limited in the same way for all objects."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Annotated, TypeVar

import typer

from scopegate_client.cli.output import Column, Output

T = TypeVar("T")

LimitOption = Annotated[int, typer.Option("--limit", "-n", min=0, help="The maximum of items; 0 means all.")]


def page_size(limit: int) -> int | None:
    """The number of items to fetch at a time."""
    return min(limit + 1, 200) if limit else 200


def answer_list(output: Output, items: Iterable[T], columns: Sequence[Column[T]], limit: int) -> None:
    """Print the first items, and a remark if there are more."""
    found = list(islice(items, limit + 1)) if limit else list(items)
    more = bool(limit) and len(found) > limit
    if more:
        found.pop()
    if output.is_json:
        output.document(found)
    elif found:
        output.rows(found, columns)
    else:
        output.remark("There is none.")
    if more:
        output.remark(f"Only the first {limit} are shown: --limit 0 shows all.")
