"""The nesting of JSON is counted like a parser would, with the same limit on every Python version."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lib import strict_json
from app.lib.strict_json import MAX_PLAIN_DEPTH, TooDeep, is_too_deep

MARKS = st.text(alphabet='[]{}"\\ a,:\u00e9\x00', max_size=6)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | MARKS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(MARKS, inside, max_size=3),
    max_leaves=30,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(VALUES, st.booleans(), st.integers(0, 8))
def test_what_is_in_strings_does_not_count(value: Any, plain: bool, bound: int) -> None:
    text = json.dumps(value, ensure_ascii=plain).encode()
    assert is_too_deep(text, bound) == (depth_of(value) > bound)


@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":"\\"]",":":', "}]"), ("[1,", "]")]
)
def test_the_bound_is_ours_and_not_that_of_the_interpreter(opening: str, closing: str) -> None:
    levels = MAX_PLAIN_DEPTH // (opening.count("[") + opening.count("{"))
    strict_json.loads_plain(opening * levels + "1" + closing * levels)
    strict_json.loads_plain((opening * levels + "1" + closing * levels).encode())
    for deeper in (levels + 1, 200_000):
        with pytest.raises(TooDeep):
            strict_json.loads_plain(opening * deeper + "1" + closing * deeper)
        # Truncated text does not reach the parser either.
        with pytest.raises(TooDeep):
            strict_json.loads_plain((opening * deeper).encode())


@given(st.text(alphabet='[]{}"\\,:1', max_size=400) | st.binary(max_size=40) | VALUES.map(json.dumps))
def test_any_text_is_json_or_a_value_error(text: str | bytes) -> None:
    try:
        expected = repr(json.loads(text if isinstance(text, str) else text.decode()))
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011
            strict_json.loads_plain(text)
        return
    assert repr(strict_json.loads_plain(text)) == expected
