"""Changes to JSON that people write by hand."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scopegate_client.cli import jsonc

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)


@given(OBJECTS, st.text(), VALUES, st.sampled_from([None, 2, "\t"]))
def test_a_member_is_set_and_nothing_else_changes(
    there: dict[str, Any], name: str, value: Any, indent: int | str | None
) -> None:
    text = json.dumps(there, indent=indent)
    assert jsonc.read(jsonc.put(text, [name], value)) == {**there, name: value}


@given(OBJECTS, st.lists(VALUES, max_size=3), VALUES)
def test_an_item_is_appended_and_nothing_else_changes(
    there: dict[str, Any], items: list[Any], item: Any
) -> None:
    text = json.dumps({**there, "inputs": items}, indent=2)
    assert jsonc.read(jsonc.append(text, "inputs", item)) == {**there, "inputs": [*items, item]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{}", '{\n  "servers": {\n    "a": 1\n  }\n}'),
        ('{"servers": {}}', '{"servers": {\n    "a": 1\n  }}'),
        (
            '{\n\t"servers": {\n\t\t"b": 2 // mine\n\t}\n}',
            '{\n\t"servers": {\n\t\t"b": 2, // mine\n\t\t"a": 1\n\t}\n}',
        ),
        (
            '{\n  // first\n  "servers": {\n    "b": 2,\n  },\n}',
            '{\n  // first\n  "servers": {\n    "b": 2,\n    "a": 1,\n  },\n}',
        ),
        (
            '{ /* "servers": { */ "x": "//", "servers": { "a": 0, "b": 2 } }',
            '{ /* "servers": { */ "x": "//", "servers": { "a": 1, "b": 2 } }',
        ),
    ],
)
def test_comments_and_form_stay(before: str, after: str) -> None:
    assert jsonc.put(before, ["servers", "a"], 1) == after


@pytest.mark.parametrize(
    "text", ["{", "[1", '{"a" 1}', '{"a": 1} x', "{'a': 1}", '{"a": 1, "a": 2}', "{" * 500]
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(jsonc.NotJson):
        jsonc.put(text, ["a"], 1)


def test_a_member_that_is_no_object_is_not_overwritten() -> None:
    with pytest.raises(jsonc.NotJson):
        jsonc.put('{"servers": []}', ["servers", "a"], 1)
