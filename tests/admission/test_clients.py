"""Client ids: the same for the same client, without storing long values."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from pydantic import SecretStr

from app.admission import rows as access_clients
from app.admission.rows import STRING_LIMIT, Clients, forget_clients
from app.cli.database import maintain
from app.lib.ids import new_id
from app.settings import Settings
from tests.api import KEY


def test_a_client_is_named_once_and_its_long_strings_are_kept_cut() -> None:
    clients = Clients(b"key")
    named = ("127.0.0.1", "agent " * 1_000, "name \0" * 100_000, None)
    id, row = clients.name(*named)
    assert row is not None
    assert clients.name(*named) == (id, row)
    clients.written(row)
    assert clients.name(*named) == (id, None)
    assert clients.name("127.0.0.1", "agent", None, None)[0] != id
    kept = [part for parts in clients._seen for part in parts if part is not None]
    assert max(len(part.encode()) for part in kept) <= STRING_LIMIT


def test_a_client_that_comes_back_after_long_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row can have been deleted with the last event that named it."""
    now = 100.0
    monkeypatch.setattr(access_clients, "monotonic", lambda: now)
    clients = Clients(b"key")
    id, row = clients.name("127.0.0.1", "agent", None, None)
    assert row is not None
    clients.written(row)
    now += access_clients.REMEMBER_FOR_S
    assert clients.name("127.0.0.1", "agent", None, None) == (id, None)
    now += 1
    assert clients.name("127.0.0.1", "agent", None, None) == (id, row)


async def test_the_readable_parts_go_with_the_last_event_that_names_them(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    gone, named, recent = new_id(), new_id(), new_id()
    seen = datetime(2026, 1, 20, tzinfo=UTC)
    for id, at in ((gone, seen), (named, seen), (recent, datetime.now(UTC))):
        await connection.execute(
            "INSERT INTO audit_clients (id, ip, first_seen_at) VALUES ($1, '203.0.113.7', $2)", id, at
        )
    await connection.execute(
        "INSERT INTO audit_events (id, action, actor_type, client_id) VALUES ($1, 'tool.call', 'identity', $2)",
        new_id(), named,
    )  # fmt: skip

    async def left() -> set[object]:
        return {row["id"] for row in await connection.fetch("SELECT id FROM audit_clients")}

    keep, january = timedelta(days=28), datetime(2026, 2, 27, tzinfo=UTC)
    assert await forget_clients(database_url, keep=keep, now=january) == 0
    assert await left() == {gone, named, recent}
    key = SecretStr(KEY)
    settings = Settings(
        database_url=SecretStr(database_url), token_pepper=key, encryption_key=key, signing_key=key
    )
    await asyncio.to_thread(maintain, settings.model_copy(update={"audit_retention": keep}))
    assert await left() == {named, recent}
    await connection.close()
