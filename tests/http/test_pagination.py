"""Cursors are opaque, bound to their list and filters, and any change is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Malformed
from app.http.pagination import Cursors

KEY = b"k" * 32


@given(st.lists(st.one_of(st.text(), st.integers(), st.none()), min_size=1, max_size=4))
def test_a_position_comes_back_as_it_went_in(position: list[object]) -> None:
    cursors = Cursors(KEY, "list", {"status": "active"})
    assert cursors.read(cursors.write(position)) == position


@given(st.text(max_size=80))
def test_made_up_cursors_are_refused_as_bad_requests(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        Cursors(KEY, "list", {}).read(text)
    assert caught.value.code == "cursor_mismatch"


@pytest.mark.parametrize(
    "other",
    [
        Cursors(KEY, "list", {"status": "ended"}),
        Cursors(KEY, "another list", {"status": "active"}),
        Cursors(b"x" * 32, "list", {"status": "active"}),
    ],
)
def test_a_cursor_of_other_filters_another_list_or_another_key_is_refused(other: Cursors) -> None:
    cursor = Cursors(KEY, "list", {"status": "active"}).write(["a"])
    with pytest.raises(Malformed):
        other.read(cursor)
