"""The risk of a tool: its annotations can raise what its name says, never lower it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.risk import Risk, assess

SEVERITY = {Risk.UNKNOWN: 0, Risk.READ: 1, Risk.WRITE: 2, Risk.DESTRUCTIVE: 3}
WORDS = ["get", "list", "delete", "create", "repo", "thing", "drop", "log", "it"]
hints = st.dictionaries(
    st.sampled_from(["readOnlyHint", "destructiveHint", "idempotentHint", "title"]),
    st.one_of(st.booleans(), st.none(), st.text(max_size=3), st.integers()),
)


@pytest.mark.parametrize(
    ("name", "risk"),
    [
        ("get_repo", Risk.READ),
        ("getRepo", Risk.READ),
        ("repo.search", Risk.READ),
        ("git_log", Risk.READ),
        ("LIST_THINGS", Risk.READ),
        ("create_issue", Risk.WRITE),
        ("git-push", Risk.WRITE),
        ("delete_repo", Risk.DESTRUCTIVE),
        ("repoDelete", Risk.DESTRUCTIVE),
        ("get_and_delete", Risk.DESTRUCTIVE),
        ("list_then_update", Risk.WRITE),
        ("deleted_items", Risk.UNKNOWN),
        ("budget", Risk.UNKNOWN),
        ("frobnicate", Risk.UNKNOWN),
        ("", Risk.UNKNOWN),
        ("工具", Risk.UNKNOWN),
    ],
)
@pytest.mark.parametrize("annotations", [None, {}])
def test_without_annotations_the_words_of_the_name_decide(
    name: str, risk: Risk, annotations: dict[str, Any] | None
) -> None:
    assert assess(name, annotations) is risk


@pytest.mark.parametrize(
    ("annotations", "risk"),
    [
        ({"readOnlyHint": True}, Risk.READ),
        ({"readOnlyHint": False}, Risk.DESTRUCTIVE),
        ({"readOnlyHint": False, "destructiveHint": False}, Risk.WRITE),
        ({"readOnlyHint": False, "destructiveHint": True}, Risk.DESTRUCTIVE),
        ({"readOnlyHint": True, "destructiveHint": True}, Risk.DESTRUCTIVE),
        ({"destructiveHint": True}, Risk.DESTRUCTIVE),
        ({"destructiveHint": False}, Risk.WRITE),
        ({"readOnlyHint": "true"}, Risk.UNKNOWN),
        ({"title": "delete"}, Risk.UNKNOWN),
    ],
)
def test_a_name_that_says_nothing_leaves_it_to_the_annotations(
    annotations: dict[str, Any], risk: Risk
) -> None:
    assert assess("frobnicate", annotations) is risk


@pytest.mark.parametrize(
    ("name", "annotations", "risk"),
    [
        ("delete_repo", {"readOnlyHint": True}, Risk.DESTRUCTIVE),
        ("create_repo", {"readOnlyHint": True}, Risk.WRITE),
        ("delete_repo", {"readOnlyHint": False, "destructiveHint": False}, Risk.DESTRUCTIVE),
        ("get_repo", {"destructiveHint": True}, Risk.DESTRUCTIVE),
        ("get_repo", {"readOnlyHint": True}, Risk.READ),
    ],
)
def test_a_servers_word_does_not_lower_what_the_name_says(
    name: str, annotations: dict[str, Any], risk: Risk
) -> None:
    assert assess(name, annotations) is risk


@given(st.lists(st.sampled_from(WORDS), max_size=4).map("_".join), hints)
def test_annotations_never_lower_the_risk(name: str, annotations: dict[str, Any]) -> None:
    assert SEVERITY[assess(name, annotations)] >= SEVERITY[assess(name, None)]


@given(st.text(max_size=40), hints)
def test_any_name_and_annotations_have_a_risk(name: str, annotations: dict[str, Any]) -> None:
    assert assess(name, annotations) in Risk
