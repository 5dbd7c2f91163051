"""Export of the audit log as a file of any size, with one page in memory at a time."""

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
# What makes a cell a formula in some spreadsheet program (OWASP, CSV injection), including full-width forms.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
# Fields whose own fields become columns.
_PARTS = ("actor", "server", "object", "client")


def headers_of(query: AuditExportQuery, now: datetime) -> dict[str, str]:
    """The response headers that describe the file."""
    name = f"audit-events-{now:%Y%m%dT%H%M%SZ}.{_ENDINGS.get(query.format, query.format)}"
    return {
        "Content-Type": _MEDIA_TYPES[query.format],
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }


def export(query: AuditExportQuery, until: Position) -> Look:
    """Stream the events up to a position, page by page in commit order, as parts of a file."""
    after, written = BEGINNING, False

    async def look(session: AsyncSession, _caller: Caller) -> News:
        nonlocal after, written
        stretch = await read_on(session, query, after, PAGE, until)
        is_last, after = stretch.reached == after, stretch.reached
        head = _table([COLUMNS]) if query.format == "csv" and not written else b""
        written = True
        content = await in_slices(_write_page(_WRITERS[query.format], [event for event, _ in stretch.items]))
        return News([part for part in (head, content) if part], is_last=is_last)

    return look


def _write_page(
    write: Callable[[Sequence[AuditEventView]], bytes], events: Sequence[AuditEventView]
) -> Generator[None, None, bytes]:
    """Write a page in steps: all of it at once would delay the calls on this worker."""
    parts = []
    for begin in range(0, len(events), _STEP):
        parts.append(write(events[begin : begin + _STEP]))
        yield
    return b"".join(parts)


def event_lines(events: Sequence[AuditEventView]) -> bytes:
    """Write events as the API shows them, one per line, each with its line end."""
    return b"".join(event.model_dump_json().encode() + b"\n" for event in events)


def _table(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    # RFC 4180. Everything is quoted, so that no text is read as two cells.
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
    """Format a value so that no spreadsheet takes it for a formula: a possible one begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, list):
        return escape_bidi(" ".join(value))
    text = escape_bidi(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value))
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


_WRITERS = {"ndjson": event_lines, "ocsf": ocsf_lines, "csv": _rows}
