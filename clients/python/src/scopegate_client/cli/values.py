"""Parsing of times, scopes and texts in arguments."""

import datetime as dt
import ipaddress
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

from scopegate_client.cli.finding import is_id

_SPAN = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TIMES = "a span such as 90m, 12h, 30d or 2w, or a time such as 2098-12-31 or 2098-12-31T18:00:00Z"


def span(text: str) -> dt.timedelta | None:
    """Parse a span such as ``12h``; None for other texts."""
    found = _SPAN.fullmatch(text.strip())
    return dt.timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def later(text: str) -> dt.datetime:
    """Parse a future time, or a span from now."""
    length = span(text)
    try:
        return _now() + length if length is not None else _time(text)
    except (ValueError, OverflowError):
        _refuse(text)


def earlier(text: str) -> dt.datetime:
    """Parse a past time, or a span until now."""
    length = span(text)
    try:
        return _now() - length if length is not None else _time(text)
    except (ValueError, OverflowError):
        _refuse(text)


def seconds(text: str) -> int:
    """Parse a span in seconds: ``15m`` or plain ``900``."""
    length = span(text if not text.isdigit() else f"{text[:6]}s")
    if length is None:
        raise typer.BadParameter(f"{text!r} is not a span such as 90s, 15m or 12h.")
    return int(length.total_seconds())


def network(text: str) -> str:
    """Parse a range of addresses."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def token_id(text: str) -> str:
    """Parse the id of a token."""
    if not is_id(text, "tok"):
        raise typer.BadParameter("It must be the id of a token, such as tok_01jdpnwz00e008000000000000.")
    return text


def scope_of(
    servers: Sequence[str], labels: Sequence[str], tools: Sequence[str], risks: Sequence[str]
) -> dict[str, Any]:
    """Build the scope from the options; ``servers`` are ids. Without any: all that the grants allow."""
    if not (servers or labels or tools or risks):
        return {"kind": "grants"}
    if tools and risks:
        raise typer.BadParameter("Use --tool or --risk, not both, or --scope-file for more than one rule.")
    if servers and labels:
        raise typer.BadParameter("Use --server or --label, not both, or --scope-file for more than one rule.")
    where: dict[str, Any] = {"kind": "all"}
    if servers:
        where = {"kind": "ids", "ids": list(servers)}
    elif labels:
        where = {"kind": "labels", "labels": dict(_label(each) for each in labels)}
    what: dict[str, Any] = {"kind": "all"}
    if tools:
        what = {"kind": "names", "names": list(tools)}
    elif risks:
        what = {"kind": "risk", "risk": list(risks)}
    return {"kind": "listed", "entries": [{"servers": where, "tools": what}]}


def read_scope(path: Path) -> dict[str, Any]:
    """Read a scope in JSON from a file or, for ``-``, from the standard input."""
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    try:
        scope = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"The scope in {path} is not JSON: {error}.") from None
    if not isinstance(scope, dict):
        raise typer.BadParameter(f"The scope in {path} is not an object.")
    return scope


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"{text!r} is not a label such as env=prod.")
    return key, value


def _time(text: str) -> dt.datetime:
    time = dt.datetime.fromisoformat(text.strip())
    return time.astimezone(dt.UTC)  # Without a zone it is this machine's local time.


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _refuse(text: str) -> NoReturn:
    raise typer.BadParameter(f"{text!r} is not {_TIMES}.")
