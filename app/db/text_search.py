"""Indexed substring search.

PostgreSQL's own trigram index needs an extension that not every server offers. So a function of the schema computes the
lower-case trigrams of a text, and an index on it finds candidates, which are then compared with the text itself.
"""

from typing import Any

from sqlalchemy import ColumnElement, Text, func, literal, literal_column, or_
from sqlalchemy.dialects.postgresql import ARRAY

_SHORTEST = 3


def has_text(q: str, *columns: Any, indexed: str) -> ColumnElement[bool]:
    """Whether one of these columns contains a text, ignoring case.

    ``indexed`` is the SQL expression of the table's index, which concatenates the columns. A text shorter than three
    characters scans the table, since it matches many rows anyway.
    """
    contains = or_(*(column.icontains(q, autoescape=True) for column in columns))
    if len(q) < _SHORTEST:
        return contains
    letters = func.scopegate_trigrams(literal_column(indexed), type_=ARRAY(Text))
    return letters.contains(func.scopegate_trigrams(literal(q, Text), type_=ARRAY(Text))) & contains
