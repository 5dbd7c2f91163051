"""Text that is looked for anywhere in names, served by an index.

PostgreSQL has none for that without an extension, which not every server offers: so what three letters follow each
other in a text is indexed, in lower case, by a function of the schema. It finds what may have the text, and the text
itself decides.
"""

from typing import Any

from sqlalchemy import ColumnElement, Text, func, literal, literal_column, or_
from sqlalchemy.dialects.postgresql import ARRAY

_SHORTEST = 3


def has_text(q: str, *columns: Any, indexed: str) -> ColumnElement[bool]:
    """Whether one of these columns has a text in it, in upper or lower case.

    ``indexed`` is the SQL of all of them together, as it stands in the index of its table. For a text shorter than
    three letters the table is walked: much has it.
    """
    found = or_(*(column.icontains(q, autoescape=True) for column in columns))
    if len(q) < _SHORTEST:
        return found
    letters = func.scopegate_trigrams(literal_column(indexed), type_=ARRAY(Text))
    return letters.contains(func.scopegate_trigrams(literal(q, Text), type_=ARRAY(Text))) & found
