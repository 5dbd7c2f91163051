"""Evidence for the checker after the last call: audit log, outcomes, secrets, and the verification of the log."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from app.lib.ids import EVENT, format_id
from tests.api import KEY
from tests.faults.harness import fetch
from tests.faults.rig.history import Audited, History, read
from tests.faults.rig.site import Site
from tests.faults.rig.witness import stored_checkpoints

UNKNOWN_WITHIN_S = 60
_MAX_ASKED = 300
_CALLS = """
SELECT e.id, e.trace_id, e.decision, extract(epoch FROM e.time)::float8 AS at,
    EXISTS (SELECT FROM audit_events r WHERE r.action = 'tool.result' AND r.call_id = e.id) AS finished
FROM audit_events e WHERE e.action = 'tool.call' AND e.trace_id IS NOT NULL
"""
_AGE = "UPDATE worker_leases SET renewed_at = renewed_at - $1 * interval '1 second' WHERE renewed_at < $2"


async def audited(here: Site) -> list[Audited]:
    """Every decision on a call that the audit has."""
    rows = await fetch(here.cluster.url, _CALLS)
    return [
        Audited(row["trace_id"], format_id(EVENT, UUID(str(row["id"]))), row["decision"], row["at"], row["finished"])
        for row in rows
    ]  # fmt: skip


async def outcomes(
    here: Site, audit: Iterable[Audited], lost_before: float, *, patient: bool
) -> dict[str, str]:
    """What the API says of calls without an outcome whose workers were all dead at a time of day.

    ``patient`` waits the minute; otherwise the leases of the dead are made that much older.
    """
    lost = [row for row in audit if row.decision == "allow" and not row.finished and row.time < lost_before]
    if patient:
        await asyncio.sleep(max(0.0, lost_before + UNKNOWN_WITHIN_S - time.time()))
    else:
        await fetch(here.cluster.url, _AGE, UNKNOWN_WITHIN_S, datetime.fromtimestamp(lost_before, UTC))
    found = {}
    for row in here.random.sample(lost, min(len(lost), _MAX_ASKED)):
        answered = await here.office.insist("GET", f"/api/v1/audit-events/{row.id}")
        found[row.call] = answered.body["outcome"]
    return found


def leaks(secrets: Iterable[str], dump: bytes, logs: Iterable[Path]) -> list[str]:
    """Where a secret stands, as it is or in hexadecimal."""
    texts = {"a dump of the database": dump, **{str(log): log.read_bytes() for log in logs if log.exists()}}
    found = []
    for where, text in texts.items():
        for secret in secrets:
            plain = secret.encode()
            if plain in text or plain.hex().encode() in text:
                found.append(where)
    return found


def sealed(here: Site) -> str | None:
    """What ``scopegate audit verify`` finds wrong, also against the checkpoints that were kept; ``None`` when that is
    nothing."""
    command = [sys.executable, "-m", "app.cli", "audit", "verify"]
    command += [part for file in stored_checkpoints(here) for part in ("--checkpoint", str(file))]
    keys = ("TOKEN_PEPPER", "ENCRYPTION_KEY", "SIGNING_KEY")
    environment = {
        **os.environ,
        "SCOPEGATE_DATABASE_URL": here.cluster.url,
        **{f"SCOPEGATE_{name}": KEY for name in keys},
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return f"audit verify: {(done.stdout + done.stderr).strip()[-2000:]}"


def collected(place: Path, record: Path) -> History:
    """The histories of the driver and of the upstream, together."""
    return History([*read(place / "history.jsonl"), *read(record)])
