"""``scopegate keys``, as its page says: each step of changing a key, with a service that goes on reading."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import Update, delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.access.credentials import credential_place, open_credential
from app.cli.commands import main
from app.crypto.keys import Peppers, Sealer, UnsealingFault, key_id
from app.crypto.signed_notes import Checkpoint, NoteSigner, log_name
from app.db import call_arguments
from app.db import resealing as stored_resealing
from app.db.call_arguments import arguments_place, kept_arguments
from app.features.servers.credentials import reseal
from app.features.webhooks.service import add_secret
from app.lib.ids import new_id
from app.models.audit import AuditArguments, AuditCheckpoint, AuditEvent
from app.models.identities import Identity, OffboardingReceipt
from app.models.servers import Server, ServerCredential
from app.models.webhooks import Webhook
from tests.api import KEY, make_account

OLD, NEW = "old-key-of-more-than-thirty-two-characters", "new-key-of-more-than-thirty-two-characters"
ORIGIN = "https://mcp.example.com"
Sessions = async_sessionmaker[AsyncSession]
Command = Callable[..., Awaitable[int]]


def sealer(*keys: str) -> Sealer:
    return Sealer([key.encode() for key in keys])


async def store(sessions: Sessions, key: str, secret: str = "Bearer s3cret") -> UUID:
    """A server with a credential that is sealed with this key; the server's id."""
    async with sessions() as session:
        server = Server(slug=f"s-{uuid4().hex[:8]}", name="S", url=f"{ORIGIN}/mcp")
        session.add(server)
        await session.flush()
        row = ServerCredential(server_id=server.id, kind="bearer", origin=ORIGIN, key_id="", sealed=b"")
        sealed = sealer(key).seal(
            f'["authorization", "{secret}"]'.encode(), credential_place(row.id, server.id, ORIGIN)
        )
        row.key_id, row.sealed = sealed.key_id, sealed.data
        session.add(row)
        await session.commit()
        return server.id


async def opened(sessions: Sessions, server_id: UUID, *keys: str) -> str:
    async with sessions() as session:
        server = await session.get_one(Server, server_id)
        ((_, value),) = (await open_credential(session, sealer(*keys), server)).headers
        return value.decode()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Command:
    """Runs ``scopegate`` on the database of the test with a list of keys; the exit code."""

    def run(keys: str, *words: str) -> int:
        for name in ("TOKEN_PEPPER", "ENCRYPTION_KEY", "SIGNING_KEY"):
            monkeypatch.setenv(f"SCOPEGATE_{name}", keys)
        monkeypatch.setenv("SCOPEGATE_DATABASE_URL", database_url)
        monkeypatch.setattr("sys.argv", ["scopegate", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    async def elsewhere(keys: str, *words: str) -> int:
        # A command runs a loop of its own.
        return await asyncio.to_thread(run, keys, *words)

    return elsewhere


async def test_a_key_is_changed_step_by_step_and_every_credential_opens_at_each(
    sessions: Sessions, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    servers = [await store(sessions, OLD) for _ in range(3)]
    async with sessions() as session:
        add_secret(session, sealer(OLD), uuid4())
        await session.commit()

    async def all_open_with(*keys: str) -> None:
        for server in servers:
            assert await opened(sessions, server, *keys) == "Bearer s3cret"

    old, new = key_id(OLD.encode()), key_id(NEW.encode())
    await all_open_with(OLD, NEW)  # Step 2: behind the present one.
    await all_open_with(NEW, OLD)  # Step 3: first.
    assert await command(f"{NEW},{OLD}", "keys", "list") == 0
    shown = capsys.readouterr().out
    assert f"{old}  opens    3 upstream credentials, 1 signing secrets of webhooks" in shown
    assert f"scopegate keys rotate seals what {old} protects with the newest key." in shown
    for _ in range(2):  # Step 4, which may be repeated.
        assert await command(f"{NEW},{OLD}", "keys", "rotate") == 0
        rotated = capsys.readouterr().out
        assert f"{old} protects nothing any more: you can remove it from SCOPEGATE_ENCRYPTION_KEY." in rotated
        await all_open_with(NEW, OLD)
    assert "Sealed again: 0" in rotated
    await all_open_with(NEW)  # Step 5.
    assert await command(NEW, "keys", "list") == 0
    assert f"{new}  seals    3 upstream credentials, 1 signing secrets of webhooks" in capsys.readouterr().out
    assert OLD not in shown + rotated


async def test_arguments_of_calls_go_along_where_the_owner_of_the_tables_rotates(
    sessions: Sessions, command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_resealing, "_PAGE", 2)
    calls = [new_id() for _ in range(5)]
    async with sessions() as session:
        for call in calls:
            sealed = sealer(OLD).seal(b'{"amount":1}', arguments_place(call))
            row = AuditArguments(
                call_id=call, time=datetime.now(UTC), key_id=sealed.key_id, sealed=sealed.data
            )
            session.add_all([row, AuditEvent(id=call, action="tool.call", actor_type="identity")])
        await session.commit()
    with monkeypatch.context() as patched:
        patched.setattr(call_arguments, "_MAY_UPDATE", text("SELECT false"))
        assert await command(f"{NEW},{OLD}", "keys", "rotate") == 0
        assert (
            "or when scopegate keys rotate is given SCOPEGATE_MIGRATION_DATABASE_URL"
            in capsys.readouterr().out
        )
    assert await command(f"{NEW},{OLD}", "keys", "rotate") == 0
    assert "Sealed again: 5" in capsys.readouterr().out
    async with sessions() as session:
        for call in calls:
            assert await kept_arguments(session, sealer(NEW), call) == (True, {"amount": 1})


async def test_what_no_key_opens_is_told_and_left_as_it_is(
    sessions: Sessions, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = await store(sessions, OLD)
    assert await command(NEW, "keys", "rotate") == 1
    assert "left as they are: 1" in capsys.readouterr().err
    assert await command(NEW, "keys", "list") == 0
    assert f"{key_id(OLD.encode())}  MISSING  1 upstream credentials" in capsys.readouterr().out
    assert await command(NEW, "doctor") == 2
    assert "FAIL  keys" in capsys.readouterr().out
    assert await command(f"{NEW},{OLD}", "keys", "rotate") == 0
    assert await opened(sessions, lost, NEW) == "Bearer s3cret"


async def test_secrets_stay_with_their_pepper_and_are_counted(
    sessions: Sessions, peppers: Peppers, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    await make_account(sessions, peppers)
    assert await command(f"{NEW},{KEY}", "keys", "list") == 0
    shown = capsys.readouterr().out
    assert f"{key_id(KEY.encode())}  checks   1 secrets of service accounts, 1 sign-ins" in shown
    assert f"Secrets leave {key_id(KEY.encode())} when they are rotated, revoked or expire." in shown


async def test_a_service_warns_of_credentials_that_it_cannot_open(
    anonymous: httpx2.AsyncClient, sessions: Sessions
) -> None:
    await store(sessions, KEY)
    assert (await anonymous.get("/readyz")).json()["warnings"] == []
    await store(sessions, OLD)
    answer = await anonymous.get("/readyz")
    assert answer.status_code == 200
    assert "1 stored credentials are sealed with a key that is not configured" in answer.json()["warnings"][0]


async def test_a_service_warns_of_webhooks_that_have_failed_for_a_while(
    anonymous: httpx2.AsyncClient, sessions: Sessions
) -> None:
    now = datetime.now(UTC)
    async with sessions() as session:
        for minutes in (1, 10):
            since = now - timedelta(minutes=minutes)
            session.add(Webhook(name="hook", url="https://hooks.invalid/", events=[], failing_since=since))
        await session.commit()
    assert (await anonymous.get("/readyz")).json()["warnings"] == [
        "1 webhooks fail; GET /api/v1/webhooks?failing=true names them"
    ]


async def test_a_credential_that_is_set_or_removed_meanwhile_stays_as_it_was_left(
    sessions: Sessions,
) -> None:
    kept, set_anew, removed = [await store(sessions, OLD) for _ in range(3)]

    class ReplacingLate(AsyncSession):
        """A session whose updates run after others have changed what it read."""

        async def execute(self, statement: Any, *args: Any, **more: Any) -> Any:
            if isinstance(statement, Update):
                await change_the_others()
            return await super().execute(statement, *args, **more)

    async def change_the_others() -> None:
        async with sessions() as session:
            await session.execute(delete(ServerCredential).where(col(ServerCredential.server_id) == removed))
            of_server = col(ServerCredential.server_id) == set_anew
            row = (await session.scalars(select(ServerCredential).where(of_server))).one()
            place = credential_place(row.id, row.server_id, ORIGIN)
            row.sealed = sealer(OLD).seal(b'["authorization", "Bearer other"]', place).data
            await session.commit()

    late: Sessions = async_sessionmaker(sessions.kw["bind"], class_=ReplacingLate, expire_on_commit=False)
    assert await reseal(late, sealer(NEW, OLD)) == (1, 0)
    assert await opened(sessions, kept, NEW) == "Bearer s3cret"
    assert await opened(sessions, set_anew, OLD) == "Bearer other"
    with pytest.raises(UnsealingFault):
        await opened(sessions, set_anew, NEW)
    async with sessions() as session:
        assert removed not in set(await session.scalars(select(col(ServerCredential.server_id))))


async def test_more_than_one_page_is_sealed(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_resealing, "_PAGE", 2)
    servers = [await store(sessions, OLD) for _ in range(5)]
    assert await reseal(sessions, sealer(NEW, OLD)) == (5, 0)
    for server in servers:
        assert await opened(sessions, server, NEW) == "Bearer s3cret"


async def test_what_a_signing_key_signed_is_counted_and_its_public_half_is_to_be_kept(
    sessions: Sessions, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    old = key_id(OLD.encode())
    async with sessions() as session:
        person = Identity(kind="person", user_name="ada")
        session.add(person)
        await session.flush()
        session.add(OffboardingReceipt(id=new_id(), identity_id=person.id, body={}, signed="x", key_id=old))
        await session.commit()
    for keys, role in ((OLD, "signs "), (f"{NEW},{OLD}", "checks"), (NEW, "MISSING")):
        assert await command(keys, "keys", "list") == 0
        shown = capsys.readouterr().out
        assert f"SCOPEGATE_SIGNING_KEY  {old}  {role}" in shown
        assert (f"Signatures of {old} are verified with its public half" in shown) is (role != "signs ")
    # A service goes on without it.
    assert f"What {old} protects is lost" not in shown


async def test_a_key_that_signed_checkpoints_is_none_that_nothing_rests_on(
    sessions: Sessions, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = key_id(OLD.encode()), key_id(NEW.encode())
    signed_by = {
        1: (OLD, "https://before.example.com"),
        2: (OLD, "http://127.0.0.1:8080"),
        3: (NEW, "https://a.example"),
    }
    async with sessions() as session:
        for size, (key, url) in signed_by.items():
            name = log_name(url)
            note = NoteSigner([key.encode()], name).sign(str(Checkpoint(name, size, bytes(32))))
            session.add(
                AuditCheckpoint(
                    tree_size=size, epoch=1, last_xact=size, last_seq=1, root_hash=bytes(32), note=note
                )
            )
        await session.commit()
    assert await command(f"{NEW},{OLD}", "keys", "list") == 0
    shown = capsys.readouterr().out
    assert f"SCOPEGATE_SIGNING_KEY  {new}  signs    1 checkpoints of the log" in shown
    assert f"SCOPEGATE_SIGNING_KEY  {old}  checks   2 checkpoints of the log" in shown
    assert f"Signatures of {old} are verified with its public half" in shown
    assert f"{old} protects nothing any more: you can remove it from SCOPEGATE_SIGNING_KEY" not in shown
