"""The statements that the service sends, heard where they are sent, and how the database would carry them out."""

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
"""Rows from which on a table is not to be read through."""
_BIG_TABLES = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples >= $1
"""


class Heard:
    """Statements with their parameters, each text as often as its parameters differ in kind: its first and its last."""

    def __init__(self) -> None:
        self._statements: dict[str, list[tuple[Any, ...]]] = {}
        self._more = asyncio.Event()

    def hear(self, query: asyncpg.connection.LoggedQuery) -> None:
        """One more that was sent."""
        arguments = tuple(query.args or ())
        if arguments and isinstance(arguments[0], tuple):
            # One of many rows that were sent together.
            arguments = arguments[0]
        known = self._statements.setdefault(query.query, [])
        known[1:] = [arguments]
        self._more.set()

    def forget(self) -> None:
        """Start again."""
        self._statements.clear()

    async def until(self, part: str) -> None:
        """Wait until a statement was sent that has this text in it."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(part in statement for statement in self._statements):
                self._more.clear()
                await self._more.wait()

    def __iter__(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Those that have a plan."""
        for statement, known in list(self._statements.items()):
            if statement.lstrip(" \n(").upper().startswith(_EXPLAINED) and ";" not in statement:
                yield from ((statement, arguments) for arguments in known)


@contextmanager
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Hear what is sent on every connection that is opened from now on."""
    found = Heard()
    made = asyncpg.Connection.__init__

    def opened(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        self.add_query_logger(found.hear)

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "__init__", opened)
        yield found


class Plans:
    """Asks the database how it would carry statements out."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", big: frozenset[str]) -> None:
        self._connection = connection
        self._big = big

    @classmethod
    async def of(cls, connection: "asyncpg.Connection[asyncpg.Record]") -> "Plans":
        """Of a database that was analysed."""
        big = await connection.fetch(_BIG_TABLES, BIG)
        return cls(connection, frozenset(row["relname"] for row in big))

    async def read_through(self, statement: str, arguments: tuple[Any, ...]) -> set[str]:
        """The big tables that it reads through."""
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
