"""Keyset pages with opaque, tamper-evident cursors that are bound to the filters they came from."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from app.domain.errors import Malformed
from app.kit.schemas import Strict, Time

Item = TypeVar("Item")
Row = TypeVar("Row", bound=SQLModel)
DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 200
_TAG = 16

Limit = Annotated[int, Query(ge=1, le=MAXIMUM_LIMIT, description="Items a page.")]
CursorParameter = Annotated[
    str | None, Query(max_length=2000, description="`next_cursor` of the page before; opaque.")
]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    model_config = ConfigDict(extra="forbid")
    items: list[Item]
    next_cursor: str | None


class ListQuery(Strict):
    """The query parameters of every list; a list adds its filters as fields. Unknown parameters are refused."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAXIMUM_LIMIT, description="Items a page.")
    cursor: str | None = Field(
        default=None, max_length=2000, description="`next_cursor` of the page before; opaque."
    )
    created_after: Time | None = Field(default=None, description="Only those made after this time.")
    created_before: Time | None = Field(default=None, description="Only those made before this time.")

    def filters(self) -> dict[str, Any]:
        """What narrows the list, to bind cursors to."""
        return self.model_dump(exclude={"limit", "cursor"})


class Cursors:
    """Writes and reads cursors for one list. ``key`` is a derived key; ``filters`` whatever narrows the list."""

    def __init__(self, key: bytes, route: str, filters: Mapping[str, Any]) -> None:
        self._key = key
        canonical = json.dumps([route, dict(filters)], sort_keys=True, default=str)
        self._binding = hashlib.sha256(canonical.encode()).digest()

    def write(self, position: Sequence[Any]) -> str:
        """A cursor that continues after ``position``, the sort values of a page's last item."""
        body = json.dumps(list(position), separators=(",", ":"), default=str).encode()
        return base64.urlsafe_b64encode(self._tag(body) + body).rstrip(b"=").decode()

    def read(self, cursor: str | None) -> list[Any] | None:
        """The position of a cursor. Raises ``Malformed`` with ``cursor_mismatch`` for a foreign or changed one."""
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


async def newest_first(
    session: AsyncSession, statement: Select[Row], table: type[Row], cursors: Cursors, query: ListQuery
) -> tuple[list[Row], str | None]:
    """One page of ``statement`` by id, newest first (ids are UUIDv7), and the cursor of the page after it.

    Raises ``Malformed`` for a foreign cursor.
    """
    columns: Any = table
    id_column, created = columns.id, columns.created_at
    position = cursors.read(query.cursor)
    if position is not None:
        statement = statement.where(id_column < UUID(position[0]))
    if query.created_after is not None:
        statement = statement.where(created > query.created_after)
    if query.created_before is not None:
        statement = statement.where(created < query.created_before)
    rows = list(await session.scalars(statement.order_by(id_column.desc()).limit(query.limit + 1)))
    page = rows[: query.limit]
    last: Any = page[-1] if len(rows) > query.limit else None
    return page, None if last is None else cursors.write([last.id])
