"""The trail as a file: as much as there is, a page in memory at a time."""

import csv
import io
import json
from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit.ocsf import ocsf_lines
from app.features.audit.queries import Position
from app.features.audit.reading import BEGINNING, read_on
from app.features.audit.schemas import AuditEventView, AuditExportQuery
from app.http.authorization import Caller
from app.http.live import Look, News
from app.lib.event_loop import in_slices
from app.lib.names import escape_bidi

_LINES = "application/x-ndjson"
_MEDIA_TYPES = {"ndjson": _LINES, "ocsf": _LINES, "leaves": _LINES, "csv": "text/csv; charset=utf-8"}
_ENDINGS = {"ocsf": "ocsf.ndjson", "leaves": "leaves.ndjson"}
PAGE = 1_000
_STEP = 5
COLUMNS = (
    "id", "time", "action", "decision", "reason_code", "outcome", "actor_type", "actor_id", "actor_name",
    "on_behalf_of", "token_id", "server_id", "server_slug", "tool", "object_type", "object_id", "grant_id",
    "policy_ids", "observed_policy_ids", "approval_id", "client_name", "client_version", "client_ip",
    "client_user_agent", "method", "arguments_digest", "changes", "duration_ms", "count", "call_id", "request_id",
    "trace_id",
)  # fmt: skip
# What makes a formula of a cell, for one spreadsheet or another (OWASP, CSV injection), full-width forms too.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
# Fields whose own fields are columns.
_PARTS = ("actor", "server", "object", "client")


def headers_of(query: AuditExportQuery, now: datetime) -> dict[str, str]:
    """What an answer says of the file that it is."""
    name = f"audit-events-{now:%Y%m%dT%H%M%SZ}.{_ENDINGS.get(query.format, query.format)}"
    return {
        "Content-Type": _MEDIA_TYPES[query.format],
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }


def export(query: AuditExportQuery, until: Position) -> Look:
    """What finds the events up to a position, page by page in the order of commits, as parts of a file."""
    after, written = BEGINNING, False

    async def look(session: AsyncSession, _caller: Caller) -> News:
        nonlocal after, written
        stretch = await read_on(session, query, after, PAGE, until)
        is_last, after = stretch.reached == after, stretch.reached
        head = _table([COLUMNS]) if query.format == "csv" and not written else b""
        written = True
        content = await in_slices(_written(_WRITERS[query.format], [event for event, _ in stretch.items]))
        return News([part for part in (head, content) if part], is_last=is_last)

    return look


def _written(
    write: Callable[[Sequence[AuditEventView]], bytes], events: Sequence[AuditEventView]
) -> Generator[None, None, bytes]:
    """A page, written in steps: all of it at once would hold up the calls that the worker carries."""
    parts = []
    for begin in range(0, len(events), _STEP):
        parts.append(write(events[begin : begin + _STEP]))
        yield
    return b"".join(parts)


def event_lines(events: Sequence[AuditEventView]) -> bytes:
    """Events as the API shows them, one a line, each line with its end."""
    return b"".join(event.model_dump_json().encode() + b"\n" for event in events)


def _table(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    # RFC 4180. Everything is quoted, so that no text reads as two cells.
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()


def _rows(events: Sequence[AuditEventView]) -> bytes:
    return _table([_cells(event) for event in events])


def _cells(event: AuditEventView) -> list[str]:
    fields: dict[str, Any] = event.model_dump(mode="json")
    for part in _PARTS:
        fields |= {f"{part}_{name}": value for name, value in (fields[part] or {}).items()}
    return [_cell(fields.get(name)) for name in COLUMNS]


def _cell(value: Any) -> str:
    """A value as a cell that no spreadsheet takes for a formula: what could be one begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, list):
        return escape_bidi(" ".join(value))
    text = escape_bidi(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value))
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


_WRITERS = {"ndjson": event_lines, "ocsf": ocsf_lines, "csv": _rows}
