"""Work on large JSON does not block the event loop, and gives the same result."""

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lib import strict_json
from app.lib.event_loop import LARGE_BYTES, LARGE_VALUES, is_large, is_on_loop, off_loop, yield_to_others

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=60,
)


@given(VALUES, st.integers(1, 3), st.integers(0, 3))
def test_json_that_is_written_in_pieces_is_the_same(value: Any, in_a_piece: int, few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "_VALUES_PER_PIECE", in_a_piece)
        patch.setattr(strict_json, "_MAX_PLAIN_VALUES", few)
        assert strict_json.dumps_in_pieces(value) == strict_json.dumps(value)


def test_what_is_large_is_so_by_its_bytes_or_by_its_values() -> None:
    assert not is_large(b'"%s"' % (b"x" * LARGE_BYTES)[:-2])
    assert is_large(b'"%s"' % (b"x" * LARGE_BYTES))
    assert not is_large(b"[%s]" % b",".join([b"1"] * (LARGE_VALUES - 1)))
    assert is_large(b"[%s]" % b",".join([b"1"] * (LARGE_VALUES + 1)))


async def test_the_event_loop_goes_on_while_work_is_done_beside_it() -> None:
    loop_went_on = threading.Event()

    def work(number: int) -> tuple[int, bool]:
        assert loop_went_on.wait(20)
        return number, is_on_loop()

    working = asyncio.create_task(off_loop(work, 7))
    await asyncio.sleep(0)
    assert is_on_loop()
    loop_went_on.set()
    assert await working == (7, False)
    with pytest.raises(ZeroDivisionError):
        await off_loop(lambda: 1 // 0)


async def test_many_who_never_pause_take_a_few_turns_at_a_time() -> None:
    turns: list[int] = []
    round_number = 0

    async def never_pauses() -> None:
        while round_number < 50:
            await yield_to_others()
            turns.append(round_number)

    floods = [asyncio.create_task(never_pauses()) for _ in range(100)]
    while round_number < 50:
        round_number += 1
        await asyncio.sleep(0)
    await asyncio.gather(*floods)
    assert max(turns.count(number) for number in range(2, 49)) <= 8
