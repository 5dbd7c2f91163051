"""The result of a command on the standard output: a table for people or JSON for programs."""

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from scopegate_client import Secret
from scopegate_client.cli.inert import inert, inert_json, masked

T = TypeVar("T")

Format = Literal["table", "json"]


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table, or a line of an object."""

    title: str
    value: Callable[[T], Any]


class Output:
    """The two outputs of a command."""

    def __init__(self, chosen: Format, *, quiet: bool) -> None:
        self.format = chosen
        self.quiet = quiet

    @property
    def is_json(self) -> bool:
        """Whether the output is JSON."""
        return self.format == "json"

    def remark(self, text: str) -> None:
        """Print a remark for the person, which is not part of the result."""
        if not self.quiet:
            sys.stderr.write(masked(inert(text)) + "\n")

    def line(self, text: str) -> None:
        """Print a line of the result unchanged, and flush it for a waiting reader."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        self.line(to_json(value, indent=2))

    def record(self, value: Any) -> None:
        """Print one line of NDJSON."""
        self.line(to_json(value))

    def rows(self, items: Iterable[T], columns: Sequence[Column[T]]) -> None:
        """Print objects as a table; into a pipe as tab-separated lines for `cut` and `awk`, without titles."""
        lines = [[shown(column.value(item)) for column in columns] for item in items]
        if sys.stdout.isatty():
            _drawing().draw_rows([column.title for column in columns], lines)
            return
        for line in lines:
            self.line("\t".join(line))

    def fields(self, item: T, columns: Sequence[Column[T]]) -> None:
        """Print one object, with a line per field."""
        lines = [(column.title, shown(column.value(item))) for column in columns]
        if sys.stdout.isatty():
            _drawing().draw_fields(lines)
            return
        for title, value in lines:
            self.line(f"{title.lower().replace(' ', '_')}\t{value}")


def _drawing() -> Any:
    """Rich is slow to import, so it is only imported for terminals."""
    from scopegate_client.cli import drawing  # noqa: PLC0415

    return drawing


def shown(value: Any) -> str:
    """Format a value for a cell, without control characters and secrets."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, Mapping):
        return shown(", ".join(f"{key}={item}" for key, item in value.items()))
    if isinstance(value, list | tuple):
        return shown(", ".join(str(item) for item in value))
    return masked(inert(str(value)))


def to_json(value: Any, indent: int | None = None) -> str:
    """Encode models, lists and maps. Secrets in them are hidden, unless the caller inserted the text itself."""
    text = json.dumps(_plain(value), indent=indent, ensure_ascii=False)
    return "\n".join(inert_json(line) for line in text.split("\n"))


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return None
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
