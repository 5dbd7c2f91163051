"""Which grants reach a server or a tool, for the database: the same as the selectors' ``matches`` of the domain."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col

from app.models.grants import Grant
from app.models.servers import Server
from app.models.tools import Tool


def reaches_server() -> ColumnElement[bool]:
    """Whether the servers of a row of ``grants`` take in a row of ``servers``, by its labels of now."""
    return _takes_in(cast(col(Server.id), Text), cast(col(Server.labels), JSONB))


def reaches_any(server_ids: Sequence[UUID]) -> ColumnElement[bool]:
    """Whether the servers of a row of ``grants`` take in one of these that live; each is looked up once, not by row."""
    conditions = []
    for id in server_ids:
        of_it = select(col(Server.labels)).where(col(Server.id) == id, col(Server.ended_at).is_(None))
        labels = of_it.scalar_subquery()
        conditions.append(and_(labels.is_not(None), _takes_in(literal(str(id), Text), labels)))
    return or_(*conditions)


def reaches_tool() -> ColumnElement[bool]:
    """Whether the tools of a row of ``grants`` take in a row of ``tools``, by its risk of now."""
    selector = col(Grant.tools)
    return or_(
        selector["kind"].as_string() == "all",
        selector["names"].has_key(col(Tool.name)),
        selector["risk"].has_key(col(Tool.risk)),
    )


def _takes_in(server_id: ColumnElement[str], labels: ColumnElement[Any]) -> ColumnElement[bool]:
    selector = col(Grant.servers)
    return or_(
        selector["kind"].as_string() == "all",
        selector["ids"].has_key(server_id),
        # No labels select nothing.
        and_(selector["labels"] != literal({}, JSONB), labels.contains(selector["labels"])),
    )
