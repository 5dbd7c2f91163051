"""The law of search: SQL finds what the reference implementation finds in memory, in the same order and pages."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scim2_models import InvalidFilterException, Resource, ResourceType, SearchRequest
from scim2_server.memory import InMemoryStorage
from scim2_server.storage import SearchPage
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.scim.models import DirectoryUser, Group, make_provider
from app.adapters.scim.storage import Storage
from app.adapters.scim.work import Work
from app.db.engine import make_engine, make_sessions
from tests.adapters.scim.populations import (
    START,
    Someone,
    add_group,
    add_provider,
    add_users,
    provisioner,
    work_of,
)

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
TYPES: list[ResourceType] = list(make_provider().resource_types)
MODELS: dict[str | None, type[Resource[Any]]] = {"User": DirectoryUser, "Group": Group}

# Of letters whose case is the same to Python and to the database, quotes, and what means something to SQL.
words = st.sampled_from(
    ["a", "A", "b", "B", "ab", "aB", "É", "é", "%", "a_b", "a\\b", '"', "'a", "日本", "ba", "1", "10"]
)
texts = words | st.just("")
times = st.integers(0, 3).map(lambda day: START + timedelta(days=day, microseconds=day))
emails = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "value": words,
            "type": st.sampled_from(["work", "home", "Work"]),
            "primary": st.booleans(),
            "display": words,
        },
    ).filter(bool),
    min_size=1,
    max_size=3,
)
profiles = st.fixed_dictionaries(
    {},
    optional={
        "displayName": texts,
        "title": texts,
        "name": st.fixed_dictionaries({}, optional={"givenName": texts, "familyName": words}).filter(bool),
        "emails": emails,
        ENTERPRISE: st.fixed_dictionaries(
            {},
            optional={"department": texts, "manager": st.fixed_dictionaries({"value": words})},
        ).filter(bool),
    },
)
people = st.lists(
    st.builds(
        Someone,
        user_name=words,
        external_id=words | st.none(),
        profile=profiles,
        status=st.sampled_from(["active", "active", "suspended", "offboarded"]),
        created_at=times,
    ),
    max_size=6,
    unique_by=(lambda user: user.user_name.lower(), lambda user: user.external_id or id(user)),
)
groups = st.lists(
    st.fixed_dictionaries(
        {
            "name": words,
            "external_id": words | st.none(),
            "created_at": times,
            "members": st.sets(st.integers(0, 5)),
        }
    ),
    max_size=3,
    unique_by=lambda group: str(group["name"]).lower(),
)

TEXTS = {
    "User": ["userName", "displayName", "title", "externalId", "name.givenName", "name.familyName", "emails",
             "emails.value", "emails.type", "emails.display", "nickName.x",
             f"{ENTERPRISE}:department", f"{ENTERPRISE}:manager.value", "groups.display", "groups.type",
             "meta.resourceType", "schemas", "name", "URN:ietf:params:scim:schemas:core:2.0:User:USERNAME"],
    "Group": ["displayName", "externalId", "members.display", "members.type", "meta.resourceType", "schemas"],
}  # fmt: skip
IDS = {
    "User": ["id", "groups", "groups.value", "groups.$ref"],
    "Group": ["id", "members", "members.value", "members.$ref"],
}
FLAGS = {"User": ["active", "emails.primary"], "Group": []}
TIMES = ["meta.created", "meta.lastModified"]
INNER = {"emails": ["value", "type", "display", "unknown"], "groups": ["display", "value"],
         "members": ["display", "value", "$ref"], "schemas": ["value"]}  # fmt: skip
MANY = {"User": ["emails", "groups", "schemas"], "Group": ["members", "schemas"]}
ALL_OPS = ["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def terms(draw: st.DrawFn, kind: str, ids: list[str]) -> str:
    what = draw(st.sampled_from(["text", "text", "text", "id", "flag", "time", "present", "null", "many"]))
    if what == "text" or (what == "flag" and not FLAGS[kind]):
        path = draw(st.sampled_from(TEXTS[kind]))
        value = draw(texts | st.sampled_from(["User", "Group", "direct", f"{ENTERPRISE}", "work"]))
        return f"{path} {draw(st.sampled_from(ALL_OPS))} {_quoted(value)}"
    if what == "id":
        known = st.sampled_from(ids) if ids else st.nothing()
        value = draw(
            known | known.map(lambda id: id[-3:]) | known.map(str.upper) | st.sampled_from(["idn_", "x"])
        )
        return f"{draw(st.sampled_from(IDS[kind]))} {draw(st.sampled_from(ALL_OPS))} {_quoted(value)}"
    if what == "flag":
        value = draw(st.sampled_from(["true", "false", '"True"', '"False"']))
        return f"{draw(st.sampled_from(FLAGS[kind]))} {draw(st.sampled_from(['eq', 'ne']))} {value}"
    if what == "time":
        value = draw(times).isoformat().replace("+00:00", draw(st.sampled_from(["Z", "+00:00"])))
        return f"{draw(st.sampled_from(TIMES))} {draw(st.sampled_from(ALL_OPS))} {_quoted(value)}"
    if what == "many":
        path = draw(st.sampled_from(MANY[kind]))
        return f"{path}[{draw(inner_filters(path, ids))}]"
    path = draw(
        st.sampled_from(TEXTS[kind] + IDS[kind] + FLAGS[kind] + TIMES + ["meta", ENTERPRISE + ":manager"])
    )
    return (
        f"{path} pr"
        if what == "present"
        else f"{path} {draw(st.sampled_from(['eq', 'ne', 'gt', 'co']))} null"
    )


@st.composite
def inner_filters(draw: st.DrawFn, path: str, ids: list[str]) -> str:
    inner = draw(st.lists(_inner_terms(path, ids), min_size=1, max_size=2))
    text = draw(st.sampled_from([" and ", " or "])).join(inner)
    return f"not ({text})" if draw(st.booleans()) else text


@st.composite
def _inner_terms(draw: st.DrawFn, path: str, ids: list[str]) -> str:
    if path == "emails" and draw(st.integers(0, 3)) == 0:
        return f"primary {draw(st.sampled_from(['eq', 'ne']))} {draw(st.sampled_from(['true', 'false']))}"
    name = draw(st.sampled_from(INNER[path]))
    if draw(st.integers(0, 4)) == 0:
        return f"{name} pr"
    value = draw(texts | (st.sampled_from(ids) if ids else st.nothing()) | st.just("work"))
    return f"{name} {draw(st.sampled_from(ALL_OPS))} {_quoted(value)}"


@st.composite
def filters(draw: st.DrawFn, kinds: list[str], ids: list[str]) -> str:
    """A filter for these types of resources; at the root a term is of one of them."""
    term = st.sampled_from(kinds).flatmap(lambda kind: terms(kind, ids))
    tree = st.recursive(
        term,
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(lambda some: "(" + " and ".join(some) + ")"),
            st.lists(inner, min_size=2, max_size=3).map(lambda some: "(" + " or ".join(some) + ")"),
            inner.map(lambda one: f"not ({one})"),
        ),
        max_leaves=4,
    )
    return draw(tree)


SORTS = [None, "id", "userName", "displayName", "externalId", "title", "active", "meta.created", "name.familyName",
         "emails", "emails.type", "groups", "members", f"{ENTERPRISE}:department", "emails.primary"]  # fmt: skip


class Directory:
    """One database and one session, in which each example is undone."""

    def __init__(self, runner: asyncio.Runner, session: AsyncSession) -> None:
        self.runner = runner
        self.session = session

    def run(self, work: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await work

        return self.runner.run(wait())


@contextmanager
def directory(database_url: str) -> Iterator[Directory]:
    """A directory on a database of the test's own."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        engine = make_engine(database_url, pool_size=1, name="test")
        session = make_sessions(engine)()
        try:
            yield Directory(runner, session)
        finally:
            runner.run(session.close())
            runner.run(engine.dispose())


async def _populate(session: AsyncSession, some: list[Someone], teams: list[dict[str, Any]]) -> Work:
    provider_id, other = await add_provider(session), await add_provider(session, "other")
    ids = await add_users(session, provider_id, some)
    for team in teams:
        members = [ids[place] for place in team["members"] if place < len(ids)]
        await add_group(
            session, provider_id, team["name"], members,
            external_id=team["external_id"], created_at=team["created_at"],
        )  # fmt: skip
    # What is not this provider's, or no more: none of it is ever found.
    theirs = await add_users(session, other, [Someone("a", "a", created_at=START)])
    gone = await add_users(session, provider_id, [Someone("a-gone", created_at=START, deleted_at=START)])
    await add_group(session, other, "a", theirs, created_at=START)
    await add_group(session, None, "a", [*theirs, *gone, *ids[:1]], created_at=START)
    return work_of(session, provider_id, provisioner())


def _ids(page: SearchPage) -> list[str | None]:
    return [resource.id for resource in page.resources]


def _request(types: list[ResourceType], **wanted: Any) -> SearchRequest[Any]:
    models: Any = reduce(or_, (MODELS[type.name] for type in types))
    kind: Any = SearchRequest
    given = {name: value for name, value in wanted.items() if value is not None}
    try:
        request: SearchRequest[Any] = kind[models](**given)
    except (ValidationError, InvalidFilterException):
        assume(False)
        raise
    return request


def _memory(resources: list[Resource[Any]]) -> InMemoryStorage:
    storage = InMemoryStorage()
    storage.resources = resources
    return storage


kinds_of_search = st.sampled_from([["User"], ["User"], ["Group"], ["User", "Group"]])


@pytest.mark.slow
def test_a_search_in_sql_finds_sorts_and_pages_as_the_one_in_memory(database_url: str) -> None:
    with directory(database_url) as here:

        @settings(
            max_examples=15,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
        )
        @given(people, groups, st.data())
        def law(some: list[Someone], teams: list[dict[str, Any]], data: st.DataObject) -> None:
            try:
                work: Work = here.run(_populate(here.session, some, teams))
                every = here.run(Storage(work).search(TYPES, _request(TYPES))).resources
                # None of another provider, or deleted, or made by hand.
                assert len(every) == len(some) + len(teams)
                # As it is told, which lists the schemas of what is there.
                memory = _memory([type(one).model_validate(one.model_dump()) for one in every])
                for _ in range(4):
                    _check_one_search(here, work, memory, data)
            finally:
                here.run(here.session.rollback())

        law()


def _check_one_search(here: Directory, work: Work, memory: InMemoryStorage, data: st.DataObject) -> None:
    kinds = data.draw(kinds_of_search)
    types = [type for type in TYPES if type.name in kinds]
    ids = [str(resource.id) for resource in memory.resources]
    wanted = {
        "filter": data.draw(st.none() | filters(kinds, ids)),
        "sort_by": data.draw(st.sampled_from(SORTS)),
        "sort_order": data.draw(st.sampled_from([None, "ascending", "descending"])),
        "count": data.draw(st.none() | st.integers(0, 4)),
    }
    request = _request(types, **wanted, start_index=data.draw(st.integers(-1, 8)))
    found = here.run(Storage(work).search(types, request))
    known = memory.search(types, request)
    assert _ids(found) == _ids(known), wanted
    assert found.total == known.total
    assert [one.model_dump() for one in found.resources] == [one.model_dump() for one in known.resources]
    request = _request(types, **wanted, cursor="")
    _walk(
        lambda position: here.run(Storage(work).search(types, request, position=position)),
        lambda position: memory.search(types, request, position=position),
    )


def _walk(ours: Callable[[Any], SearchPage], theirs: Callable[[Any], SearchPage]) -> None:
    """Page to the end and back, side by side."""
    found, known = ours(None), theirs(None)
    for direction in ("next", "previous"):
        while True:
            assert _ids(found) == _ids(known)
            beside = [getattr(page, direction) for page in (found, known)]
            assert (found.next is None, found.previous is None) == (
                known.next is None,
                known.previous is None,
            )
            if None in beside:
                break
            found, known = ours(beside[0]), theirs(beside[1])
