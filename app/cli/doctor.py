"""``scopegate doctor``: one line for each requirement of a start."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import asyncpg
import typer
from sqlalchemy.exc import SQLAlchemyError

from app.adapters.console.assets import are_made
from app.cli.database import usable_database
from app.cli.errors import CANNOT_START, CannotStart
from app.cli.keys import ENCRYPTION, standing
from app.cli.signals import bound_socket
from app.crypto.signed_notes import NoteSigner, log_name
from app.db.connection import DRIVER_FAULTS, Connection
from app.db.embedded_postgres import EmbeddedPostgresError
from app.db.engine import SESSION_SETTINGS, plain_url
from app.db.migrations import DatabaseFault, check_not_newer, database_fault
from app.domain.errors import Unavailable
from app.features.audit.sealing.leaves import LogFault
from app.features.audit.sealing.sealer import BEHIND_S, LogNameMismatch, SealedLog, check_name
from app.http.readiness import HELD_BACK_S, HOLDER
from app.settings import Settings

Result = TypeVar("Result")


def doctor(settings: Settings) -> None:
    """Print what works and what does not. The settings are valid if they were read. Raises ``Exit`` if any does not."""
    _say(True, "settings", f"serves at {settings.base_url}, workers: {settings.workers}")
    _console()
    if not all([_database(settings), _port(settings)]):
        raise typer.Exit(CANNOT_START)


def _database(settings: Settings) -> bool:
    where = "embedded" if settings.database_url is None else "SCOPEGATE_DATABASE_URL"
    try:
        with usable_database(settings) as usable:
            _say(True, "database", f"{where}, {_run(usable, _describe)}")
            # Not required for a start: the service has deadlines; the limits end sessions of killed processes.
            if missing := _run(usable, missing_limits, SESSION_SETTINGS):
                limits = "; ".join(
                    f"ALTER ROLE ... SET {name} = '{value}'" for name, value in missing.items()
                )
                typer.echo(
                    f"note  database  sessions do not have the limits they ask for, as behind a pooler: {limits}"
                )
            return all([_keys(usable), _audit_log(usable)])
    except (DatabaseFault, EmbeddedPostgresError) as fault:
        return _say(False, "database", str(fault))
    except (Unavailable, SQLAlchemyError, *DRIVER_FAULTS) as error:
        return _say(False, "database", str(database_fault(error)))


def _run(
    settings: Settings,
    work: Callable[[Connection], Awaitable[Result]],
    extra: Mapping[str, str] | None = None,
) -> Result:
    """Run ``work`` with a database connection that has these extra session settings."""
    if settings.database_url is None:
        raise ValueError("the settings must come from usable_database")
    url = plain_url(settings.database_url.get_secret_value())

    async def run() -> Result:
        connection = await asyncpg.connect(url, timeout=5, server_settings=dict(extra or {}))
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


async def _describe(connection: Connection) -> str:
    check_not_newer(await connection.fetchval("SELECT version_num::text FROM alembic_version"))
    number = await connection.fetchval("SHOW server_version")
    holder = await connection.fetchrow(HOLDER)
    standbys = await connection.fetchval("SHOW synchronous_standby_names")
    # Invariants survive the loss of the primary only if a standby has every commit.
    copies = f"synchronous standbys: {standbys}" if standbys else "no synchronous standby"
    held = ""
    # A process that delays readers of the log, if it has lasted or its age is hidden.
    if holder is not None and (holder["seconds"] is None or holder["seconds"] >= HELD_BACK_S):
        age = (
            "since when is hidden from this role"
            if holder["seconds"] is None
            else f"{holder['seconds']:.0f} s"
        )
        held = f"; the log's readers wait for process {holder['pid']} of role {holder['role']} ({age})"
    return f"PostgreSQL {number}, schema serves this code, {copies}{held}"


async def missing_limits(connection: Connection) -> dict[str, str]:
    """The limits in milliseconds, by name, that sessions of the service request and this one does not have."""
    limits = {name: value for name, value in SESSION_SETTINGS.items() if name.endswith("_timeout")}
    rows = await connection.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY($1)", [*limits])
    return {row["name"]: limits[row["name"]] for row in rows if row["setting"] != limits[row["name"]]}


def _keys(settings: Settings) -> bool:
    lost = [key for key in standing(settings) if key.place is None and key.setting == ENCRYPTION]
    if lost:
        rests = "; ".join(f"{', '.join(key.rests)} need {key.id}" for key in lost)
        return _say(False, "keys", f"{rests}, which is not in {ENCRYPTION}: run scopegate keys list")
    return _say(True, "keys", "all stored credentials can be opened")


def _audit_log(settings: Settings) -> bool:
    signer = NoteSigner(settings.keys("signing_key"), log_name(settings.base_url))

    async def open_log(connection: Connection) -> tuple[int, float]:
        await check_name(connection, signer.name)
        log = await SealedLog.open(connection, signer)
        return log.size, await log.behind()

    try:
        size, behind = _run(settings, open_log)
    except LogNameMismatch as fault:
        return _say(False, "audit log", str(fault))
    except LogFault as fault:
        return _say(
            False, "audit log", f"it cannot be sealed any more: {fault}; scopegate audit verify says where"
        )
    late = f"; the next has waited for {behind:.0f} s, and is sealed while a service runs"
    return _say(True, "audit log", f"{size} events are sealed{late if behind > BEHIND_S else ''}")


def _console() -> None:
    """Not required for a start: pages work without styles."""
    if are_made():
        _say(True, "console", "its styles are installed")
    else:
        typer.echo(
            "note  console   its pages have no styles: make assets (needs npm) has not run for this build"
        )


def _port(settings: Settings) -> bool:
    try:
        bound_socket(settings).close()
        return _say(True, "port", f"{settings.host}:{settings.port} is free")
    except CannotStart as fault:
        return _say(False, "port", str(fault))


def _say(well: bool, what: str, detail: str) -> bool:
    typer.echo(f"{'ok  ' if well else 'FAIL'}  {what:<9} {detail}")
    return well
