"""The digest of a tool definition is independent of formatting, and any change alters it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.definitions import PINNED_MEMBERS, Change, definition_changes, definition_digest

TOOL: dict[str, Any] = {
    "name": "log",
    "title": "Log",
    "description": "Show the log",
    "inputSchema": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 10}}},
    "outputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True},
}
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.sampled_from([*PINNED_MEMBERS, "_meta", "icons"]), values))
def test_the_order_of_keys_does_not_matter(tool: dict[str, Any]) -> None:
    assert definition_digest(tool) == definition_digest(backwards(tool))


@given(st.sampled_from(PINNED_MEMBERS), values, values)
def test_another_value_is_another_digest(member: str, one: Any, other: Any) -> None:
    if one != other:
        assert definition_digest({member: one}) != definition_digest({member: other})


@pytest.mark.parametrize("member", PINNED_MEMBERS)
def test_each_pinned_member_counts(member: str) -> None:
    without = {key: value for key, value in TOOL.items() if key != member}
    assert definition_digest(without) != definition_digest(TOOL)


@pytest.mark.parametrize("member", PINNED_MEMBERS)
def test_an_absent_member_and_a_null_one_are_the_same(member: str) -> None:
    without = {key: value for key, value in TOOL.items() if key != member}
    assert definition_digest(without) == definition_digest({**TOOL, member: None})


def test_what_neither_model_nor_policy_sees_does_not_count() -> None:
    assert definition_digest({**TOOL, "_meta": {"x": 1}, "icons": []}) == definition_digest(TOOL)


def test_values_do_not_move_between_members_unseen() -> None:
    assert definition_digest({"title": "a", "description": "b"}) != definition_digest(
        {"title": "b", "description": "a"}
    )


def test_large_integers_count_exactly() -> None:
    one, other = ({**TOOL, "inputSchema": {"maximum": 2**53 + extra}} for extra in (0, 1))
    assert definition_digest(one) != definition_digest(other)


def test_the_form_is_the_documented_one() -> None:
    """Stored digests must stay comparable: SHA-256 of sorted, compact, exact UTF-8 JSON."""
    from hashlib import sha256

    written = '{"description":"é","name":"log"}'.encode()
    assert definition_digest({"name": "log", "description": "é"}) == sha256(written).digest()


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, [Change("changed", "/a", 1, 1.0)]),
        ({"a": 1}, {"a": True}, [Change("changed", "/a", 1, True)]),
        ({"a": None}, {}, [Change("removed", "/a", None, None)]),
        ({}, {"a/b~c": []}, [Change("added", "/a~1b~0c", None, [])]),
        ({"a": [1, 2]}, {"a": [2]}, [Change("changed", "/a/0", 1, 2), Change("removed", "/a/1", 2, None)]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, [Change("changed", "/a/0/b", 1, 2)]),
        ({"a": {}}, {"a": []}, [Change("changed", "/a", {}, [])]),
    ],
)
def test_what_differs_is_said_as_deep_as_it_is(before: Any, after: Any, changes: list[Change]) -> None:
    assert list(definition_changes(before, after)) == changes


@given(values, values)
def test_two_definitions_without_a_difference_have_one_digest(before: Any, after: Any) -> None:
    one, other = ({"name": "x", "inputSchema": schema} for schema in (before, after))
    if not list(definition_changes(one, other)):
        assert definition_digest(one) == definition_digest(other)
    if definition_digest(one) != definition_digest(other):
        assert list(definition_changes(one, other))
