"""The break-glass administrator, for when no identity provider is available.

Off unless a password is configured. Its sessions have the role owner for 15 minutes and are fully audited: refused
attempts, and each request of the session, in transactions of their own. So a request that fails is recorded too, and
one that cannot be recorded is not served. Attempts are limited per address and in total; the loopback address has its
own limit, so that a flood does not lock out a person on the machine itself.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from ipaddress import ip_address
from math import ceil
from typing import Any
from uuid import UUID

from fastapi import Request
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Peppers, key_id
from app.crypto.passwords import matches_hash
from app.db.clock import current_time
from app.db.engine import delete_rows
from app.domain.errors import NotFound, TooManyRequests, Unauthenticated
from app.domain.token_format import BREAK_GLASS, parse_credential
from app.features.audit.record import record
from app.features.service_accounts.authenticate import is_credential_of, new_credential, unauthenticated
from app.http.authorization import Caller, Role
from app.http.live import is_open_stream
from app.http.rate_limits import client_address, source_of
from app.models.audit import AuditClient
from app.models.identities import BreakGlassSession

WINDOW_S = 60.0


class Throttle:
    """Counts the attempts admitted in the last minute. A refused attempt costs and counts nothing."""

    def __init__(self, each: int, together: int, now: Callable[[], float] = time.monotonic) -> None:
        self._each = each
        self._together = together
        self._now = now
        self._admitted: deque[tuple[float, str]] = deque()

    def wait_s(self, address: str) -> int:
        """Seconds until this address may try; at 0 it may try now, and the attempt is counted."""
        now, source = self._now(), source_of(address)
        while self._admitted and self._admitted[0][0] <= now - WINDOW_S:
            self._admitted.popleft()
        own = [time for time, by in self._admitted if by == source]
        is_loopback = False
        with suppress(ValueError):
            is_loopback = ip_address(address).is_loopback
        if len(self._admitted) >= self._together and not is_loopback:
            return _until(self._admitted[0][0], now)
        if len(own) >= self._each:
            return _until(own[0], now)
        self._admitted.append((now, source))
        return 0


def _until(oldest: float, now: float) -> int:
    return max(1, ceil(oldest + WINDOW_S - now))


LIFETIME = timedelta(minutes=15)
KIND = "break_glass"
MAX_ATTEMPTS_PER_ADDRESS = 5
MAX_ATTEMPTS = 20
_SIGN_IN = "break_glass.sign_in"
_ANONYMOUS = Caller("anonymous", UUID(int=0), frozenset())
NameClient = Callable[[str | None, str | None], tuple[UUID, tuple[Any, ...] | None]]
"""The id of an address and user agent, and their row if this worker has not written it yet."""


class BreakGlass:
    """Sign the break-glass administrator in, and authenticate its bearer tokens (``sge_``)."""

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
        # Sessions store the key id of the password that opened them, so that a new password ends them.
        self._password_key = None if password_hash is None else key_id(password_hash.encode())
        self._throttle = Throttle(
            max(1, MAX_ATTEMPTS_PER_ADDRESS // workers), max(1, MAX_ATTEMPTS // workers)
        )
        self._unchecked = 0
        self._reported_at = -WINDOW_S
        # One thread: hashing a password costs time and memory, so only one runs at a time.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="password")

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def sign_in(self, password: str, reason: str, request: Request) -> str:
        """Return a bearer token for the right password.

        Raises ``NotFound`` when break-glass access is off, ``TooManyRequests`` and ``Unauthenticated``.
        """
        if self._hash is None or self._password_key is None:
            raise NotFound("Break-glass access is off: no password is configured.")
        wait_s = self._throttle.wait_s(client_address(request) or "")
        if wait_s:
            self._unchecked += 1
            if time.monotonic() - self._reported_at >= WINDOW_S:
                # Recorded once a minute, so that a flood does not fill the log.
                count, self._unchecked, self._reported_at = self._unchecked, 0, time.monotonic()
                await self._refuse(request, "throttled", event_count=count)
            raise TooManyRequests("Too many attempts; wait before you try again.", retry_after_s=wait_s)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._thread, matches_hash, password, self._hash):
            await self._refuse(request, "wrong_password")
            raise Unauthenticated("The password of the break-glass administrator is wrong.")
        return await self._open(reason, request, self._password_key)

    async def read_bearer(self, request: Request, session: AsyncSession, bearer: str) -> Caller:
        """Implements ``http.authorization.BearerReader``. Each request is recorded once, before it runs."""
        credential = parse_credential(bearer, BREAK_GLASS)
        if credential is None or self._password_key is None:
            raise unauthenticated()
        live = select(BreakGlassSession).where(
            col(BreakGlassSession.id) == credential.id,
            col(BreakGlassSession.password_key) == self._password_key,
            col(BreakGlassSession.expires_at) > func.clock_timestamp(),
        )
        async with self._sessions() as own:
            row = (await own.execute(live)).scalar_one_or_none()
            if not is_credential_of(self._peppers, row, credential) or row is None:
                raise unauthenticated()
            caller = Caller(KIND, row.id, frozenset({Role.OWNER}))
            if not is_open_stream(request):
                route = {"method": request.method, "route": request.scope["route"].path}
                await self._record(own, request, caller, "break_glass.use", row.id, changes=route)
                await own.commit()
        return caller

    async def _open(self, reason: str, request: Request, password_key: str) -> str:
        text, stored = new_credential(self._peppers, BREAK_GLASS)
        async with self._sessions() as session:
            now = await current_time(session)
            session.add(
                BreakGlassSession(
                    **stored, password_key=password_key, reason=reason, expires_at=now + LIFETIME
                )
            )
            await session.flush()
            caller = Caller(KIND, stored["id"], frozenset({Role.OWNER}))
            await self._record(session, request, caller, _SIGN_IN, caller.id)
            await session.commit()
        return text

    async def _refuse(self, request: Request, reason_code: str, **columns: Any) -> None:
        fields = {"outcome": "denied", "decision": "deny", "reason_code": reason_code, **columns}
        async with self._sessions() as session:
            await self._record(session, request, _ANONYMOUS, _SIGN_IN, None, **fields)
            await session.commit()

    async def _record(
        self,
        session: AsyncSession,
        request: Request,
        caller: Caller,
        action: str,
        object_id: UUID | None,
        **columns: Any,
    ) -> None:
        client_id, row = self._name_client(client_address(request) or "", request.headers.get("user-agent"))
        if row is not None:
            names = ("id", "ip", "user_agent", "name", "version", "salt")
            client = insert(AuditClient).values(dict(zip(names, row, strict=True)))
            await session.execute(client.on_conflict_do_nothing())
        await record(
            session, caller, action, KIND, object_id,
            request_id=request.state.request_id, client_id=client_id, **columns,
        )  # fmt: skip


async def forget_sessions(owner_url: str, *, keep: timedelta, now: datetime) -> int:
    """Delete the sessions whose audit events are past retention; return their number.

    Events are dropped by whole months, and the reason of a session is kept as long as they are. Raises
    ``DRIVER_FAULTS``.
    """
    statement = (
        "DELETE FROM break_glass_sessions WHERE expires_at < date_trunc('month', $1::timestamptz, 'UTC')"
    )
    return await delete_rows(owner_url, statement, now - keep)
