"""Liveness and readiness: whether the process runs, and whether it can serve."""

import time
from typing import Any

from asyncpg import Record
from fastapi import APIRouter
from starlette.responses import JSONResponse

from app.db.migrations import GENERATION, head
from app.http.readiness import HELD_BACK_S, Unready
from app.http.runtime import CurrentRuntime, Runtime

router = APIRouter(tags=["health"])
_RETRY = {"Retry-After": "1"}
_NOT_READY: dict[str, Any] = {
    "description": "Not ready",
    "content": {"application/json": {"schema": {}}},
    "headers": {"Retry-After": {"$ref": "#/components/headers/Retry-After"}},
}


@router.get("/livez", operation_id="get_liveness")
async def livez() -> dict[str, str]:
    """Check that the process runs."""
    return {"status": "ok"}


@router.get("/readyz", operation_id="get_readiness", responses={503: _NOT_READY})
async def readyz(runtime: CurrentRuntime) -> JSONResponse:
    """Check that the database is reachable, migrated and writable. Warnings do not make it unready."""
    try:
        state = await runtime.readiness.look()
    except Unready as fault:
        body = {"status": "unavailable", "database": "unreachable", "reasons": [str(fault)]}
        return JSONResponse(body, 503, _RETRY)
    reasons: list[str] = []
    if str(state["revision"]) < head():
        reasons.append("the database is not migrated far enough; run: scopegate migrate")
    if state["oldest_generation"] > GENERATION:
        reasons.append("the database no longer serves this version; run a newer Scopegate")
    if state["read_only"]:
        reasons.append("the database is read-only")
    if not state["recording"]:
        reasons.append("the log has no epoch for this timeline of the database yet")
    faults = [
        reason
        for health in (runtime.recorder_health, runtime.consuming_recorder_health)
        if (reason := health.reason()) is not None
    ]
    if runtime.rewinds.reason is not None:
        faults.append(runtime.rewinds.reason)
    # The lanes may say the same, and the look too.
    reasons = list(dict.fromkeys((*reasons, *faults)))
    answer = {
        "status": "unavailable" if reasons else "ok",
        "database": "read-only" if state["read_only"] else "ok",
        "revision": state["revision"],
        "recording": state["recording"] and not state["read_only"] and not faults,
        "replication": "synchronous" if state["synchronous"] else "none or asynchronous",
        "reasons": reasons,
        "warnings": _warnings(runtime, state),
    }
    return JSONResponse(answer, 503, _RETRY) if reasons else JSONResponse(answer)


_COUNTED = {
    "sealed_away": "stored credentials are sealed with a key that is not configured; scopegate keys list names it",
    "unheard": "webhooks fail; GET /api/v1/webhooks?failing=true names them",
    "ungiven": "audit sinks fail; GET /api/v1/audit-sinks?failing=true names them",
    "missing": "audit sinks missed events that retention dropped in the last week; "
    "missed_at at GET /api/v1/audit-sinks says which",
    "silent": "streams of signals are not alive; GET /api/v1/identity-providers/{id}/signals says how",
}
"""The warnings about counts of a look, by column."""


def _warnings(runtime: Runtime, state: Record) -> list[str]:
    warnings = (
        [] if state["ahead"] else ["the audit log has no partition for next month; run: scopegate maintain"]
    )
    held_back = runtime.horizon.observe(state["oldest"], state["next"], time.monotonic())
    if held_back > HELD_BACK_S:
        warnings.append(
            f"an open transaction has held the log's readers back for {held_back:.0f} s; scopegate doctor names it"
        )
    warnings += [f"{state[name]} {text}" for name, text in _COUNTED.items() if state[name]]
    for source in runtime.warnings:
        warnings.extend(source())
    return warnings
