"""A column type for the changes of an audit event that is safe to read."""

from typing import Any

from sqlalchemy import ColumnElement, Dialect, Text, cast, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

from app.lib import strict_json

_MAX_DEPTH = 64
"""Levels that are read; events of the service have only a few."""


class Changes(TypeDecorator[dict[str, Any]]):
    """A JSON object in a column.

    A role that can insert into the audit log can store JSON that the parser rejects, such as deep nesting or very long
    numbers. To keep the other rows of a page readable, it is read as an empty object. The event's leaf has all of it.
    """

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        # Read as text, since the driver's own JSON parser would fail for the whole page.
        return type_coerce(cast(column, Text), self)

    def process_result_value(self, value: Any, dialect: Dialect) -> dict[str, Any] | None:
        if value is None:
            return None
        try:
            content = strict_json.loads(value.encode(), max_depth=_MAX_DEPTH)
        except strict_json.StrictJsonError:
            return {}
        return content if isinstance(content, dict) else {}
