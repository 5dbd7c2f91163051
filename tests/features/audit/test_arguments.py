"""Arguments of calls: readable with the permission, only for their own call, and audited."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.cli.database import maintain
from app.crypto.keys import Sealed, Sealer
from app.db import call_arguments as audit_arguments
from app.db.call_arguments import arguments_place, forget_arguments
from app.lib.ids import EVENT, format_id, new_id
from app.lib.strict_json import canonical
from app.models.audit import AuditArguments, AuditEvent
from app.settings import Settings
from tests.api import KEY, ApiAs

ARGUMENTS = {"amount": 9007199254740993, "to": "4711", "note": "caf\u00e9", "parts": [1.5, None]}


async def call(sessions: async_sessionmaker[AsyncSession], sealed: Sealed | None, like: AuditEvent) -> str:
    async with sessions() as session:
        session.add(like)
        if sealed is not None:
            row = AuditArguments(
                call_id=like.id, time=datetime.now(UTC), key_id=sealed.key_id, sealed=sealed.data
            )
            session.add(row)
        await session.commit()
    return format_id(EVENT, like.id)


def event() -> AuditEvent:
    return AuditEvent(id=new_id(), action="tool.call", actor_type="identity", tool="refund")


async def test_kept_arguments_are_read_at_their_call_by_permission_and_that_is_on_record(
    api: httpx2.AsyncClient, api_as: ApiAs, sessions: async_sessionmaker[AsyncSession]
) -> None:
    sealer, kept, without, moved = Sealer([KEY.encode()]), event(), event(), event()
    sealed = sealer.seal(canonical(ARGUMENTS), arguments_place(kept.id))  # type: ignore[arg-type]
    ids = [await call(sessions, sealed, kept), await call(sessions, None, without)]
    elsewhere = await call(sessions, sealed, moved)

    since = datetime.now(UTC).isoformat()
    auditor, issuer = await api_as("auditor"), await api_as("issuer")
    answer = await auditor.get(f"/api/v1/audit-events/{ids[0]}/arguments")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"event_id": ids[0], "kept": True, "arguments": ARGUMENTS}
    answer = await auditor.get(f"/api/v1/audit-events/{ids[1]}/arguments")
    assert answer.json() == {"event_id": ids[1], "kept": False, "arguments": None}
    # Arguments encrypted for one call cannot be decrypted for another.
    assert (await auditor.get(f"/api/v1/audit-events/{elsewhere}/arguments")).status_code == 503
    assert (await issuer.get(f"/api/v1/audit-events/{ids[0]}/arguments")).status_code == 403
    nowhere = format_id(EVENT, new_id())
    assert (await auditor.get(f"/api/v1/audit-events/{nowhere}/arguments")).status_code == 404

    [looked] = (
        await api.get("/api/v1/audit-events", params={"action": "arguments.read", "since": since})
    ).json()["items"]
    assert looked["object"] == {"type": "audit_event", "id": ids[0]}
    assert (looked["tool"], looked["request_id"] is not None) == ("refund", True)
    assert "4711" not in str(looked)


async def test_maintenance_deletes_arguments_past_their_retention_and_quotas_of_days_gone_by(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_arguments, "_AT_ONCE", 2)
    connection = await asyncpg.connect(database_url)
    now = datetime.now(UTC)
    old, recent = [new_id() for _ in range(5)], new_id()
    for id, at in (*((id, now + timedelta(days=1)) for id in old), (recent, now + timedelta(days=3))):
        await connection.execute("INSERT INTO audit_arguments VALUES ($1, $2, 'key', 'sealed')", id, at)
    for key, start in (("past", now - timedelta(days=3)), ("today", now)):
        await connection.execute("INSERT INTO quota_uses VALUES ($1, $2, 4)", key, start)
    assert await forget_arguments(database_url, keep=timedelta(days=1), now=now + timedelta(days=3)) == 5
    secret = SecretStr(KEY)
    settings = Settings(
        database_url=SecretStr(database_url), token_pepper=secret, encryption_key=secret, signing_key=secret
    )
    await asyncio.to_thread(maintain, settings)
    left = await connection.fetch("SELECT call_id FROM audit_arguments")
    assert [row["call_id"] for row in left] == [recent]
    assert [row["quota_key"] for row in await connection.fetch("SELECT quota_key FROM quota_uses")] == [
        "today"
    ]
    await connection.close()
