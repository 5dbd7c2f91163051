"""Deliberately broken builds: the change that each mutant makes to statements marked ``# mutation: name``."""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from math import inf
from typing import Any
from urllib.parse import urljoin

from tests.faults.rig.compiled_in import Break, InvalidBuild, Skip, Text, Through, Value

_kept: list[Any] = []
"""Without a reference, Python closes a connection and cancels a task."""
_NEVER_S = 86_400.0


async def _write_late(write: Any, row: Any) -> float:
    """Forward the call before its row is written."""

    async def later() -> None:
        await asyncio.sleep(0.2)
        await write(row)

    _kept.append(asyncio.create_task(later()))
    return _boot_time()


async def _allow_unwritten(write: Any, row: Any) -> Any:
    try:
        return await write(row)
    except Exception:  # noqa: BLE001
        return inf


def _admit_now(admitted: Any, _sent: float) -> Any:
    """Take the time when the caller resumes. After a freeze, the admission has expired by then."""
    return admitted(_boot_time())


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _refuse_500(refused: Any, _status: int, *values: Any, **more: Any) -> Any:
    return refused(500, *values, **more)


_raw = ContextVar("_raw", default=b"null")


async def _keep_raw(read_body: Any, limit: int) -> bytes:
    raw: bytes = await read_body(limit)
    _raw.set(raw)
    return raw


def _write_raw(dumps: Any, body: Any) -> Any:
    return _raw.get() if json.loads(_raw.get()) == body else dumps(body)


async def _follow_redirect(request: Any, method: str, url: str, *values: Any, **more: Any) -> Any:
    response = await request(method, url, *values, **more)
    place = response.header(b"location")
    if place is None:
        return response
    return await request(method, urljoin(url, place.decode()), *values, **more)


async def _send_twice(request: Any, *values: Any, **more: Any) -> Any:
    """Send a request that is not answered soon again, on another connection."""
    first = asyncio.create_task(request(*values, **more))
    _kept.append(first)
    await asyncio.wait({first}, timeout=0.08)
    return await (first if first.done() else request(*values, **more))


def _keep_connection(abort: Any) -> None:
    """Cut the client and leave the request to the upstream running."""
    _kept.append(abort.__self__)


async def _note_narrowing(execute: Any, *values: Any) -> Any:
    execute.__self__.info["commits_late"] = True
    return await execute(*values)


async def _commit_late(commit: Any) -> Any:
    """Answer a request that narrows access before its commit."""
    session = commit.__self__
    if not session.info.pop("commits_late", False):
        return await commit()
    close = session.close

    async def stay_open() -> None:
        session.close = close

    async def later() -> None:
        await asyncio.sleep(0.2)
        await commit()
        await close()

    session.close = stay_open
    _kept.append(asyncio.create_task(later()))
    return None


async def _pause_after(read: Any, *values: Any) -> Any:
    """Read, and give another replica the time to read the same."""
    found = await read(*values)
    await asyncio.sleep(0.3)
    return found


async def _read_versions_late(fetch: Any, statement: str, ids: Any) -> Any:
    """Read contents before versions: a right that is revoked between the two reads keeps the later version."""
    rows = [dict(row) for row in await fetch(statement, ids)]
    before = [row["version"] for row in rows]
    for _ in range(20 if rows else 0):
        await fetch("SELECT pg_sleep(0.05)")
        for row in rows:
            [[row["version"]]] = await fetch("SELECT version FROM access_versions WHERE id = $1", row["id"])
        if before != [row["version"] for row in rows]:
            break
    return rows


def _print_bearer(get: Any, *values: Any) -> Any:
    raw = get(*values)
    sys.stderr.write(f"{raw.decode('latin-1')}\n")
    return raw


def _grant_and_drop_trigger(execute: Any, statement: str) -> None:
    execute(statement)
    execute("DROP TRIGGER IF EXISTS audit_clients_append_only ON audit_clients")


async def _reuse_epoch(fetchval: Any, _statement: str) -> Any:
    """Restore the first form of the function, which accepts any epoch of this system and timeline."""
    connection = fetchval.__self__
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(50)")
        await connection.execute(
            "CREATE OR REPLACE FUNCTION scopegate_epoch() RETURNS integer LANGUAGE sql STABLE AS $$ "
            "SELECT min(epoch) FROM log_epochs "
            "WHERE system_identifier = (SELECT system_identifier FROM pg_control_system()) $$"
        )
    return await fetchval("SELECT scopegate_epoch()")


async def _sign_anew(latest_checkpoint: Any, connection: Any) -> None:
    """Leave an event out and sign a whole new tree, which is consistent with itself."""
    if await latest_checkpoint(connection) is None:
        return
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for table in ("audit_checkpoints", "audit_tiles"):
            await connection.execute(f"DELETE FROM {table}")
        await connection.execute(
            "DELETE FROM audit_events WHERE id = (SELECT id FROM audit_events "
            "WHERE action NOT LIKE 'tool%' ORDER BY epoch, xact, seq LIMIT 1)"
        )


BREAKS: dict[str, dict[str, Break]] = {
    "cached_check": {
        # An allowed decision stays in the cache for good. A denied one is decided again, so that new access works.
        "admission_statement": Text("IS NULL OR NOT", "IS NULL OR row.valid_from IS NOT NULL OR NOT"),
        "narrowing_heard": Skip(),
        "moved_judged": Skip(),
    },
    "audit_after_forward": {"row_written": Through(_write_late)},
    "admitted_at_resume": {
        "consuming_admitted": Through(_admit_now),
        "admitted": Through(_admit_now),
    },
    "asynchronous_commit": {
        "admission_statement": Text("'synchronous_commit', 'on'", "'synchronous_commit', 'off'"),
    },
    "fail_open": {"row_written": Through(_allow_unwritten)},
    "error_500": {"store_unavailable": Through(_refuse_500)},
    "scope_at_issue": {"scope_checked": Value(value=False)},
    "raw_body": {"body_read": Through(_keep_raw), "body_written": Through(_write_raw)},
    "redirects_followed": {"call_sent": Through(_follow_redirect)},
    "sent_twice": {"call_sent": Through(_send_twice)},
    "no_cut": {"call_cut": Skip()},
    "half_a_cut": {"upstream_cut": Through(_keep_connection)},
    # Without a notification, the worker notices neither a revocation nor that it cannot see the database.
    "notifications_alone": {"check_interval": Value(_NEVER_S), "blind_limit": Value(_NEVER_S)},
    "never_blind": {"blind_limit": Value(_NEVER_S)},
    "answered_before_commit": {
        "narrowing_told": Through(_note_narrowing),
        "request_committed": Through(_commit_late),
    },
    "leaving_unmoved": {"member_removed": Skip()},
    "read_apart": {
        "read_isolation": Text("repeatable_read", "read_committed"),
        "tokens_read": Through(_read_versions_late),
    },
    "approval_unlocked": {
        "approvals_locked": Text("FOR UPDATE", ""),
        "approvals_read": Through(_pause_after),
    },
    "secret_in_a_log": {"bearer_read": Through(_print_bearer)},
    "never_unknown": {"outcome_missing": Text("unknown", "in_flight")},
    "late_commits_unsealed": {
        "leaves_read": Text("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", str(2**63 - 1)),
    },
    "rewind_unnoticed": {"rewind_noted": Skip(), "rewind_refused": Skip()},
    "origin_table_writable": {
        "append_only_tables": Text("audit_clients", "audit_tiles"),
        "right_granted": Through(_grant_and_drop_trigger),
    },
    "epoch_reused": {"epoch_read": Through(_reuse_epoch)},
    "signed_anew": {"sealing_resumed": Through(_sign_anew)},
}


def breaks_of(mutant: str) -> Mapping[str, Break]:
    """How the mutant of this name is broken; not at all when the name is empty. Raises ``InvalidBuild``."""
    if mutant and mutant not in BREAKS:
        raise InvalidBuild(f"there is no mutant {mutant}")
    return BREAKS.get(mutant, {})
