"""Giving back what a call took that was not forwarded after all: once, in the transaction that says so."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.admission.consuming import Connection, columns, keep_versions, lock_quotas
from app.admission.demands import QuotaWindow, Settlement
from app.admission.rows import STATEMENT, Outcome, arguments_of
from app.lib.ids import new_id

# By their ids: a transaction whose commit had no answer may hold them yet, and is waited for.
_LOCK = "SELECT id FROM approvals WHERE id = ANY($1) ORDER BY id FOR UPDATE"
# By key within a day: the id alone would be looked for in every month.
_WRITTEN = "SELECT id FROM audit_events WHERE id = ANY($1) AND time > clock_timestamp() - interval '1 day'"
_GIVE_BACK = """
UPDATE approvals a SET consumed_by = t.earlier, revision = a.revision + 1, updated_at = clock_timestamp(),
    state = CASE WHEN t.earlier IS NULL THEN 'approved' ELSE 'consumed' END,
    consumed_at = CASE WHEN t.earlier IS NULL THEN NULL ELSE a.consumed_at END
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS t(id, call_id, earlier)
WHERE a.id = t.id AND a.consumed_by = t.call_id AND a.state = 'consumed'
RETURNING a.id
"""
_RETURN = """
UPDATE quota_uses q SET used = greatest(q.used - t.uses, 0)
FROM unnest($1::text[], $2::float8[], $3::int[]) AS t(key, start, uses)
WHERE q.quota_key = t.key AND q.window_start = to_timestamp(t.start)
"""


@dataclass(frozen=True, slots=True)
class Release:
    """What a call took, and the row that says that it was not forwarded."""

    outcome: Outcome
    reserved: tuple[QuotaWindow, ...]
    taken: tuple[tuple[UUID, UUID | None], ...]
    """Each approval, and the call of which this was the next round, which has it back then."""

    @classmethod
    def of(cls, settlement: Settlement) -> "Release":
        """Of all that a call took."""
        taken = tuple((approval.id, approval.consumed_by) for approval in settlement.taken)
        return cls(Outcome(new_id(), settlement.demand.id, "not_forwarded", 0), settlement.reserved, taken)


async def release(
    connection: Connection, releases: Sequence[Release], *, worker_id: UUID, digest_key_id: str
) -> None:
    """Give back, inside the transaction that is open, and record it.

    What was given back before is left alone, and so is what was never taken, since the call's row did not come to be.
    May be repeated when its answer is lost.
    """
    call_ids = [each.outcome.call_id for each in releases]
    await connection.fetch(_LOCK, [id for each in releases for id, _ in each.taken])
    await lock_quotas(connection, {window for each in releases for window in each.reserved})
    # Read under the locks, which an earlier attempt may have held.
    asked = [*call_ids, *(each.outcome.id for each in releases)]
    written = {row["id"] for row in await connection.fetch(_WRITTEN, asked)}
    due = [each for each in releases if each.outcome.call_id in written and each.outcome.id not in written]
    if not due:
        return
    taken = [(id, each.outcome.call_id, earlier) for each in due for id, earlier in each.taken]
    if taken:
        given = await connection.fetch(_GIVE_BACK, *columns(taken))
        await keep_versions(connection, [row["id"] for row in given])
    uses = Counter(window for each in due for window in each.reserved)
    if uses:
        await connection.execute(_RETURN, *columns([(*window, count) for window, count in uses.items()]))
    outcomes = [each.outcome for each in due]
    await connection.fetch(STATEMENT, *arguments_of((), outcomes, (), worker_id, digest_key_id))
