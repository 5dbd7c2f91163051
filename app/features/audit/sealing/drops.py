"""Months of the log that were dropped when their time was over: what of it may be missing, and no more.

Before each drop, an event of the log says which month goes, how many events it has, and between which positions these
are. Months are cut by time and positions follow commits, so that around the end of a month only the number tells
whether more is missing. The oldest month goes first; one that is on record may be there still.

Whoever may insert into the log may record such an event. So it excuses nothing unless it fits what is there: its month
was in the time of the log and is over, none of its events is left, what is missing is not amidst events that are all
much later, and no event before it says something else of the month.

The end of a month of the trail: not before all of it is sealed, and never without a record of it in the trail.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate, pairwise

from asyncpg import Connection, Record

from app.crypto.log_check import Entry, Finding, Kind, LeafFault, fields_of
from app.db.partitions import MONTHS_AHEAD, month_of
from app.domain.merkle import leaf_hash, verify_inclusion
from app.features.audit.epochs import record_by_system
from app.features.audit.sealing.leaves import (
    LEAF_COLUMNS,
    TILE,
    LogFault,
    Sealed,
    SealedTree,
    latest_checkpoint,
    leaf_of,
    position_of,
)
from app.features.audit.sealing.proofs import inclusion_of
from app.features.audit.sealing.verdict import Fault, Mark, Verdict, positions, told

DROP = "audit.drop"
_OUTERMOST = (
    "SELECT epoch, xact, seq, {columns} FROM {partition} ORDER BY epoch {way}, xact {way}, seq {way} LIMIT 1"
)

# By a run that was interrupted before the month was gone; what says anything else of it is none of ours.
_ON_RECORD = """
SELECT EXISTS (
    SELECT FROM audit_events
    WHERE action = $1 AND changes = $2::jsonb AND time > clock_timestamp() - interval '31 days'
)
"""
_COUNT = "SELECT count(*) FROM {}"


async def record_drop(connection: "Connection[Record]", partition: str) -> str | None:
    """Record that a month of events is about to be dropped, as its owner: its name, how many events it has, and the
    first and last of their positions, so that whoever verifies the log knows which positions may be without an event.
    A month that is on record already is not recorded twice.

    Where it must not be dropped yet, nothing is recorded, and the answer says why: all of its events have to be sealed,
    in tiles that are full, since the edge of the tree is worked out from events.
    """
    first, last = (
        await _position(connection, partition, "ASC"),
        await _position(connection, partition, "DESC"),
    )
    if isinstance(first, str) or isinstance(last, str):
        return first if isinstance(first, str) else str(last)
    sealed = await latest_checkpoint(connection)
    size = 0 if sealed is None else sealed.size
    if last is not None and last >= size - size % TILE:
        return f"the tree has no full tile yet over its last events; that takes {TILE} events"
    rows = await connection.fetchval(_COUNT.format(partition))
    changes = {"partition": partition, "rows": rows, "lowest_position": first, "highest_position": last}
    if not await connection.fetchval(_ON_RECORD, DROP, json.dumps(changes)):
        await record_by_system(connection, DROP, "audit_month", changes)
    return None


async def _position(connection: "Connection[Record]", partition: str, way: str) -> int | str | None:
    """The position of the first or last event of a month; None where it has none, and in words why it has none yet."""
    query = _OUTERMOST.format(columns=LEAF_COLUMNS, partition=partition, way=way)
    row = await connection.fetchrow(query)
    if row is None:
        return None
    try:
        found = await position_of(connection, (row["epoch"], row["xact"], row["seq"]), leaf_of(row))
    except LogFault as fault:
        return f"it is not as it was sealed: {fault}; scopegate audit verify says more"
    return "not all of its events are sealed" if found is None else found[0]


_MARK = f'"action":"{DROP}"'.encode()
_DROPS = f"SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE action = '{DROP}'"  # noqa: S608
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

# No clock that went wrong can have put events further ahead: there are no months for them.
_AHEAD = timedelta(days=31 * (MONTHS_AHEAD + 1))
_MOST_TOLD = 20


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
    begins: datetime
    ends: datetime
    recorded: datetime = field(compare=False)

    def words(self, name: str) -> str:
        """That it is on record, and since when: whether its time was over then is for people to say."""
        among = positions(self.first, self.end)
        return f"{name} with {self.rows} events among {among} is on record as dropped on {self.recorded:%Y-%m-%d}"


class Drops:
    """What is missing, and which months are on record as dropped, as far as a look at the log has come."""

    def __init__(self) -> None:
        self._missing: list[_Missing] = []
        self._months: dict[str, _Month] = {}
        self._made_up: list[str] = []

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
        await self._leave_out(connection)
        for words in self._made_up[:_MOST_TOLD]:
            verdict.notes.append(f"{words}: that excuses nothing")
        dropped: list[_Missing] = []
        for each in self._missing:
            self._share(each, dropped, verdict)
        self._count(verdict, dropped, is_whole)

    async def _leave_out(self, connection: "Connection[Record]") -> None:
        """Have no month excuse anything of which there still are events, or among events of another time."""
        opened = await connection.fetchval(_OPENED)
        for name, month in list(self._months.items()):
            if await connection.fetchval(_IS_THERE, month.begins, month.ends):
                # As it is before a drop, too, which need not have come to its end.
                del self._months[name]
            elif opened is not None and month.ends <= opened:
                del self._months[name]
                self._made_up.append(f"{name} is on record as dropped, and was over before the log began")
            elif await self._is_amidst(connection, month):
                del self._months[name]
                self._made_up.append(f"{name} is on record as dropped, among events that are all much later")

    async def _is_amidst(self, connection: "Connection[Record]", month: _Month) -> bool:
        """Whether there are events on both sides of what is missing of a month that are all of a later time: those that
        came before it are older, and were dropped before it."""
        within = [
            each
            for each in self._missing
            if month.first < each.finding.end and each.finding.first < month.end
        ]
        if not within:
            return False
        before = await connection.fetchval(_BEFORE, within[0].after.size)
        # That a month was dropped is an event after it, so there are none only if it was not.
        after = await connection.fetchval(_AFTER, within[-1].before.size)
        latest = month.ends + _AHEAD
        return before is not None and before > latest and (after is None or after > latest)

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
        name, at = str(changes.get("partition")), said.get("time")
        if not (type(rows) is int and type(lowest) is int and type(highest) is int and isinstance(at, str)):
            return
        span = month_of(name)
        recorded = datetime.fromisoformat(at)
        if span is None or recorded < span[1]:
            self._made_up.append(f"{name[:40]!r} is on record as dropped, and was no month that was over")
            return
        month = _Month(rows, lowest, highest + 1, *span, recorded)
        if self._months.setdefault(name, month) != month:
            self._made_up.append(f"{name} is on record as dropped more than once, and not alike")


async def _is_sealed(connection: "Connection[Record]", latest: Sealed, position: int, leaf: bytes) -> bool:
    proof = await inclusion_of(SealedTree(connection, latest.size, latest.place), position)
    return verify_inclusion(leaf_hash(leaf), position, latest.size, proof, latest.root)
