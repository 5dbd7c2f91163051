"""Applying many proposals takes as many statements as applying one, with the same results."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from sqlalchemy import Connection, event, text

from app.main import Scopegate
from tests.features.access.aging import age, use
from tests.features.access.test_unused_access import Place, applied, place, report
from tests.features.principals import Json, Sessions, Versions, events, grant, person, plain

CHANGES = "UPDATE grants"
HISTORY = text("""
SELECT version, valid_to IS NULL AS is_open, content -> 'tools' -> 'names' AS tools FROM object_versions
WHERE object_id = :id ORDER BY version
""")


class Sent:
    """The statements sent to the database, by connection."""

    def __init__(self) -> None:
        self._sent: list[tuple[Connection, str]] = []

    def note(self, connection: Connection, _cursor: Any, statement: str, *_more: Any) -> None:
        self._sent.append((connection, statement))

    def of_transaction(self, does: str) -> list[str]:
        """The statements of the transaction that has this one; loops of the service send others at the same time."""
        [its] = {id(connection): connection for connection, text in self._sent if does in text}.values()
        return [text for connection, text in self._sent if connection is its]


@contextmanager
def statements(app: Scopegate) -> Iterator[Sent]:
    """The statements that the API sends to the database until the end of the block."""
    engine, sent = app.api.state.runtime.sessions.kw["bind"].sync_engine, Sent()
    event.listen(engine, "before_cursor_execute", sent.note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", sent.note)


async def granted(api: httpx2.AsyncClient, here: Place, some: int) -> list[Json]:
    """Create grants, alternating between partly used and unused ones."""
    narrow: Json = {"tools": {"kind": "names", "names": ["read_note", "write_note"]}}
    unused: Json = {"tools": {"kind": "names", "names": ["refund"]}}
    return [
        await grant(api, await person(api), **(unused if number % 2 else narrow)) for number in range(some)
    ]


async def history(sessions: Sessions, one: Json) -> list[tuple[int, bool, list[str]]]:
    """(number, whether it is current, tools) of the versions of a grant."""
    async with sessions() as session:
        rows = await session.execute(HISTORY, {"id": plain(one)})
        return [(row.version, row.is_open, sorted(row.tools)) for row in rows]


async def test_many_proposals_are_applied_by_as_many_statements_as_two_and_each_is_on_record(
    app: Scopegate, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    here = await place(api)
    grants = await granted(api, here, 8)
    await age(sessions, 200)
    for each in grants[::2]:
        await use(sessions, each, here.notes, "read_note", here.ada, days=5)
    found = await report(api)
    versions = Versions(sessions, *grants)
    await versions.look()
    with statements(app) as of_two:
        two = await applied(api, *(found[one["id"]] for one in grants[:2]))
    with statements(app) as of_six:
        six = await applied(api, *(found[one["id"]] for one in grants[2:]))
    assert len(of_two.of_transaction(CHANGES)) == len(of_six.of_transaction(CHANGES))
    done = [(one["id"], "ended" if place % 2 else "narrowed") for place, one in enumerate(grants)]
    assert two + six == done
    assert await versions.moved() == {one["id"] for one in grants}
    for one, (_, outcome) in zip(grants, done, strict=True):
        [_, (action, changes)] = await events(sessions, one)
        because = {"because": "stale", "unused_for_days": 90}
        kept = await history(sessions, one)
        if outcome == "ended":
            assert (action, changes) == ("grant.end", {"principal": one["principal"]} | because)
            assert kept == [(1, False, ["refund"])]
        else:
            assert (action, changes | because) == ("grant.update", changes)
            assert changes["tools"]["to"] == {"kind": "names", "names": ["read_note"]}
            assert kept == [(1, False, ["read_note", "write_note"]), (2, True, ["read_note"])]
