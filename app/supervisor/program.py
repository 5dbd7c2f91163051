"""One running program: its pipes, and its end."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Protocol

from app.lib.ids import SERVER, format_id
from app.outbound.stdio import Launch
from app.supervisor.isolation import Isolation, Limits, NoPlace, Place, Refused, Removal, first_in_child
from app.supervisor.processes import kill_orphans, kill_session, kill_user

_log = logging.getLogger(__name__)
_PIECE = 64 * 1024
_LAST_OUTPUT_S = 0.5
"""Seconds to wait for the last output of a program that ended."""
_REMOVE_SECONDS = 60.0
_MAX_WORK_S, _PAUSE_FACTOR = 0.02, 4.0
"""Seconds of work that one piece of output may cause, and the factor for the pause of its program afterwards."""


class Listener(Protocol):
    """The receiver of a program's output."""

    def received(self, line: bytes) -> None:
        """Process a line of output."""

    def over(self) -> None:
        """The program has ended; no more lines follow."""


class _Output(asyncio.Protocol):
    """Splits the output into lines up to the maximum length."""

    def __init__(self, program: "Program", limits: Limits) -> None:
        self._program = program
        self._limit = limits.line
        self._parts: list[bytes] = []
        self._size = 0

    def data_received(self, data: bytes) -> None:
        """Split the received bytes into lines."""
        began = perf_counter()
        first, *rest = data.split(b"\n")
        self._add(first)
        for piece in rest:
            line, self._parts, self._size = b"".join(self._parts), [], 0
            if line and not self._program.ending:
                self._program.listener.received(line)
            self._add(piece)
        took = perf_counter() - began
        if took > _MAX_WORK_S:
            # One loop serves all programs: a program that causes much work is paused for a while.
            self._program.pause("work")
            asyncio.get_running_loop().call_later(took * _PAUSE_FACTOR, self._program.resume, "work")

    def _add(self, piece: bytes) -> None:
        self._parts.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            self._parts, self._size = [], 0
            self._program.end_soon("it sent a line that is too long", fault=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The program closed its output, so that nothing can follow, even if it still runs."""
        self._program.end_soon("it closed its output", fault=True)


class _Errors(asyncio.Protocol):
    """Counts the bytes of the error output and discards them, since they may contain a secret."""

    def __init__(self) -> None:
        self.bytes = 0

    def data_received(self, data: bytes) -> None:
        """Count the received bytes."""
        self.bytes += len(data)


class Program:
    """A program. Create it with ``start``; ``end`` may be called at any time and repeatedly."""

    def __init__(
        self,
        launch: Launch,
        popen: subprocess.Popen[bytes],
        place: Place,
        isolation: Isolation,
        limits: Limits,
        leaders: set[int],
    ) -> None:
        self._launch = launch
        self._popen = popen
        self._place = place
        self._isolation = isolation
        self._limits = limits
        self._leaders = leaders
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._errors = _Errors()
        self._started = monotonic()
        self._why = ""
        self._level = logging.INFO
        self._input: asyncio.WriteTransport
        self._outputs: list[asyncio.ReadTransport] = []
        self._output: asyncio.ReadTransport
        self._held: set[str] = set()
        self.listener: Listener

    @property
    def ending(self) -> bool:
        """Whether its end was requested or it has ended."""
        return self._ending is not None

    @classmethod
    async def start(
        cls, launch: Launch, listener: Listener, isolation: Isolation, limits: Limits, leaders: set[int]
    ) -> "Program":
        """Start the program. ``leaders`` contains the pids of programs that have not ended. Raises ``Refused``."""
        try:
            place = isolation.place(launch.server_id)
        except NoPlace as error:
            raise Refused(503, str(error), retry_after=5) from None
        pipes = [os.pipe() for _ in range(3)]
        ours, theirs = [pipes[0][1], pipes[1][0], pipes[2][0]], [pipes[0][0], pipes[1][1], pipes[2][1]]
        try:
            popen = _spawn(launch, place, limits, theirs)
        except BaseException:
            for fd in ours:
                os.close(fd)
            place.home.joinpath("tmp").rmdir()
            place.home.rmdir()
            isolation.release(place)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        leaders.add(popen.pid)
        program = cls(launch, popen, place, isolation, limits, leaders)
        program.listener = listener
        await program._connect(ours)
        return program

    async def _connect(self, fds: list[int]) -> None:
        pidfd = os.pidfd_open(self._popen.pid)
        self._loop.add_reader(pidfd, self._exited, pidfd)
        _prefer_to_kill(self._popen.pid)
        files = [os.fdopen(fd, mode, 0) for fd, mode in zip(fds, ("wb", "rb", "rb"), strict=True)]
        written, _ = await self._loop.connect_write_pipe(asyncio.BaseProtocol, files[0])
        output, _ = await self._loop.connect_read_pipe(lambda: _Output(self, self._limits), files[1])
        errors, _ = await self._loop.connect_read_pipe(lambda: self._errors, files[2])
        for transport in (output, errors):
            transport.max_size = _PIECE  # type: ignore[attr-defined]
        self._input, self._output = written, output
        self._outputs = [output, errors]

    def write(self, line: bytes) -> None:
        """Send a message. A program that does not read is ended."""
        if self.ending:
            return
        self._input.write(line + b"\n")
        if self._input.get_write_buffer_size() > self._limits.unread_input:
            self.end_soon("it does not read its input", fault=True)

    def pause(self, reason: str) -> None:
        """Pause reading its output, until no reason is left."""
        if not self._held and not self.ending:
            self._output.pause_reading()
        self._held.add(reason)

    def resume(self, reason: str) -> None:
        """Continue reading its output, unless there is another reason."""
        self._held.discard(reason)
        if not self._held and not self.ending:
            self._output.resume_reading()

    def end_soon(self, why: str, *, fault: bool = False) -> None:
        """Begin to end the program, with a reason for the log: a warning if it is the program's fault."""
        if self._ending is None:
            self._why = why
            self._level = logging.WARNING if fault else logging.INFO
            self._ending = self._loop.create_task(self._end())

    async def end(self, why: str) -> None:
        """End the program and its descendants, and wait until none is left."""
        self.end_soon(why)
        if self._ending is not None:
            await asyncio.shield(self._ending)

    def _exited(self, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._popen.poll()
        self._gone.set()
        # Its last output is still in the pipe, which may stay open if a child process is left.
        self._loop.call_later(_LAST_OUTPUT_S, partial(self.end_soon, "it ended by itself", fault=True))

    async def _end(self) -> None:
        self.listener.over()
        if not self._input.is_closing():
            self._input.abort()
        if not self._gone.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.grace):
                    await self._gone.wait()
        if self._place.uid is not None and self._isolation.is_alone(self._place):
            kill_user(self._place.uid)
        else:
            kill_session(self._popen.pid)
        if self._isolation.adopts:
            kill_orphans(self._leaders - {self._popen.pid})
        await self._gone.wait()
        self._leaders.discard(self._popen.pid)
        for transport in self._outputs:
            transport.close()
        # In separate processes, since there may be many files.
        await remove((["/bin/rm", "-rf", "--", str(self._place.home)], {}), self._leaders)
        if self._isolation.release(self._place) and self._place.uid is not None:
            # Concurrently ended sessions of the server left this to each other.
            kill_user(self._place.uid)
            await remove(self._isolation.shared_removal(self._place.uid), self._leaders)
        _log.log(
            self._level,
            "a command of %s ended after %.0f s: %s; exit code %s, %d bytes of errors that are not kept",
            format_id(SERVER, self._launch.server_id),
            monotonic() - self._started,
            self._why,
            self._popen.returncode,
            self._errors.bytes,
        )


def _prefer_to_kill(pid: int) -> None:
    # If memory runs out, the kernel should kill a command instead of the gateway.
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_bytes(b"500")


def _start_removal(command: list[str], identity: dict[str, Any]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **identity)


async def remove(removal: Removal, leaders: set[int]) -> None:
    """Remove files in a separate process, within a minute. ``leaders`` contains its pid until it has ended."""
    try:
        removing = _start_removal(*removal)
    except OSError:
        return
    loop, removed, pidfd = asyncio.get_running_loop(), asyncio.Event(), os.pidfd_open(removing.pid)
    leaders.add(removing.pid)
    loop.add_reader(pidfd, removed.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REMOVE_SECONDS):
            await removed.wait()
    loop.remove_reader(pidfd)
    os.close(pidfd)
    removing.kill()
    removing.wait()
    leaders.discard(removing.pid)


def _spawn(launch: Launch, place: Place, limits: Limits, fds: list[int]) -> subprocess.Popen[bytes]:
    if place.uid is not None:
        for fd in fds:
            os.fchown(fd, place.uid, place.uid)
    try:
        return subprocess.Popen(
            [launch.command, *launch.args],
            stdin=fds[0],
            stdout=fds[1],
            stderr=fds[2],
            cwd=place.data,
            env=place.environment(launch),
            start_new_session=True,
            # Safe: this process has no other thread that takes a lock.
            preexec_fn=first_in_child(limits, own_user=place.uid is not None),  # noqa: PLW1509
            **place.identity(),
        )
    except FileNotFoundError:
        raise Refused(503, "The program of this server is not installed on the gateway's host.") from None
    except PermissionError:
        raise Refused(503, "The program of this server may not be run by its user.") from None
    except (OSError, subprocess.SubprocessError):
        raise Refused(503, "The program of this server could not be started.", retry_after=5) from None
