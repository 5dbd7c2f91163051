"""The local administrator, for the day when no provider can say who anybody is.

Off unless a password is configured. Whoever has it is owner for a quarter of an hour, and everything about it is
recorded: attempts that were refused, and each request that its bearer makes, in transactions of their own, so that a
request that fails is there too, and one that cannot be recorded is not served.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from fastapi import Request
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Peppers, key_id
from app.crypto.passwords import matches_hash
from app.db.engine import plain_url
from app.domain.errors import NotFound, TooManyRequests, Unauthenticated
from app.domain.token_format import BREAK_GLASS, SECRET_BYTES, format_credential, parse_credential
from app.features.administrators.throttle import WINDOW_S, Throttle
from app.features.audit.record import record
from app.features.service_accounts.authenticate import digest_of, refused
from app.http.authorization import Caller, Role
from app.http.live import goes_on
from app.lib.ids import new_id
from app.models.administrators import BreakGlassSession
from app.models.audit import AuditClient

LIFETIME = timedelta(minutes=15)
KIND = "break_glass"
EACH_A_MINUTE = 5
TOGETHER_A_MINUTE = 20
_SIGN_IN = "break_glass.sign_in"
_NOBODY = Caller("anonymous", UUID(int=0), frozenset())
_NO_DIGEST = bytes(32)

NameClient = Callable[[str | None, str | None], tuple[UUID, tuple[Any, ...] | None]]
"""The id of an address and user agent, and their row if this worker has not written it yet."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from."""

    address: str
    user_agent: str | None
    request_id: str | None


def origin_of(request: Request) -> Origin:
    """Where a request comes from; trusted proxies have been taken off its address by the server."""
    address = request.client.host if request.client else ""
    return Origin(address, request.headers.get("user-agent"), request.state.request_id)


class BreakGlass:
    """Signing the local administrator in, and reading the bearers (``sge_``) that this gives."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        peppers: Peppers,
        name_client: NameClient,
        password_hash: str | None,
        *,
        workers: int = 1,
    ) -> None:
        self._sessions = sessions
        self._peppers = peppers
        self._name_client = name_client
        self._hash = password_hash
        # Sessions name the password that they were opened with, so that another one ends them.
        self._password_key = None if password_hash is None else key_id(password_hash.encode())
        self._throttle = Throttle(max(1, EACH_A_MINUTE // workers), max(1, TOGETHER_A_MINUTE // workers))
        self._turned_away = 0
        self._told_at = -WINDOW_S
        # One thread: a password takes its hash's time and memory, and no more than one at once may.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="password")

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def sign_in(self, password: str, reason: str, origin: Origin) -> str:
        """A bearer for the right password.

        Raises ``NotFound`` when there is no such administrator, ``TooManyRequests``, ``Unauthenticated``.
        """
        if self._hash is None or self._password_key is None:
            raise NotFound("There is no break-glass administrator here: no password is configured.")
        wait_s = self._throttle.wait_s(origin.address)
        if wait_s:
            await self._turn_away(origin)
            raise TooManyRequests("Too many attempts; wait before the next one.", retry_after_s=wait_s)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._thread, matches_hash, password, self._hash):
            await self._refuse(origin, "wrong_password")
            raise Unauthenticated("The password does not open the break-glass administrator.")
        return await self._open(reason, origin, self._password_key)

    async def read_bearer(self, request: Request, session: AsyncSession, bearer: str) -> Caller:
        """Implements ``http.authorization.BearerReader``. What is asked for is on record before it is done, once."""
        credential = parse_credential(bearer, BREAK_GLASS)
        if credential is None or self._password_key is None:
            raise refused()
        live = select(BreakGlassSession).where(
            col(BreakGlassSession.id) == credential.id,
            col(BreakGlassSession.password_key) == self._password_key,
            col(BreakGlassSession.expires_at) > func.clock_timestamp(),
        )
        async with self._sessions() as own:
            row = (await own.execute(live)).scalar_one_or_none()
            stored = ("", _NO_DIGEST) if row is None else (row.pepper_key_id, row.digest)
            if not self._peppers.matches(*stored, credential.digest_input) or row is None:
                raise refused()
            caller = Caller(KIND, row.id, frozenset({Role.OWNER}))
            if not goes_on(request):
                asked = {"method": request.method, "route": request.scope["route"].path}
                await self._record(own, origin_of(request), caller, "break_glass.use", row.id, changes=asked)
                await own.commit()
        return caller

    async def _open(self, reason: str, origin: Origin, password_key: str) -> str:
        id = new_id()
        text = format_credential(BREAK_GLASS, id, os.urandom(SECRET_BYTES))
        async with self._sessions() as session:
            now = (await session.execute(select(func.clock_timestamp()))).scalar_one()
            session.add(
                BreakGlassSession(
                    id=id,
                    digest=digest_of(self._peppers, text, BREAK_GLASS),
                    pepper_key_id=self._peppers.current_id,
                    password_key=password_key,
                    reason=reason,
                    expires_at=now + LIFETIME,
                )
            )
            await session.flush()
            caller = Caller(KIND, id, frozenset({Role.OWNER}))
            await self._record(session, origin, caller, _SIGN_IN, id)
            await session.commit()
        return text

    async def _turn_away(self, origin: Origin) -> None:
        """One event a minute says how many were not even looked at: a flood must not fill the log."""
        self._turned_away += 1
        if time.monotonic() - self._told_at >= WINDOW_S:
            count, self._turned_away, self._told_at = self._turned_away, 0, time.monotonic()
            await self._refuse(origin, "throttled", event_count=count)

    async def _refuse(self, origin: Origin, reason_code: str, **columns: Any) -> None:
        said = {"outcome": "denied", "decision": "deny", "reason_code": reason_code, **columns}
        async with self._sessions() as session:
            await self._record(session, origin, _NOBODY, _SIGN_IN, None, **said)
            await session.commit()

    async def _record(
        self,
        session: AsyncSession,
        origin: Origin,
        caller: Caller,
        action: str,
        object_id: UUID | None,
        **columns: Any,
    ) -> None:
        client_id, row = self._name_client(origin.address, origin.user_agent)
        if row is not None:
            names = ("id", "ip", "user_agent", "name", "version", "salt")
            client = insert(AuditClient).values(dict(zip(names, row, strict=True)))
            await session.execute(client.on_conflict_do_nothing())
        await record(
            session, caller, action, KIND, object_id,
            request_id=origin.request_id, client_id=client_id, **columns,
        )  # fmt: skip


async def forget_sessions(owner_url: str, *, keep: timedelta, now: datetime) -> int:
    """Delete the sessions whose audit events are past what is kept; how many there were.

    Events go by whole months, and the reason of a session is there for as long as they are. Raises
    ``asyncpg.PostgresError`` or ``OSError`` when the database cannot do it.
    """
    connection = await asyncpg.connect(plain_url(owner_url), timeout=10)
    try:
        status = await connection.execute(
            "DELETE FROM break_glass_sessions WHERE expires_at < date_trunc('month', $1::timestamptz, 'UTC')",
            now - keep,
        )
        return int(status.rpartition(" ")[2])
    finally:
        await connection.close()
