"""Which grants reach a server or a tool, for the database: the same as the selectors' ``matches`` of the domain."""

from sqlalchemy import ColumnElement, Text, and_, cast, literal, or_
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col

from app.features.grants.models import Grant
from app.features.servers.models import Server
from app.features.tools.models import Tool


def reaches_server() -> ColumnElement[bool]:
    """Whether the servers of a row of ``grants`` take in a row of ``servers``, by its labels of now."""
    selector, labels = col(Grant.servers), col(Grant.servers)["labels"]
    return or_(
        selector["kind"].as_string() == "all",
        selector["ids"].has_key(cast(col(Server.id), Text)),
        # No labels select nothing.
        and_(labels != literal({}, JSONB), col(Server.labels).contains(labels)),
    )


def reaches_tool() -> ColumnElement[bool]:
    """Whether the tools of a row of ``grants`` take in a row of ``tools``, by its risk of now."""
    selector = col(Grant.tools)
    return or_(
        selector["kind"].as_string() == "all",
        selector["names"].has_key(col(Tool.name)),
        selector["risk"].has_key(col(Tool.risk)),
    )
