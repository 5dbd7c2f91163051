"""Caches that the connections and engines of one test process share.

Each test opens its own connections and engines. All of them would work out the same things: how the server's built-in
types are encoded, and how a statement is compiled to SQL.
"""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import Engine
from sqlalchemy.util import LRUCache

# PostgreSQL assigns smaller ones by hand and keeps them in all databases and versions.
_FIRST_GENERATED_OID = 10_000
_STATEMENTS = 4_000


def install() -> None:
    """Share them in this process."""
    _share_types()
    _share_statements()


def _share_types() -> None:
    """Ask the server once about an array of a built-in type, instead of once per connection."""
    connection: Any = asyncpg.Connection
    introspect = connection._introspect_types
    known: dict[frozenset[int], Any] = {}

    async def introspect_once(self: Any, oids: Iterable[int], timeout: float | None) -> Any:  # noqa: ASYNC109
        key = frozenset(oids)
        if max(key) >= _FIRST_GENERATED_OID:
            return await introspect(self, key, timeout)
        if key not in known:
            known[key], _ = await introspect(self, key, timeout)
        # A named statement: the one that is being prepared stays as it is.
        return known[key], SimpleNamespace(name="known")

    connection._introspect_types = introspect_once


def _share_statements() -> None:
    """Compile a statement once, instead of once per engine: SQLAlchemy keys compiled statements by dialect."""
    cache: LRUCache[Any, Any] = LRUCache(_STATEMENTS)
    dialect: Any = PGDialect_asyncpg
    dialect.__eq__ = lambda self, other: type(self) is type(other)
    dialect.__hash__ = lambda self: hash(type(self))

    @event.listens_for(Engine, "engine_connect")
    def share(connection: Any) -> None:
        connection.engine._compiled_cache = cache
