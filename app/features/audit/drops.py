"""Months of the log that were dropped when their time was over: what of it may be missing, and no more.

Each drop is an event of the log itself, which says how many events went and up to which position. Months are cut by
time and positions follow commits, so that around the end of a month only the number tells whether more is missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from asyncpg import Connection, Record

from app.domain.log_check import Entry, Finding, Kind, LeafFault, fields_of
from app.domain.merkle import leaf_hash, verify_inclusion
from app.features.audit.leaves import LEAF_COLUMNS, leaf_of
from app.features.audit.proofs import inclusion_of
from app.features.audit.tiles import LogFault, Sealed, SealedTree, position_of
from app.features.audit.verdict import Fault, Mark, Verdict, positions, told

ACTION = "audit.drop"
_MARK = f'"action":"{ACTION}"'.encode()
_DROPS = f"SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE action = '{ACTION}'"  # noqa: S608


@dataclass(frozen=True, slots=True)
class _Missing:
    finding: Finding
    after: Mark
    before: Mark


class Drops:
    """What is missing, and which drops are on record, as far as a look at the log has come."""

    def __init__(self) -> None:
        self._missing: list[_Missing] = []
        self._rows = 0
        self._highest = -1

    def look_at(self, entries: Iterable[Entry]) -> None:
        """Take note of the drops among events that are as they were sealed."""
        for entry in entries:
            if _MARK in entry.leaf:
                self._count(entry.leaf)

    def missed(self, findings: Iterable[Finding], after: Mark, before: Mark) -> None:
        """Take note of what is missing between two checkpoints."""
        self._missing += [_Missing(finding, after, before) for finding in findings]

    async def excuse(
        self, verdict: Verdict, connection: "Connection[Record]", latest: Sealed, is_whole: bool
    ) -> None:
        """Tell what is missing and was not dropped. Of a part of the log, drops are looked up behind it."""
        if self._missing and not is_whole:
            await self._look_up(connection, latest)
        dropped = [each for each in self._missing if each.finding.end - 1 <= self._highest]
        for each in self._missing:
            if each not in dropped:
                verdict.add(told(each.finding, each.after, each.before))
        count = sum(each.finding.end - each.finding.first for each in dropped)
        verdict.dropped = min(count, self._rows)
        if count > self._rows or (is_whole and count < self._rows):
            first = dropped[0].finding.first if dropped else 0
            end = dropped[-1].finding.end if dropped else self._highest + 1
            words = (
                f"of {positions(first, end)}, {count} are missing, and {self._rows} are on record as dropped"
            )
            after, before = (dropped[0].after, dropped[-1].before) if dropped else (None, None)
            verdict.add(Fault(Kind.MISSING, first, end, words, after=after, before=before))

    async def _look_up(self, connection: "Connection[Record]", latest: Sealed) -> None:
        for row in await connection.fetch(_DROPS):
            leaf = leaf_of(row)
            try:
                found = await position_of(connection, (row["epoch"], row["xact"], row["seq"]), leaf)
                if found is not None and await _is_sealed(connection, latest, found[0], leaf):
                    self._count(leaf)
            except LogFault:
                continue

    def _count(self, leaf: bytes) -> None:
        try:
            said = fields_of(leaf)
        except LeafFault:
            return
        changes = said.get("changes")
        if said.get("action") != ACTION or not isinstance(changes, dict):
            return
        rows, highest = changes.get("rows"), changes.get("highest_position")
        if type(rows) is int and type(highest) is int:
            self._rows += rows
            self._highest = max(self._highest, highest)


async def _is_sealed(connection: "Connection[Record]", latest: Sealed, position: int, leaf: bytes) -> bool:
    proof = await inclusion_of(SealedTree(connection, latest.size, latest.place), position)
    return verify_inclusion(leaf_hash(leaf), position, latest.size, proof, latest.root)
