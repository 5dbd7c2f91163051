"""Liveness and readiness: whether the process runs, and whether it can serve."""

from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse

from app.domain.errors import Unavailable
from app.kit.horizon import HELD_BACK_S
from app.kit.migrations import head
from app.kit.runtime import CurrentRuntime

router = APIRouter(tags=["health"])

_CHECK = text(
    "SELECT (SELECT version_num FROM alembic_version) AS revision, scopegate_epoch() IS NOT NULL AS recording, "
    "to_regclass('audit_events_' || to_char((now() AT TIME ZONE 'UTC') + interval '1 month', '\"y\"YYYY\"m\"MM')) "
    "IS NOT NULL AS ahead, pg_is_in_recovery() AS standby, current_setting('synchronous_standby_names') <> '' "
    "AS synchronous, (SELECT count(*) FROM server_credentials WHERE key_id <> ALL(:keys)) "
    "+ (SELECT count(*) FROM webhook_secrets WHERE key_id <> ALL(:keys)) "
    "+ (SELECT count(*) FROM signal_streams WHERE key_id <> ALL(:keys)) AS sealed_away, "
    "(SELECT count(*) FROM webhooks WHERE status = 'active' AND ended_at IS NULL "
    "AND failing_since < now() - interval '5 minutes') AS unheard, "
    "(SELECT count(*) FROM signal_streams s JOIN identity_providers p ON p.id = s.provider_id "
    "WHERE p.status = 'active' AND p.ended_at IS NULL AND jsonb_typeof(p.settings -> 'signals') = 'object' "
    "AND s.stream_id IS NOT NULL AND (s.status IN ('paused', 'disabled') "
    "OR s.failing_since < now() - interval '5 minutes' OR s.error = 'verification' "
    "OR (s.verification_state IS NOT NULL AND s.verification_asked_at < now() - interval '5 minutes'))) AS silent"
)


@router.get("/livez", operation_id="get_liveness")
async def livez() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok"}


@router.get("/readyz", operation_id="get_readiness", responses={503: {"description": "Not ready"}})
async def readyz(runtime: CurrentRuntime) -> JSONResponse:
    """The database answers, is migrated, and can record. Warnings do not make it unready."""
    try:
        async with runtime.sessions() as session:
            row = (await session.execute(_CHECK, {"keys": list(runtime.sealer.ids)})).one()
            held_back = await runtime.horizon.held_back(session)
    except (SQLAlchemyError, Unavailable, OSError, TimeoutError):
        return JSONResponse({"status": "unavailable", "database": "unreachable"}, 503, {"Retry-After": "1"})
    warnings = [] if row.ahead else ["the audit log has no partition for next month; run: scopegate maintain"]
    if held_back > HELD_BACK_S:
        warnings.append(
            f"an open transaction has held the log's readers back for {held_back:.0f} s; scopegate doctor names it"
        )
    if row.sealed_away:
        warnings.append(
            f"{row.sealed_away} stored credentials are sealed with a key that is not configured; "
            "scopegate keys list names it"
        )
    if row.unheard:
        warnings.append(f"{row.unheard} webhooks fail; GET /api/v1/webhooks?failing=true names them")
    if row.silent:
        warnings.append(
            f"{row.silent} streams of signals are not alive; GET /api/v1/identity-providers/{{id}}/signals says how"
        )
    warnings.extend(runtime.warnings())
    ready = str(row.revision) >= head() and row.recording and not row.standby
    body = {
        "status": "ok" if ready else "unavailable",
        "database": "standby" if row.standby else "ok",
        "revision": row.revision,
        "recording": row.recording,
        "replication": "synchronous" if row.synchronous else "none or asynchronous",
        "warnings": warnings,
    }
    return JSONResponse(body, 200 if ready else 503)
