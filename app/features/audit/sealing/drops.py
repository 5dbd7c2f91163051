"""Dropped months of the log: decide which missing events are explained by retention, and no others.

Before each drop, an audit event records the month, its number of events, and their first and last positions. Months are
cut by time and positions follow commits, so near the end of a month only the number tells whether more is missing. The
oldest month is dropped first; a recorded month may still exist.

An attacker with the right to insert into the log may forge such an event. So it excuses nothing unless it is consistent
with the log: its month is within the time of the log and past, none of its events are left, the missing events are not
between events that are all much later, and no earlier record contradicts it.

A month is dropped only after all of it is sealed, and never without a record in the log.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate, pairwise

from app.crypto.log_check import Entry, Finding, Kind, LeafFault, parse_leaf
from app.db.connection import Connection
from app.db.partitions import MONTHS_AHEAD, partition_month
from app.domain.merkle import inclusion_nodes, leaf_hash, verify_inclusion
from app.features.audit.epochs import record_by_system
from app.features.audit.sealing import leaves
from app.features.audit.sealing.leaves import LogFault, SealedTree, StoredCheckpoint, leaf_of, place_of
from app.features.audit.sealing.proofs import hashes_of
from app.features.audit.sealing.verdict import Fault, Mark, Verdict, positions

DROP = "audit.drop"
_OUTERMOST = (
    "SELECT epoch, xact, seq, {columns} FROM {partition} ORDER BY epoch {way}, xact {way}, seq {way} LIMIT 1"
)

# From a run that was interrupted before the drop; a record with other values is not ours.
_ON_RECORD = """
SELECT EXISTS (
    SELECT FROM audit_events
    WHERE action = $1 AND changes = $2::jsonb AND time > clock_timestamp() - interval '31 days'
)
"""
_COUNT = "SELECT count(*) FROM {}"


async def record_drop(connection: Connection, partition: str) -> str | None:
    """Record that a month of events is about to be dropped, by its owner: its name, its number of events, and their
    first and last positions, so that a verifier knows which positions may be missing. A month is recorded only once.

    If it must not be dropped yet, record nothing and return the reason: all of its events must be sealed in full tiles,
    since the edge of the tree is computed from events.
    """
    bounds: list[int | None] = []
    for way in ("ASC", "DESC"):
        query = _OUTERMOST.format(columns=leaves.LEAF_COLUMNS, partition=partition, way=way)
        row = await connection.fetchrow(query)
        if row is None:
            bounds.append(None)
            continue
        try:
            position = await leaves.position_of(connection, place_of(row), leaf_of(row))
        except LogFault as fault:
            return f"it is not as it was sealed: {fault}; run scopegate audit verify for details"
        if position is None:
            return "not all of its events are sealed"
        bounds.append(position[0])
    first, last = bounds
    sealed = await leaves.latest_checkpoint(connection)
    size = 0 if sealed is None else sealed.size
    if last is not None and last >= size - size % leaves.TILE:
        return f"the tree has no full tile yet over its last events; that takes {leaves.TILE} events"
    rows = await connection.fetchval(_COUNT.format(partition))
    changes = {"partition": partition, "rows": rows, "lowest_position": first, "highest_position": last}
    if not await connection.fetchval(_ON_RECORD, DROP, json.dumps(changes)):
        await record_by_system(connection, DROP, "audit_month", changes)
    return None


_MARK = f'"action":"{DROP}"'.encode()
_DROPS = f"SELECT epoch, xact, seq, {leaves.LEAF_COLUMNS} FROM audit_events WHERE action = '{DROP}'"  # noqa: S608
_UNSEALED = f"{_DROPS} AND (epoch, xact, seq) > ($1, $2, $3)"
_IS_THERE = "SELECT EXISTS (SELECT FROM audit_events WHERE time >= $1 AND time < $2)"
_PLACE = "(SELECT epoch, last_xact, last_seq FROM audit_checkpoints WHERE tree_size = $1)"
_BEFORE = f"""
SELECT time FROM audit_events WHERE (epoch, xact, seq) <= {_PLACE}
ORDER BY epoch DESC, xact DESC, seq DESC LIMIT 1
"""  # noqa: S608
_AFTER = f"""
SELECT time FROM audit_events WHERE (epoch, xact, seq) > {_PLACE} ORDER BY epoch, xact, seq LIMIT 1
"""  # noqa: S608
_OPENED = "SELECT min(opened_at) FROM log_epochs"

# No faulty clock can have put events further ahead: there are no partitions for them.
_AHEAD = timedelta(days=31 * (MONTHS_AHEAD + 1))
_MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class _Missing:
    finding: Finding
    after: Mark
    before: Mark


@dataclass(frozen=True, slots=True)
class _Month:
    """A month that is recorded as dropped, with the positions from ``first`` up to, but without, ``end``."""

    rows: int
    first: int
    end: int
    begins: datetime
    ends: datetime
    recorded: datetime = field(compare=False)

    def words(self, name: str) -> str:
        """Describe the record with its time: people judge whether the month's retention was over then."""
        among = positions(self.first, self.end)
        return (
            f"{name} with {self.rows} events among {among} is recorded as dropped on {self.recorded:%Y-%m-%d}"
        )


class Drops:
    """Collects missing events and recorded drops during a verification."""

    def __init__(self) -> None:
        self._missing: list[_Missing] = []
        self._months: dict[str, _Month] = {}
        self._inconsistent: list[str] = []

    def collect_drops(self, entries: Iterable[Entry]) -> None:
        """Collect the drops from events that are unchanged since they were sealed."""
        for entry in entries:
            if _MARK in entry.leaf:
                self._read_record(entry.leaf)

    def add_missing(self, findings: Iterable[Finding], after: Mark, before: Mark) -> None:
        """Collect what is missing between two checkpoints."""
        self._missing += [_Missing(finding, after, before) for finding in findings]

    async def add_unexplained(
        self, verdict: Verdict, connection: Connection, latest: StoredCheckpoint, is_whole: bool
    ) -> None:
        """Add faults for missing events that were not dropped. For a part of the log, later drops are looked up."""
        if not self._missing:
            return
        if not is_whole:
            await self._look_up(connection, latest)
        known = len(self._months)
        for row in await connection.fetch(_UNSEALED, *latest.place):
            self._read_record(leaf_of(row))
        if len(self._months) > known:
            verdict.notes.append("a month was dropped just now: the event that says so is not sealed yet")
        await self._discard_inconsistent(connection)
        for words in self._inconsistent[:_MAX_LISTED]:
            verdict.notes.append(f"{words}: that excuses nothing")
        dropped: list[_Missing] = []
        for missing in self._missing:
            # Separate the missing events of dropped months from the others.
            at, end = missing.finding.first, missing.finding.end
            bounds = {bound for month in self._months.values() for bound in (month.first, month.end)}
            for first, stop in pairwise([at, *sorted(bound for bound in bounds if at < bound < end), end]):
                part = Finding(Kind.MISSING, first, stop)
                if any(month.first <= first and stop <= month.end for month in self._months.values()):
                    dropped.append(_Missing(part, missing.after, missing.before))
                else:
                    verdict.add_findings([part], missing.after, missing.before)
        self._count(verdict, dropped, is_whole)

    async def _discard_inconsistent(self, connection: Connection) -> None:
        """Discard records of months that still have events, or whose missing events lie among events of another
        time."""
        opened = await connection.fetchval(_OPENED)
        for name, month in list(self._months.items()):
            if await connection.fetchval(_IS_THERE, month.begins, month.ends):
                # Also the state before a drop that was not completed.
                reason = None
            elif opened is not None and month.ends <= opened:
                reason = "but was over before the log began"
            elif await self._is_between_later(connection, month):
                reason = "among events that are all much later"
            else:
                continue
            del self._months[name]
            if reason is not None:
                self._inconsistent.append(f"{name} is recorded as dropped, {reason}")

    async def _is_between_later(self, connection: Connection, month: _Month) -> bool:
        """Whether the missing events of a month are between events that are all of a later time. Events before it are
        older and were dropped earlier."""
        within = [
            each
            for each in self._missing
            if month.first < each.finding.end and each.finding.first < month.end
        ]
        if not within:
            return False
        before = await connection.fetchval(_BEFORE, within[0].after.size)
        # The record of a drop is a later event, so there is none only if it was not dropped.
        after = await connection.fetchval(_AFTER, within[-1].before.size)
        latest = month.ends + _AHEAD
        return before is not None and before > latest and (after is None or after > latest)

    def _count(self, verdict: Verdict, dropped: list[_Missing], is_whole: bool) -> None:
        count = sum(each.finding.end - each.finding.first for each in dropped)
        verdict.notes += [month.words(name) for name, month in sorted(self._months.items())]
        sums = [0, *accumulate(month.rows for _, month in sorted(self._months.items()))]
        verdict.dropped = count
        if count > sums[-1] or (is_whole and count not in sums):
            first, end = dropped[0].finding.first, dropped[-1].finding.end
            words = (
                f"of {positions(first, end)}, {count} are missing, which are not the {sums[-1]} that are recorded as "
                f"dropped"
            )
            verdict.add(
                Fault(Kind.MISSING, first, end, words, after=dropped[0].after, before=dropped[-1].before)
            )

    async def _look_up(self, connection: Connection, latest: StoredCheckpoint) -> None:
        tree = SealedTree(connection, latest.size, latest.place)
        for row in await connection.fetch(_DROPS):
            leaf = leaf_of(row)
            try:
                sealed = await leaves.position_of(connection, place_of(row), leaf)
                if sealed is None:
                    continue
                proof = await hashes_of(tree, inclusion_nodes(sealed[0], latest.size))
            except LogFault:
                continue
            if verify_inclusion(leaf_hash(leaf), sealed[0], latest.size, proof, latest.root):
                self._read_record(leaf)

    def _read_record(self, leaf: bytes) -> None:
        try:
            fields = parse_leaf(leaf)
        except LeafFault:
            return
        changes = fields.get("changes")
        if fields.get("action") != DROP or not isinstance(changes, dict):
            return
        rows, lowest, highest = (changes.get(key) for key in ("rows", "lowest_position", "highest_position"))
        name, at = str(changes.get("partition")), fields.get("time")
        if not (type(rows) is int and type(lowest) is int and type(highest) is int and isinstance(at, str)):
            return
        span = partition_month(name)
        recorded = datetime.fromisoformat(at)
        if span is None or recorded < span[1]:
            self._inconsistent.append(f"{name[:40]!r} is recorded as dropped, but is not a past month")
            return
        month = _Month(rows, lowest, highest + 1, *span, recorded)
        if self._months.setdefault(name, month) != month:
            self._inconsistent.append(f"{name} is recorded as dropped more than once, with different values")
