"""Months of the log that were dropped when their time was over: what of it may be missing, and no more.

Before each drop, an event of the log says which month goes, how many events it has, and between which positions these
are. Months are cut by time and positions follow commits, so that around the end of a month only the number tells
whether more is missing. The oldest month goes first; one that is on record may be there still.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise

from asyncpg import Connection, Record

from app.domain.log_check import Entry, Finding, Kind, LeafFault, fields_of
from app.domain.merkle import leaf_hash, verify_inclusion
from app.features.audit.leaves import LEAF_COLUMNS, leaf_of
from app.features.audit.proofs import inclusion_of
from app.features.audit.retention import DROP
from app.features.audit.tiles import LogFault, Sealed, SealedTree, position_of
from app.features.audit.verdict import Fault, Mark, Verdict, positions, told

_MARK = f'"action":"{DROP}"'.encode()
_DROPS = f"SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE action = '{DROP}'"  # noqa: S608
_UNSEALED = f"{_DROPS} AND (epoch, xact, seq) > ($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class _Missing:
    finding: Finding
    after: Mark
    before: Mark


@dataclass(frozen=True, slots=True)
class _Month:
    """A month that is on record as dropped, and the positions ``first`` up to, but without, ``end``."""

    rows: int
    first: int
    end: int

    def words(self, name: str) -> str:
        """That it is on record: whether its time was over is for people to say."""
        return (
            f"{name} with {self.rows} events among {positions(self.first, self.end)} is on record as dropped"
        )


class Drops:
    """What is missing, and which months are on record as dropped, as far as a look at the log has come."""

    def __init__(self) -> None:
        self._missing: list[_Missing] = []
        self._months: dict[str, _Month] = {}

    def look_at(self, entries: Iterable[Entry]) -> None:
        """Take note of the drops among events that are as they were sealed."""
        for entry in entries:
            if _MARK in entry.leaf:
                self._take_down(entry.leaf)

    def missed(self, findings: Iterable[Finding], after: Mark, before: Mark) -> None:
        """Take note of what is missing between two checkpoints."""
        self._missing += [_Missing(finding, after, before) for finding in findings]

    async def excuse(
        self, verdict: Verdict, connection: "Connection[Record]", latest: Sealed, is_whole: bool
    ) -> None:
        """Tell what is missing and was not dropped. Of a part of the log, drops are looked up behind it."""
        if not self._missing:
            return
        if not is_whole:
            await self._look_up(connection, latest)
        known = len(self._months)
        for row in await connection.fetch(_UNSEALED, *latest.place):
            self._take_down(leaf_of(row))
        if len(self._months) > known:
            verdict.notes.append("a month was dropped just now: the event that says so is not sealed yet")
        dropped: list[_Missing] = []
        for each in self._missing:
            self._share(each, dropped, verdict)
        self._count(verdict, dropped, is_whole)

    def _share(self, missing: _Missing, dropped: list[_Missing], verdict: Verdict) -> None:
        """Part what is within months that were dropped from what is not."""
        at, end = missing.finding.first, missing.finding.end
        edges = {
            edge for month in self._months.values() for edge in (month.first, month.end) if at < edge < end
        }
        cuts = [at, *sorted(edges), end]
        for first, stop in pairwise(cuts):
            part = Finding(Kind.MISSING, first, stop)
            if any(month.first <= first and stop <= month.end for month in self._months.values()):
                dropped.append(_Missing(part, missing.after, missing.before))
            else:
                verdict.add(told(part, missing.after, missing.before))

    def _count(self, verdict: Verdict, dropped: list[_Missing], is_whole: bool) -> None:
        count = sum(each.finding.end - each.finding.first for each in dropped)
        verdict.notes += [month.words(name) for name, month in sorted(self._months.items())]
        sums = [0, *accumulate(month.rows for _, month in sorted(self._months.items()))]
        verdict.dropped = count
        if count > sums[-1] or (is_whole and count not in sums):
            first, end = dropped[0].finding.first, dropped[-1].finding.end
            words = (
                f"of {positions(first, end)}, {count} are missing, which are not the {sums[-1]} that are on record as "
                f"dropped"
            )
            verdict.add(
                Fault(Kind.MISSING, first, end, words, after=dropped[0].after, before=dropped[-1].before)
            )

    async def _look_up(self, connection: "Connection[Record]", latest: Sealed) -> None:
        for row in await connection.fetch(_DROPS):
            leaf = leaf_of(row)
            try:
                found = await position_of(connection, (row["epoch"], row["xact"], row["seq"]), leaf)
                if found is not None and await _is_sealed(connection, latest, found[0], leaf):
                    self._take_down(leaf)
            except LogFault:
                continue

    def _take_down(self, leaf: bytes) -> None:
        try:
            said = fields_of(leaf)
        except LeafFault:
            return
        changes = said.get("changes")
        if said.get("action") != DROP or not isinstance(changes, dict):
            return
        rows, lowest, highest = (changes.get(key) for key in ("rows", "lowest_position", "highest_position"))
        if type(rows) is int and type(lowest) is int and type(highest) is int:
            self._months[str(changes.get("partition"))] = _Month(rows, lowest, highest + 1)


async def _is_sealed(connection: "Connection[Record]", latest: Sealed, position: int, leaf: bytes) -> bool:
    proof = await inclusion_of(SealedTree(connection, latest.size, latest.place), position)
    return verify_inclusion(leaf_hash(leaf), position, latest.size, proof, latest.root)
