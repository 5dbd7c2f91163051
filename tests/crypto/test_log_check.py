"""Every change of a log is found, with the right kind and position."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.crypto.log_check import Entry, Finding, Follower, Head, Kind, LeafFault, Place, Step
from app.domain.merkle import leaf_hash
from tests.merkle_proofs import root_of

TILE = 8


def leaf(number: int, place: Place, **more: Any) -> bytes:
    epoch, xact, seq = place
    said = {"id": f"event-{number}", "epoch": epoch, "xact": xact, "seq": seq, "time": f"at {number}", **more}
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


class Log:
    """Entries, their stored hashes and roots, as in a database."""

    def __init__(self, count: int, sizes: Sequence[int]) -> None:
        places = [(1 + number // 20, 100 + number // 3, 10 * number) for number in range(count)]
        self.entries = [
            # The changes of an event can look like its place.
            Entry(place, leaf(number, place, changes={"epoch": 7, "seq": {"xact": 9}}, tool='a,"seq":3'))
            for number, place in enumerate(places)
        ]
        self.ids = [entry.text_field("id") for entry in self.entries]
        hashes = [entry.hash for entry in self.entries]
        self.kept = hashes[: count // TILE * TILE]
        self.heads = [Head(size, root_of(hashes[:size])) for size in sizes]
        self.ends = [places[size - 1] for size in sizes]

    def check(self) -> list[Finding]:
        """The entries as read from a database: sorted, and cut at the last place of each root."""
        return [finding for step in self.steps() for finding in step.findings]

    def steps(self, elsewhere: Sequence[Head] = ()) -> list[Step]:
        follower, before, steps = Follower(), (0, 0, 0), []
        rows = sorted(self.entries, key=lambda entry: entry.place)
        for head, end in zip(self.heads, self.ends, strict=True):
            between = [entry for entry in rows if before < entry.place <= end]
            others = [other for other in elsewhere if follower.size < other.size <= head.size]
            steps.append(follower.step(head, between, self.kept[follower.size :], others))
            before = end
        return steps

    def move(self, at: int, place: Place) -> Entry:
        """The entry at a position, rewritten with another place."""
        said = json.loads(self.entries[at].leaf) | dict(zip(("epoch", "xact", "seq"), place, strict=True))
        return Entry(place, json.dumps(said, sort_keys=True, separators=(",", ":")).encode())


@st.composite
def logs(draw: st.DrawFn, least: int = 1) -> Log:
    count = draw(st.integers(least, 60))
    sizes = draw(st.sets(st.integers(1, count)))
    return Log(count, sorted(sizes | {count}))


def only(findings: list[Finding], kind: Kind) -> Finding:
    (finding,) = findings
    assert finding.kind is kind
    return finding


def is_kept(log: Log, at: int) -> bool:
    """Whether all hashes up to the next root after a position are known."""
    return next(head.size for head in log.heads if head.size > at) <= len(log.kept)


def assert_names(log: Log, at: int, kind: Kind, findings: list[Finding]) -> None:
    """The position is exact, or, at the end without stored hashes, known between two roots."""
    before = max((head.size for head in log.heads if head.size <= at), default=0)
    after = next(head.size for head in log.heads if head.size > at)
    if is_kept(log, at) or findings[0].kind is not Kind.UNEXPLAINED:
        found = only(findings, kind)
        assert (found.first, found.end) == (at, at + (kind is not Kind.INSERTED))
    else:
        assert (findings[0].first, findings[0].end) == (before, after)


@given(logs())
def test_nothing_is_wrong_with_a_log_as_it_was_sealed(log: Log) -> None:
    steps = log.steps(elsewhere=log.heads)
    assert all(step.is_certain and not step.findings and not step.foreign for step in steps)


@given(logs(), st.data())
def test_a_flipped_byte_is_found_where_it_is(log: Log, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log.entries) - 1))
    entry = log.entries[at]
    byte, bit = data.draw(st.integers(0, len(entry.leaf) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(entry.leaf)
    changed[byte] ^= 1 << bit
    log.entries[at] = Entry(entry.place, bytes(changed))
    assert_names(log, at, Kind.CHANGED, log.check())


@given(logs(least=2), st.data())
def test_an_entry_that_is_gone_is_missed_where_it_was(log: Log, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log.entries) - 1))
    del log.entries[at]
    assert_names(log, at, Kind.MISSING, log.check())


@given(logs(), st.data())
def test_an_entry_that_was_put_in_is_found_before_what_follows_it(log: Log, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log.entries) - 1))
    epoch, xact, seq = log.entries[at].place
    place = (epoch, xact, seq - 5)
    log.entries.append(Entry(place, leaf(999, place)))
    findings = log.check()
    before = max((head.size for head in log.heads if head.size <= at), default=0)
    if findings[0].kind is Kind.UNEXPLAINED:
        assert not is_kept(log, at)
        assert before <= findings[0].first <= at
    else:
        found = only(findings, Kind.INSERTED)
        assert found.first == found.end == at
        assert found.entry is not None
        assert found.entry.text_field("id") == "event-999"


@given(logs(least=2), st.data())
def test_two_that_have_each_others_place_are_found_out_of_order(log: Log, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log.entries) - 2))
    to = data.draw(st.integers(at + 1, len(log.entries) - 1))
    one, other = log.move(at, log.entries[to].place), log.move(to, log.entries[at].place)
    log.entries[at], log.entries[to] = other, one
    findings = log.check()
    between = [head.size for head in log.heads if at < head.size <= to]
    if not between and findings[0].kind is not Kind.UNEXPLAINED:
        assert {
            (found.kind, found.first, found.entry and found.entry.text_field("id")) for found in findings
        } == {
            (Kind.OUT_OF_ORDER, at, log.ids[at]),
            (Kind.OUT_OF_ORDER, to, log.ids[to]),
        }
    elif findings[0].kind is not Kind.UNEXPLAINED:
        # A root is between them, so each is compared with its own neighbors and counts as changed.
        assert (findings[0].kind, findings[0].first) == (Kind.CHANGED, at)
    else:
        assert findings[0].first <= at < findings[0].end


@given(logs(), st.data())
def test_a_kept_hash_that_was_changed_is_told_from_a_changed_entry(log: Log, data: st.DataObject) -> None:
    if not log.kept:
        return
    at = data.draw(st.integers(0, len(log.kept) - 1))
    log.kept[at] = leaf_hash(b"another")
    found = only(log.check(), Kind.HASHES)
    assert (found.first, found.end) == (at, at + 1)


@given(logs(), st.data())
def test_entry_and_hash_changed_alike_do_not_give_the_root(log: Log, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log.entries) - 1))
    entry = log.entries[at]
    log.entries[at] = Entry(entry.place, leaf(at, entry.place, outcome="success"))
    if at < len(log.kept):
        log.kept[at] = log.entries[at].hash
    findings = log.check()
    assert findings[0].kind is Kind.UNEXPLAINED
    assert findings[0].first <= at < findings[0].end
    # Later entries cannot be checked and are not reported.
    assert len(findings) == 1


@given(logs(), st.data())
def test_another_log_is_found_by_a_root_that_was_kept_elsewhere(log: Log, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log.entries) - 1))
    hashes = [entry.hash for entry in log.entries]
    rewritten = [*hashes[:at], leaf_hash(b"what it once was"), *hashes[at + 1 :]]
    size = data.draw(st.integers(1, len(hashes)))
    head = Head(size, root_of(rewritten[:size]))
    steps = log.steps(elsewhere=[head])
    assert [step.findings for step in steps if step.findings] == []
    assert [step.foreign for step in steps if step.foreign] == ([] if size <= at else [[head]])


def test_lines_that_were_exchanged_are_told_apart_from_changed_ones() -> None:
    """In a file, an entry can be at any position, independent of its place."""
    log = Log(24, [24])
    hashes = [entry.hash for entry in log.entries]
    lines = log.entries.copy()
    lines[3], lines[17] = lines[17], lines[3]
    for kept in (hashes, []):
        findings = Follower().step(log.heads[0], lines, kept).findings
        assert {(found.kind, found.first) for found in findings} == {
            (Kind.OUT_OF_ORDER, 3),
            (Kind.OUT_OF_ORDER, 17),
        }


@given(logs(least=4), st.data())
def test_without_roots_between_what_is_wrong_lies_after_the_last_one(log: Log, data: st.DataObject) -> None:
    """Before a distant root, the check advances over entries that match the stored hashes."""
    ends = [0, *sorted(data.draw(st.sets(st.integers(1, len(log.entries) - 1)))), len(log.entries)]
    at = data.draw(st.integers(-1, len(log.entries) - 1))
    if at >= 0:
        log.entries[at] = Entry(log.entries[at].place, b"{}")
        log.kept[at : at + 1] = [log.entries[at].hash][: len(log.kept) - at] if at < len(log.kept) else []
    follower = Follower()
    for start, end in pairwise(ends[:-1]):
        assert follower.advance(log.entries[start:end], log.kept[start:end])
    findings = follower.step(log.heads[-1], log.entries[ends[-2] :], log.kept[ends[-2] :]).findings
    assert findings == ([] if at < 0 else [Finding(Kind.UNEXPLAINED, 0, len(log.entries))])
    assert not follower.advance([log.entries[0]], [leaf_hash(b"another")])


def test_months_that_are_gone_are_one_finding() -> None:
    log = Log(48, [16, 48])
    del log.entries[:32]
    assert [(found.kind, found.first, found.end) for found in log.check()] == [
        (Kind.MISSING, 0, 16),
        (Kind.MISSING, 16, 32),
    ]


def test_lines_that_are_no_leaves_are_refused() -> None:
    assert Entry.read(leaf(1, (1, 2, 3))).place == (1, 2, 3)
    deep = b"[" * 100_000
    for line in (
        b"",
        b"{",
        b"[]",
        b"{}",
        deep,
        b"\xff",
        b'{"epoch":1,"xact":true,"seq":3}',
        b'{"epoch":1,"xact":2.0,"seq":3}',
    ):
        with pytest.raises(LeafFault):
            Entry.read(line)
        assert Entry((0, 0, 0), line).text_field("id") is None
