"""The dependency index stays correct while calls enter, leave and are reevaluated."""

from collections.abc import Generator
from math import inf
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.admission.in_flight import DependencyIndex
from app.domain.objects import Version

# A small set, so that calls often share dependencies and have some twice.
_PAIRS = st.lists(
    st.tuples(st.integers(0, 4).map(lambda number: UUID(int=number)), st.integers(0, 2)), max_size=8
)
_CALLS = st.integers(0, 5)
_ENDS = st.sampled_from([1.0, 2.0, 2.5, inf])
_AT = 2.0
_LARGE = 1_000


class InAnyOrder(RuleBasedStateMachine):
    """Compare the index with the dependencies of all calls, computed from scratch."""

    def __init__(self) -> None:
        super().__init__()
        self.index = DependencyIndex[int]()
        self.calls: dict[int, tuple[list[Version], float]] = {}
        self.told: set[int] = set()
        self.catching_up: Generator[None, None, None] | None = None

    @rule(call=_CALLS, pairs=_PAIRS, until=_ENDS)
    def enters_or_is_decided_again(self, call: int, pairs: list[Version], until: float) -> None:
        self.index.put(call, pairs, until)
        self.calls[call] = pairs, until
        self.told.discard(call)

    @rule(call=_CALLS)
    def leaves(self, call: int) -> None:
        self.index.drop(call)
        self.calls.pop(call, None)
        self.told.discard(call)

    @rule(steps=st.integers(1, 4))
    def a_part_is_caught_up_with(self, steps: int) -> None:
        self.catching_up = self.catching_up or self.index.catch_up()
        for _ in range(steps):
            if next(self.catching_up, self) is self:
                self.catching_up = None
                return

    @rule()
    def all_is_caught_up_with(self) -> None:
        for steps in (self.catching_up or (), self.index.catch_up()):
            for _ in steps:
                pass
        self.catching_up = None
        pairs = {pair for pairs, _ in self.calls.values() for pair in pairs}
        assert sorted(self.index.pairs()) == sorted(pairs)
        for pair in pairs:
            assert set(self.index.calls_depending_on(pair)) == {
                call for call, (depends_on, _) in self.calls.items() if pair in depends_on
            }

    @precondition(lambda self: self.catching_up is None)
    @rule()
    def each_end_is_told_once(self) -> None:
        self.all_is_caught_up_with()
        ended = self.index.calls_ended_by(_AT)
        assert sorted(ended) == sorted(
            call for call, (_, until) in self.calls.items() if until <= _AT and call not in self.told
        )
        self.told.update(ended)

    @rule()
    def the_next_end_is_known(self) -> None:
        ends = (until for call, (_, until) in self.calls.items() if call not in self.told)
        assert self.index.next_end() <= min(ends, default=inf)

    @invariant()
    def what_was_not_caught_up_with_is_known(self) -> None:
        for call, (depends_on, _) in self.calls.items():
            if self.catching_up is None and self.index.is_current(call):
                assert all(call in self.index.calls_depending_on(pair) for pair in depends_on)


TestInAnyOrder = InAnyOrder.TestCase
TestInAnyOrder.settings = settings(stateful_step_count=30)


def test_an_end_that_a_new_decision_put_off_is_not_told() -> None:
    index = DependencyIndex[int]()
    for until in (1.0, 5.0):
        index.put(1, (), until)
        for _ in index.catch_up():
            pass
    assert index.calls_ended_by(4.0) == []
    assert index.next_end() == 5.0
    assert index.calls_ended_by(5.0) == [1]
    assert index.next_end() == inf


def test_nothing_is_held_of_calls_that_came_and_went() -> None:
    index = DependencyIndex[int]()
    for call in range(_LARGE):
        index.put(call, [(UUID(int=call), 1)], float(call))
    for _ in index.catch_up():
        pass
    for call in range(_LARGE):
        index.drop(call)
    for _ in index.catch_up():
        pass
    assert (index.pairs(), index.next_end()) == ([], inf)


def test_the_ends_of_calls_that_have_left_do_not_pile_up() -> None:
    index = DependencyIndex[int]()
    for call in range(10 * _LARGE):
        index.put(call, (), 1e9 + call)
        for _ in index.catch_up():
            pass
        index.drop(call)
    assert len(index._ends) < 2 * _LARGE


def test_a_call_that_rests_on_very_many_is_taken_in_and_let_go_in_steps() -> None:
    index, many = DependencyIndex[int](), [(UUID(int=number), 1) for number in range(_LARGE)]
    index.put(1, many, inf)
    assert sum(1 for _ in index.catch_up()) > _LARGE / 100
    index.drop(1)
    assert sum(1 for _ in index.catch_up()) > _LARGE / 100
