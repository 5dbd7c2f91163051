"""The statements that the service sends, recorded at the driver, and their query plans."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest

from tests.streams import PATIENCE_S

_EXPLAINED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
BIG = 1_000
"""Tables with at least this many rows must not be scanned sequentially."""
_BIG_TABLES = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples >= $1
"""


class Heard:
    """Statements with their parameters: the first and the last for each text and kinds of parameters."""

    def __init__(self) -> None:
        self._statements: dict[str, list[tuple[Any, ...]]] = {}
        self._more = asyncio.Event()

    def hear(self, query: asyncpg.connection.LoggedQuery) -> None:
        """Record a statement."""
        arguments = tuple(query.args or ())
        if arguments and isinstance(arguments[0], tuple):
            # One row of a batch.
            arguments = arguments[0]
        known = self._statements.setdefault(query.query, [])
        known[1:] = [arguments]
        self._more.set()

    def forget(self) -> None:
        """Start again."""
        self._statements.clear()

    async def until(self, part: str) -> None:
        """Wait until a statement with this text was sent."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(part in statement for statement in self._statements):
                self._more.clear()
                await self._more.wait()

    def __iter__(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Return the statements that have a plan."""
        for statement, known in list(self._statements.items()):
            if statement.lstrip(" \n(").upper().startswith(_EXPLAINED) and ";" not in statement:
                yield from ((statement, arguments) for arguments in known)


@contextmanager
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Record the statements of every connection that is opened from now on."""
    found = Heard()
    made = asyncpg.Connection.__init__

    def opened(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        self.add_query_logger(found.hear)

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "__init__", opened)
        yield found


class Plans:
    """Explains statements in the database."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", big: frozenset[str]) -> None:
        self._connection = connection
        self._big = big

    @classmethod
    async def of(cls, connection: "asyncpg.Connection[asyncpg.Record]") -> "Plans":
        """Use a database with statistics."""
        big = await connection.fetch(_BIG_TABLES, BIG)
        return cls(connection, frozenset(row["relname"] for row in big))

    async def read_through(self, statement: str, arguments: tuple[Any, ...]) -> set[str]:
        """Return the big tables that a statement scans sequentially."""
        explained = await self._connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
        return {
            node["Relation Name"] for node in _nodes(json.loads(explained)[0]["Plan"]) if self._is_bad(node)
        }

    def _is_bad(self, node: dict[str, Any]) -> bool:
        return node["Node Type"] == "Seq Scan" and node["Relation Name"] in self._big


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)
