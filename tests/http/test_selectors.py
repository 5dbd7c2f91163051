"""Selectors and scopes keep their meaning between the API, the database and the domain."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.domain.scopes import ListedScope
from app.http.selectors import (
    ServerSelectorModel,
    TokenScopeModel,
    ToolSelectorModel,
    load_scope,
    load_server_selector,
    load_tool_selector,
    scope_to_domain,
    server_selector_to_domain,
    servers_named_by_scope,
    show_scope,
    store_scope,
    store_server_selector,
    store_tool_selector,
    tool_selector_to_domain,
)
from app.lib import ids
from app.lib.ids import SERVER, format_id

SERVERS: TypeAdapter[ServerSelectorModel] = TypeAdapter(ServerSelectorModel)
TOOLS: TypeAdapter[ToolSelectorModel] = TypeAdapter(ToolSelectorModel)
SCOPES: TypeAdapter[TokenScopeModel] = TypeAdapter(TokenScopeModel)

server_ids = st.uuids().map(lambda id: format_id(SERVER, id))
words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
all_kinds = st.just({"kind": "all"})
server_json = st.one_of(
    all_kinds,
    st.fixed_dictionaries({"kind": st.just("ids"), "ids": st.lists(server_ids, max_size=3)}),
    st.fixed_dictionaries({"kind": st.just("labels"), "labels": st.dictionaries(words, words, max_size=3)}),
)
tool_json = st.one_of(
    all_kinds,
    st.fixed_dictionaries({"kind": st.just("names"), "names": st.lists(words, max_size=3)}),
    st.fixed_dictionaries(
        {
            "kind": st.just("risk"),
            "risk": st.lists(st.sampled_from(["read", "write", "destructive", "unknown"]), max_size=4),
        }
    ),
)
entry_json = st.fixed_dictionaries(
    {"servers": server_json, "tools": tool_json},
    optional={"resources": st.booleans(), "prompts": st.booleans()},
)
scope_json = st.one_of(
    st.just({"kind": "grants"}),
    st.fixed_dictionaries({"kind": st.just("listed"), "entries": st.lists(entry_json, max_size=3)}),
)


def through_database(stored: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(stored))
    return result


@given(server_json)
def test_a_stored_server_selector_means_what_was_asked(body: dict[str, Any]) -> None:
    model = SERVERS.validate_python(body)
    assert load_server_selector(through_database(store_server_selector(model))) == server_selector_to_domain(
        model
    )


@given(tool_json)
def test_a_stored_tool_selector_means_what_was_asked(body: dict[str, Any]) -> None:
    model = TOOLS.validate_python(body)
    assert load_tool_selector(through_database(store_tool_selector(model))) == tool_selector_to_domain(model)


@given(scope_json)
def test_a_stored_scope_means_what_was_asked_and_shows_as_it_is(body: dict[str, Any]) -> None:
    model = SCOPES.validate_python(body)
    stored = through_database(store_scope(model))
    assert load_scope(stored) == scope_to_domain(model)
    shown = SCOPES.validate_json(SCOPES.dump_json(show_scope(stored)))
    assert store_scope(shown) == stored


def test_resources_and_prompts_of_an_entry_come_with_all_tools_unless_said() -> None:
    entries = [
        {"servers": {"kind": "all"}, "tools": {"kind": "all"}},
        {"servers": {"kind": "all"}, "tools": {"kind": "all"}, "resources": False},
        {"servers": {"kind": "all"}, "tools": {"kind": "names", "names": []}},
    ]
    scope = scope_to_domain(SCOPES.validate_python({"kind": "listed", "entries": entries}))
    assert isinstance(scope, ListedScope)
    assert [(entry.resources, entry.prompts) for entry in scope.entries] == [
        (True, True),
        (False, True),
        (False, False),
    ]


@pytest.mark.parametrize("load", [load_server_selector, load_tool_selector, load_scope])
def test_a_stored_kind_that_is_not_known_is_an_error_and_never_everything(load: Any) -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        load({"kind": "newer"})


def test_errors_point_into_the_body_without_the_kind() -> None:
    entry = {"servers": {"kind": "ids", "ids": ["no"]}, "tools": {"kind": "risk", "risk": ["mild"]}}
    with pytest.raises(ValidationError) as caught:
        SCOPES.validate_python({"kind": "listed", "entries": [entry]})
    assert [error["loc"] for error in caught.value.errors()] == [
        ("entries", 0, "servers", "ids", 0),
        ("entries", 0, "tools", "risk", 0),
    ]


def test_named_servers_come_with_where_they_stand() -> None:
    ids = [format_id(SERVER, id) for id in (UUID(int=1), UUID(int=2))]
    entries = [
        {"servers": {"kind": "all"}, "tools": {"kind": "all"}},
        {"servers": {"kind": "ids", "ids": ids}, "tools": {"kind": "all"}},
    ]
    named = servers_named_by_scope(SCOPES.validate_python({"kind": "listed", "entries": entries}), "/scope")
    assert [pointer for pointer, _ in named] == [
        "/scope/entries/1/servers/ids/0",
        "/scope/entries/1/servers/ids/1",
    ]


@pytest.mark.parametrize("name", [name for name in vars(ids) if name.endswith("Id") and name != "TypeID"])
def test_an_id_is_dumped_for_a_table_as_the_database_holds_it_and_for_json_with_its_prefix(name: str) -> None:
    adapter: TypeAdapter[UUID] = TypeAdapter(getattr(ids, name))
    text = adapter.json_schema()["examples"][0]
    id = adapter.validate_python(text)
    assert type(adapter.dump_python(id)) is UUID
    assert adapter.dump_python(id, mode="json") == text
