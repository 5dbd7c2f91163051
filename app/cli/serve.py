"""``scopegate serve``: the API and the gateway in worker processes, and the supervisor of commands as a child."""

import contextlib
import gc
import multiprocessing
import os
import resource
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import typer
import uvicorn
from uvicorn.supervisors import Multiprocess

from app.cli.children import Child, end_with_parent
from app.cli.database import joined_database, usable_database
from app.cli.errors import CannotStart
from app.cli.signals import Stopped, bound_socket, cannot_listen, hold_signals, signals_stop
from app.db.rewinds import PROGRESS_FILE, RewindGuard
from app.http.server_protocol import GuardedHttp
from app.lib.logs import use_line_records
from app.main import Scopegate, create_app
from app.outbound.stdio import SupervisorAddress
from app.settings import Settings, load_settings
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
    data = settings.stdio_data_dir
    if data is None:
        # The users of commands cannot enter our data directory, which is closed.
        data = _ROOTS_DATA if os.geteuid() == 0 else settings.data_dir / "stdio"
    own = {
        "SCOPEGATE_STDIO_ALLOWED_COMMANDS": settings.stdio_allowed_commands.written(),
        "SCOPEGATE_LIMIT_STDIO_PROCESSES": str(settings.limit_stdio_processes),
        "SCOPEGATE_STDIO_DATA_DIR": str(data.absolute()),
    }
    command = [sys.executable, "-m", "app.supervisor.guard"]
    environment = {**kept, **own, **address.written()}
    return Child("the supervisor of commands", command, environment=environment, grace_seconds=_STOP_SECONDS)


def _wait(guard: Child, socket: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not socket.exists():
        if guard.exit_code is not None or time.monotonic() > deadline:
            raise CannotStart("the supervisor of commands did not start; the lines above say why", code=1)
        time.sleep(_BETWEEN_LOOKS)


_GRACE_SECONDS = 5
"""How long open streams may continue after SIGTERM."""
_HUNG_SECONDS = 20
"""How long a worker may be unresponsive before its supervisor kills it; a busy machine is not enough."""
_FILES = 65_536
"""The limit of open files to request: each connection is one, and many systems set 1,024 for services."""
_HSTS_HEADER = ("Strict-Transport-Security", "max-age=31536000")
"""Browsers only use TLS for this host for a year (RFC 6797). Neither subdomains nor preload lists are included, since
others decide about those."""


def application() -> Scopegate:
    """Build the application of a worker, from the same environment."""
    if multiprocessing.parent_process() is not None:
        # Without its parent, a worker would keep a port that cannot be stopped or restarted.
        end_with_parent()
    use_line_records()
    settings = load_settings()
    if settings.stdio_allowed_commands:
        # Without root, commands run as the same user.
        hide_from_equals()
    served = create_app(joined_database(settings), RewindGuard(settings.data_dir / PROGRESS_FILE))
    # The collector must not repeatedly walk modules and the access snapshot, which are large and permanent. With
    # Python's defaults the walks cost a sixth of the throughput, and pauses of tens of milliseconds. Objects of a call
    # are freed by reference counts.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    return served


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        CannotStart: the port is not available.
        DatabaseFault, EmbeddedPostgresError: the database cannot be used.
    """
    _allow_files()
    # uvicorn raises the signal again after its shutdown, which by default would end this process before the database.
    with contextlib.suppress(Stopped), signals_stop(), bound_socket(settings) as bound:
        _serve_on(bound, settings)


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _serve_on(bound: socket.socket, settings: Settings) -> None:
    with contextlib.ExitStack() as running:
        with hold_signals():
            # An interruption here would leave a new embedded database without an owner.
            running.enter_context(usable_database(settings, may_be_away=True))
        running.enter_context(run_commands(settings))
        config = _config(settings)
        if settings.workers > 1:
            _Workers(config, bound, settings).run()
            return
        server = _Server(config, settings)
        server.run(sockets=[bound])
        if not server.started:
            raise CannotStart("the service did not start; the lines above say why", code=1)


class _Server(uvicorn.Server):
    """The only worker, which listens after its application is configured, and then prints the address."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:
            # Another process bound the same address and listened first.
            raise cannot_listen(self._settings, error) from None
        _say_serving(self._settings)


class _Workers(Multiprocess):
    """Several workers, each of which listens after its application is configured."""

    def __init__(self, config: uvicorn.Config, bound: socket.socket, settings: Settings) -> None:
        super().__init__(config, sockets=[bound])
        self._settings = settings
        self._is_said = False

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        if not self._is_said and any(process.is_ready() for process in self.processes):
            self._is_said = True
            _say_serving(self._settings)


def _say_serving(settings: Settings) -> None:
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    typer.echo(f"Serving {settings.base_url} on {settings.host}:{settings.port} ({workers}).")


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        "app.cli.serve:application",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=GuardedHttp,
        ws="none",
        lifespan="on",
        log_level="warning",
        # Relevant requests are in the audit log; an access log would only repeat them.
        access_log=False,
        server_header=False,
        # Set by the server, so that every response has it: its own refusals, the API's, the console's, the gateway's.
        headers=[_HSTS_HEADER] if settings.base_url.startswith("https://") else [],
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_worker_healthcheck=_HUNG_SECONDS,
    )
