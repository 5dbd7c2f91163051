"""The supervisor of commands, as a child process of ``scopegate serve``."""

import contextlib
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.cli.children import Child
from app.cli.errors import CannotStart
from app.cli.signals import hold_signals
from app.outbound.stdio import SupervisorAddress
from app.settings import Settings
from app.supervisor.processes import hide_from_equals

_READY_SECONDS = 60.0
_BETWEEN_LOOKS = 0.02
# More than the supervisor needs to end all commands.
_STOP_SECONDS = 15.0
_ROOTS_DATA = Path("/var/lib/scopegate/stdio")


@contextlib.contextmanager
def run_commands(settings: Settings) -> Iterator[None]:
    """Run the supervisor while the service runs, if commands are allowed.

    Raises:
        CannotStart: the system is not Linux, or the supervisor does not start.
    """
    if not settings.stdio_allowed_commands:
        yield
        return
    if sys.platform != "linux":
        raise CannotStart("SCOPEGATE_STDIO_ALLOWED_COMMANDS: commands only run on Linux")
    with tempfile.TemporaryDirectory(prefix="scopegate-supervisor-") as directory:
        address = SupervisorAddress(f"{directory}/socket", secrets.token_urlsafe(32))
        hide_from_equals()
        with contextlib.ExitStack() as running:
            with hold_signals():
                # An interruption here would leave a new guard without an owner.
                guard = _start(settings, address)
                running.callback(guard.stop)
            os.environ.update(address.written())
            _wait(guard, Path(address.socket))
            yield


def _start(settings: Settings, address: SupervisorAddress) -> Child:
    """Only with the environment variables that it needs, since it runs third-party programs."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG", "TZ") if name in os.environ}
    own = {
        "SCOPEGATE_STDIO_ALLOWED_COMMANDS": json.dumps(settings.stdio_allowed_commands.entries),
        "SCOPEGATE_LIMIT_STDIO_PROCESSES": str(settings.limit_stdio_processes),
        "SCOPEGATE_STDIO_DATA_DIR": str(_data_directory(settings)),
    }
    return Child(
        "the supervisor of commands",
        [sys.executable, "-m", "app.supervisor.guard"],
        environment={**kept, **own, **address.written()},
        grace_seconds=_STOP_SECONDS,
    )


def _data_directory(settings: Settings) -> Path:
    """The data directory of commands. Their users cannot enter our data directory, which is closed."""
    if settings.stdio_data_dir is not None:
        return settings.stdio_data_dir.absolute()
    return _ROOTS_DATA if os.geteuid() == 0 else settings.data_dir.absolute() / "stdio"


def _wait(guard: Child, socket: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not socket.exists():
        if guard.exit_code is not None or time.monotonic() > deadline:
            raise CannotStart("the supervisor of commands did not start; the lines above say why", code=1)
        time.sleep(_BETWEEN_LOOKS)
