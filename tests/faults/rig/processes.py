"""The gateways and the upstream of the rig: processes that it may kill and freeze."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import app
from tests.faults.harness import SERVE, Gateway
from tests.faults.rig.fork_server import ForkServer

_ROOT = Path(app.__file__).parent.parent
_UP_WITHIN_S = 20.0
_ADMITS_WITHIN_S, _LOOK_EVERY_S = 2.0, 0.005


class RigGateway(Gateway):
    """A gateway with one worker that may die of itself, at a place in the code or through a mutant of it."""

    def __init__(self, database_url: str, place: Path, fork_server: ForkServer) -> None:
        settings = {
            "SCOPEGATE_LIMIT_REQUESTS": "0",
            "SCOPEGATE_SYNC_INTERVAL": "PT0S",
            # Many callers hold a stream of the same token open.
            "SCOPEGATE_LIMIT_STREAMS": "0",
            "SCOPEGATE_LIMIT_STREAMS_PER_IDENTITY": "0",
            "SCOPEGATE_LIMIT_FAILED_SIGN_INS": "0",
        }
        super().__init__(database_url, place, SERVE, **settings)
        self.gauge = place / f"{self.port}.tasks"
        """Where it writes how many tasks it has, upon SIGUSR2."""
        self._environment["RIG_GAUGE"] = str(self.gauge)
        self._fork_server = fork_server
        self.up_at: float | None = None
        """The start of its service; ``None`` while it does not serve."""

    @property
    def log(self) -> Path:
        """Return its output of all lives."""
        return self._log

    @property
    def serves(self) -> bool:
        """Whether it was ready and is not known to have ended."""
        return self.up_at is not None

    def launch(self) -> None:
        """Start the process."""
        self._process = self._fork_server.fork(self._environment, self._log)

    async def rise(self, failpoint: str = "") -> None:
        """Start it, and wait until it is ready; with a failpoint (``name=kill:3``) it dies there, or before that."""
        self._environment["RIG_FAILPOINTS"] = failpoint
        self.launch()
        try:
            await asyncio.to_thread(self.wait_ready)
        except AssertionError:
            if not failpoint or not await self.gone(0):
                raise
        self.up_at = time.monotonic()

    async def gone(self, within_s: float) -> bool:
        """Wait for it to end by itself; returns whether it did."""
        process = self._process
        assert process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, within_s)
        return process.poll() is not None

    def fell(self) -> float:
        """Mark it as dead; returns the start of its service."""
        up_at, self.up_at, self._process = self.up_at, None, None
        assert up_at is not None
        return up_at

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """It cannot answer during the block, so the rig does not rely on it."""
        up_at, self.up_at = self.up_at, None
        try:
            yield
        finally:
            self.up_at = up_at

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    async def freeze_admitted(self) -> None:
        """SIGSTOP, if it can be right when it has admitted calls and not sent them yet."""
        os.kill(self.pid, signal.SIGUSR1)
        deadline = time.monotonic() + _ADMITS_WITHIN_S
        while not self._stands_still() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)
        self.freeze()

    def _stands_still(self) -> bool:
        # proc(5): the state comes after the name, which is in parentheses.
        return Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0] == "T"

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)


class UpstreamProcess:
    """The recorder as a process."""

    def __init__(self, place: Path) -> None:
        self.record = place / "upstream.jsonl"
        self._port_file = place / "upstream.port"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        """Where it listens, since it was started."""

    def start(self) -> None:
        """Start it."""
        paths = (str(self.record), str(self._port_file))
        command = [sys.executable, "-m", "tests.faults.rig.recorder", *paths]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _UP_WITHIN_S
        while not self._port_file.exists():
            if time.monotonic() > deadline:
                raise AssertionError("the upstream did not start")
            time.sleep(0.02)
        self.port = int(self._port_file.read_text())

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
