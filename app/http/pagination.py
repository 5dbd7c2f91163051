"""Keyset pages with opaque, tamper-evident cursors that are bound to the filters of their list."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import Field
from sqlalchemy import ColumnElement, Select, Text, Uuid, cast, func, literal, null, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from app.domain.errors import Malformed
from app.http.schemas import Strict, Time

Item = TypeVar("Item")
Row = TypeVar("Row", bound=SQLModel)
DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 200
_TAG = 16
CREATED_AT = "created_at"

# Expressions over a list's table, by the names for `sort`; each has an index.
Sorts = Mapping[str, Any]

Limit = Annotated[int, Query(ge=1, le=MAXIMUM_LIMIT, description="Items per page.")]
CursorParameter = Annotated[
    str | None, Query(max_length=2000, description="The `next_cursor` of the previous page; opaque.")
]


ORDER = Field(description="The sort order; `-` sorts descending. Newest first by default.")


class Page(Strict, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None


class ListQuery(Strict):
    """The query parameters of every list; a list adds its filters as fields. Unknown parameters are refused."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAXIMUM_LIMIT, description="Items per page.")
    cursor: str | None = Field(
        default=None, max_length=2000, description="The `next_cursor` of the previous page; opaque."
    )
    created_after: Time | None = Field(default=None, description="Only objects created after this time.")
    created_before: Time | None = Field(default=None, description="Only objects created before this time.")

    @property
    def order(self) -> str:
        """The sort order, with ``-`` for descending; a list with a choice has ``sort``."""
        return str(getattr(self, "sort", f"-{CREATED_AT}"))

    def filters(self) -> dict[str, Any]:
        """The filters and order of the list, which cursors are bound to."""
        return self.model_dump(exclude={"limit", "cursor"})


class Cursors:
    """Writes and reads the cursors of one list. ``key`` is a derived key; ``filters`` are the list's filters."""

    def __init__(self, key: bytes, route: str, filters: Mapping[str, Any]) -> None:
        self._key = key
        canonical = json.dumps([route, dict(filters)], sort_keys=True, default=str)
        self._binding = hashlib.sha256(canonical.encode()).digest()

    def write(self, position: Sequence[Any]) -> str:
        """Encode a cursor that continues after ``position``, the sort values of a page's last item."""
        body = json.dumps(list(position), separators=(",", ":"), default=str).encode()
        return base64.urlsafe_b64encode(self._tag(body) + body).rstrip(b"=").decode()

    def read(self, cursor: str | None) -> list[Any] | None:
        """Decode a cursor to its position. Raises ``Malformed`` (``cursor_mismatch``) for a foreign or changed one."""
        if cursor is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except (ValueError, UnicodeError):
            raw = b""
        tag, body = raw[:_TAG], raw[_TAG:]
        if not body or not hmac.compare_digest(tag, self._tag(body)):
            raise Malformed(
                "This cursor does not belong to this list and its filters; start again without a cursor.",
                code="cursor_mismatch",
            )
        position: list[Any] = json.loads(body)
        return position

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._key, self._binding + body, "sha256")[:_TAG]


def caseless(column: Any) -> ColumnElement[str]:
    """An expression that sorts a text case-insensitively."""
    return func.lower(column, type_=Text)


def select_filtered(
    table: type[Row], query: ListQuery, *names: str, texts: Sequence[str] = ()
) -> Select[Row]:
    """Select the rows that match the filters of these names: a column has one of the values of its filter, if any.

    One of the columns ``texts`` contains the query's ``q``, if any.
    """
    statement = select(table)
    for name in names:
        values = getattr(query, name)
        if values:
            statement = statement.where(getattr(table, name).in_(values))
    q: str | None = getattr(query, "q", None)
    if texts and q:
        contains = (getattr(table, name).icontains(q, autoescape=True) for name in texts)
        statement = statement.where(or_(*contains))
    return statement


async def read_page(
    session: AsyncSession,
    statement: Select[Row],
    table: type[Row],
    cursors: Cursors,
    query: ListQuery,
    sorts: Sorts | None = None,
) -> tuple[list[Row], str | None]:
    """Read one page of ``statement`` in the order of the query, and the cursor of the next page.

    ``sorts`` are the expressions for the values of the query's ``sort``, in addition to ``created_at``, which sorts by
    id (ids are UUIDv7). Equal values are sorted by id in the same direction. Raises ``Malformed`` for a foreign
    cursor.
    """
    columns: Any = table
    name, descending = query.order.removeprefix("-"), query.order.startswith("-")
    if query.created_after is not None:
        statement = statement.where(columns.created_at > query.created_after)
    if query.created_before is not None:
        statement = statement.where(columns.created_at < query.created_before)
    by = None if name == CREATED_AT else (sorts or {})[name]
    keys = [columns.id] if by is None else [by, columns.id]
    position = cursors.read(query.cursor)
    if position is not None:
        after: list[Any] = [literal(UUID(position[-1]), Uuid)]
        if by is not None:
            # As text, since Python's times have no infinity.
            after = [cast(literal(position[0], Text), by.type), *after]
        here, there = tuple_(*keys), tuple_(*after)
        statement = statement.where(here < there if descending else here > there)
    shown = null() if by is None else cast(by, Text)
    ordered = statement.add_columns(shown.label("sort_key")).order_by(
        *(key.desc() if descending else key.asc() for key in keys)
    )
    rows = list(await session.execute(ordered.limit(query.limit + 1)))
    page = rows[: query.limit]
    if len(rows) <= query.limit:
        return [row[0] for row in page], None
    last, key = page[-1]
    return [row[0] for row in page], cursors.write([last.id] if by is None else [key, last.id])
