"""Tables on a terminal. Rich omits colors, for example if NO_COLOR is set."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_COLORS = {
    "active": "green", "success": "green", "allow": "green", "ok": "green",
    "suspended": "yellow", "scheduled": "yellow", "in_flight": "yellow", "pending": "yellow",
    "expired": "red", "revoked": "red", "offboarded": "red", "denied": "red", "deny": "red", "error": "red",
    "disabled": "red", "ended": "red", "failed": "red",
}  # fmt: skip
_MIN_WIDTH = 6


def draw_rows(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Draw objects, one per line. The first column, which people copy, stays complete; the widest others are cut."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, width in zip(titles, _widths([titles, *lines], console.width), strict=True):
        table.add_column(Text(title), no_wrap=True, overflow="ellipsis", width=width)
    for line in lines:
        table.add_row(*map(_cell, line))
    console.print(table)


def draw_fields(lines: Sequence[tuple[str, str]]) -> None:
    """Draw one object, with a line per field."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in lines:
        table.add_row(Text(title), _cell(value))
    Console(highlight=False).print(table)


def _widths(lines: Sequence[Sequence[str]], room: int) -> list[int]:
    """The width of each column in the available room."""
    widths = [max(cell_len(cell) for cell in column) for column in zip(*lines, strict=True)]
    gaps = 2 * (len(widths) - 1)
    while sum(widths) + gaps > room:
        widest = max(range(1, len(widths)), key=widths.__getitem__)
        if widths[widest] <= _MIN_WIDTH:
            break
        widths[widest] -= 1
    return widths


def _cell(value: str) -> Text:
    """Text, not markup: brackets in names are printed."""
    return Text(value, style=_COLORS.get(value, ""))
