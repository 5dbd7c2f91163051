"""What an event says of a change, as it is read back, whoever wrote it."""

from typing import Any

from sqlalchemy import ColumnElement, Dialect, Text, cast, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

from app.lib import strict_json

_MAX_DEPTH = 64
"""Levels that are shown; what the service writes has a handful."""


class Changes(TypeDecorator[dict[str, Any]]):
    """An object in a column of JSON. Whoever may insert into the trail can put there what no parser here takes: nested
    without an end, or with numbers of any length. Such a row must not keep those beside it from whoever reads the
    trail, so what cannot be shown is read as an empty object. The leaf of the event says all of it.
    """

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        # As text, since the driver would parse JSON itself, and fail with the whole page.
        return type_coerce(cast(column, Text), self)

    def process_result_value(self, value: Any, dialect: Dialect) -> dict[str, Any] | None:
        if value is None:
            return None
        try:
            said = strict_json.loads(value.encode(), max_depth=_MAX_DEPTH)
        except strict_json.StrictJsonError:
            return {}
        return said if isinstance(said, dict) else {}
