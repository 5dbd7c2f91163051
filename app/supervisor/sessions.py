"""The sessions of a host: their owners, limits and end."""

import asyncio
import contextlib
import logging
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from app.outbound.stdio import NO_WORKER, AllowedCommands, Holder, Launch
from app.supervisor.bridge import Bridge, Flood
from app.supervisor.isolation import Isolation, Limits, NoPlace, Refused, no_such_session, too_many
from app.supervisor.processes import kill_orphans, kill_user
from app.supervisor.program import Program, remove

_log = logging.getLogger(__name__)
_SWEEP_EVERY = 0.5
_ORPHANS_EVERY = 5.0
_FAILURES = 3
_MAX_REST = 60.0

Pair = tuple[UUID, UUID]
"""A token and a server."""


class Session:
    """One program and its pipe, for one token."""

    def __init__(self, id: str, launch: Launch, holder: Holder, limits: Limits, *, modern: bool) -> None:
        self.id = id
        self.launch = launch
        self.token_id = holder.token_id
        self.identity_id = holder.identity_id
        self.modern = modern
        self.of_sync = holder.worker_id == NO_WORKER
        self.started = asyncio.Event()
        self.workers: set[UUID] = set()
        self.used_at = monotonic()
        self.bridge = Bridge(self._write, self._pause, self._resume, limits, modern=modern)
        self.program: Program | None = None
        self.asked_to_end = False
        self.on_over: Callable[[Session], None] = lambda _: None

    @property
    def pair(self) -> Pair:
        """The token and the server."""
        return self.token_id, self.launch.server_id

    def received(self, line: bytes) -> None:
        """Process a line of the program."""
        try:
            self.bridge.received(line)
        except Flood:
            if self.program is not None:
                self.program.end_soon("it sent too many messages that belong to no request", fault=True)

    def over(self) -> None:
        """Handle the end of the program."""
        self.bridge.end()
        self.on_over(self)

    def _write(self, line: bytes) -> None:
        if self.program is not None:
            self.program.write(line)

    def _pause(self) -> None:
        if self.program is not None:
            self.program.pause("full")

    def _resume(self) -> None:
        if self.program is not None:
            self.program.resume("full")


@dataclass(slots=True)
class _Failing:
    """The failures of a server's program with one identity."""

    times: int = 0
    last: float = 0.0


class Sessions:
    """Opens, finds and ends sessions. ``run`` maintains them."""

    def __init__(self, allowed: AllowedCommands, isolation: Isolation, limits: Limits) -> None:
        self.limits = limits
        self._allowed = allowed
        self._isolation = isolation
        self._all: dict[str, Session] = {}
        self._modern: dict[tuple[Pair, Launch], Session] = {}
        self._ending: dict[Session, asyncio.Task[None]] = {}
        self._leaders: set[int] = set()
        self._failing: dict[Pair, _Failing] = {}
        self._starts: dict[Pair, deque[float]] = {}
        self._beats: dict[UUID, float] = {}
        self._closing = False

    def __len__(self) -> int:
        return len(self._all)

    # ---- opening and finding

    async def open(self, launch: Launch, holder: Holder) -> Session:
        """Open a legacy session and start its program. Raises ``Refused``."""
        self._end_changed(launch, holder)
        return await self._open(launch, holder, modern=False)

    async def modern(self, launch: Launch, holder: Holder) -> Session:
        """Return the token's only program in the modern era. Raises ``Refused``."""
        key = ((holder.token_id, launch.server_id), launch)
        session = self._modern.get(key)
        if session is None:
            self._end_changed(launch, holder)
            return await self._open(launch, holder, modern=True)
        self.used(session, holder)
        await session.started.wait()
        if session.program is None:
            raise no_such_session()
        return session

    def find(self, id: str, launch: Launch, holder: Holder) -> Session:
        """Find a legacy session of this token, command and credential. Raises ``Refused``."""
        session = self._all.get(id)
        if session is None or session.modern or session.pair != (holder.token_id, launch.server_id):
            raise no_such_session()
        if session.launch != launch:
            self.end_soon(session, "its command or credential was changed")
            raise no_such_session()
        return session

    def _end_changed(self, launch: Launch, holder: Holder) -> None:
        """End programs of the pair that run with another command or credential."""
        for session in list(self._all.values()):
            if session.pair == (holder.token_id, launch.server_id) and session.launch != launch:
                self.end_soon(session, "its command or credential was changed")

    def used(self, session: Session, holder: Holder) -> None:
        """Record a request of this worker."""
        session.used_at = monotonic()
        if holder.worker_id != NO_WORKER:
            session.workers.add(holder.worker_id)
            self._beats.setdefault(holder.worker_id, monotonic())

    async def _open(self, launch: Launch, holder: Holder, *, modern: bool) -> Session:
        if not self._allowed.allow(launch):
            raise Refused(
                503, "This server's command, or one of its variables, is not allowed on the gateway's host."
            )
        self._check_rest(launch, holder)
        self._check_room(launch, holder)
        session = Session(secrets.token_hex(16), launch, holder, self.limits, modern=modern)
        session.on_over = self._over
        # Counted before the start, so that concurrent starts respect the limits.
        self._all[session.id] = session
        if modern:
            self._modern[(session.pair, launch)] = session
        self.used(session, holder)
        try:
            limits, leaders = self.limits, self._leaders
            session.program = await Program.start(launch, session, self._isolation, limits, leaders)
        except BaseException:
            self._forget(session)
            self.failed(session)
            raise
        finally:
            session.started.set()
        if session.asked_to_end or self._closing:
            await session.program.end("it is no longer wanted")
            raise no_such_session()
        return session

    def _check_rest(self, launch: Launch, holder: Holder) -> None:
        key = (holder.identity_id, launch.server_id)
        failing, rest = self._failing.get(key), 0.0
        if failing is not None and failing.times >= _FAILURES:
            # Seconds until it may be started again.
            rest = failing.last + min(_MAX_REST, 2.0 ** (failing.times - _FAILURES)) - monotonic()
        if rest > 0:
            wait = max(1, round(rest))
            message = f"The program of this server failed several times; it is started again in {wait} s."
            raise Refused(503, message, retry_after=wait)
        now, starts = monotonic(), self._starts.setdefault(key, deque())
        while starts and now - starts[0] > 60:
            starts.popleft()
        if len(starts) >= self.limits.starts_a_minute:
            raise too_many("This identity")
        starts.append(now)

    def _check_room(self, launch: Launch, holder: Holder) -> None:
        limits = self.limits
        of: Counter[str] = Counter()
        for session in (*self._all.values(), *self._ending):
            of["host"] += 1
            of["server"] += session.launch.server_id == launch.server_id
            of["identity"] += session.identity_id == holder.identity_id
            of["token"] += session.token_id == holder.token_id
        # A sync uses all versions at the same time, outside the limits of callers.
        of_caller = holder.worker_id != NO_WORKER
        if of_caller and (of["token"] >= limits.of_token() or of["identity"] >= limits.of_identity()):
            whose = "This token" if of["token"] >= limits.of_token() else "This identity"
            if not self._give_way(holder):
                raise too_many(whose)
        if of["server"] >= limits.of_server():
            raise too_many("This server")
        if of["host"] >= limits.processes:
            raise too_many("The gateway's host")

    def _give_way(self, holder: Holder) -> bool:
        """End the longest idle session of the same token, since many clients never end their sessions."""
        now = monotonic()
        idle = [
            session
            for session in self._all.values()
            if session.token_id == holder.token_id
            and not session.bridge.busy
            and now - session.used_at > self.limits.evict
        ]
        if not idle:
            return False
        longest = min(idle, key=lambda session: session.used_at)
        self.end_soon(longest, "another session of its token took its place")
        return True

    # ---- ending

    def end_soon(self, session: Session, why: str) -> None:
        """Remove a session immediately, and end its program."""
        session.asked_to_end = True
        self._forget(session)
        if session.program is not None:
            session.program.end_soon(why)
            self._follow(session, session.program)

    def end_pairs(self, pairs: Iterable[Pair]) -> None:
        """End all sessions of a token and a server."""
        ended = set(pairs)
        for session in [session for session in self._all.values() if session.pair in ended]:
            self.end_soon(session, "its token no longer reaches the server")

    def servers_with_data(self) -> list[UUID]:
        """The servers that have a data directory on this host."""
        return self._isolation.data.known()

    async def forget_servers(self, server_ids: Iterable[UUID]) -> None:
        """End the programs of deleted servers, and remove their data. Data that cannot be removed now is retried."""
        for server_id in server_ids:
            for session in list(self._all.values()):
                if session.launch.server_id == server_id:
                    self.end_soon(session, "its server was deleted")
            ending = [task for ended, task in self._ending.items() if ended.launch.server_id == server_id]
            await asyncio.gather(*ending, return_exceptions=True)
            with contextlib.suppress(OSError, NoPlace):
                data, uid = self._isolation.data.retire(server_id)
                if uid is not None:
                    kill_user(uid)
                    await remove(self._isolation.shared_removal(uid), self._leaders)
                await remove((["/bin/rm", "-rf", "--", str(data)], {}), self._leaders)

    def failed(self, session: Session) -> None:
        """Record a failure of a program."""
        now = monotonic()
        failing = self._failing.setdefault((session.identity_id, session.launch.server_id), _Failing())
        if now - failing.last > 2 * _MAX_REST:
            failing.times = 0
        failing.times += 1
        failing.last = now

    def _forget(self, session: Session) -> None:
        self._all.pop(session.id, None)
        if self._modern.get((session.pair, session.launch)) is session:
            del self._modern[(session.pair, session.launch)]

    def _over(self, session: Session) -> None:
        """Handle a program that is ending."""
        if not session.asked_to_end:
            self.failed(session)
        self._forget(session)
        if session.program is not None:
            self._follow(session, session.program)

    def _follow(self, session: Session, program: Program) -> None:
        """Count the program until it has completely ended."""
        if session not in self._ending:
            task = asyncio.get_running_loop().create_task(program.end(""))
            self._ending[session] = task
            task.add_done_callback(lambda _: self._ending.pop(session, None))

    # ---- workers

    def beat(self, worker_id: UUID) -> list[Pair]:
        """Record that a worker is alive; return its sessions."""
        self._beats[worker_id] = monotonic()
        return list({session.pair for session in self._all.values() if worker_id in session.workers})

    async def run(self) -> None:
        """Maintain the sessions until cancelled."""
        orphans_at = monotonic()
        while True:
            await asyncio.sleep(_SWEEP_EVERY)
            now = monotonic()
            self.sweep(now)
            if self._isolation.adopts and now - orphans_at > _ORPHANS_EVERY:
                orphans_at = now
                kill_orphans(self._leaders)

    def sweep(self, now: float) -> None:
        """End idle sessions, and those without a living worker."""
        silent = {worker for worker, at in self._beats.items() if now - at > self.limits.lease}
        for worker in silent:
            del self._beats[worker]
        for session in list(self._all.values()):
            session.bridge.expire()
            session.workers -= silent
            if session.bridge.busy:
                session.used_at = now
            if not session.of_sync and not session.workers:
                self.end_soon(session, "its worker is gone")
            elif now - session.used_at > (self.limits.idle_sync if session.of_sync else self.limits.idle):
                self.end_soon(session, "it was not used")
        for pair, failing in list(self._failing.items()):
            if now - failing.last > 2 * _MAX_REST:
                del self._failing[pair]
        for pair, starts in list(self._starts.items()):
            if not starts or now - starts[-1] > 60:
                del self._starts[pair]

    async def aclose(self) -> None:
        """End all sessions, and wait for them."""
        self._closing = True
        for session in list(self._all.values()):
            self.end_soon(session, "the supervisor stops")
        while self._ending:
            await asyncio.gather(*self._ending.values(), return_exceptions=True)
        if self._isolation.adopts:
            kill_orphans(self._leaders)
        self._isolation.data.close()
