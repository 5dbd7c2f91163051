"""``scopegate serve``: the API and the gateway, in as many worker processes as configured."""

import contextlib
import gc
import multiprocessing
import resource
import socket

import typer
import uvicorn
from uvicorn.supervisors import Multiprocess

from app.cli.children import end_with_parent
from app.cli.database import joined_database, usable_database
from app.cli.errors import CannotStart
from app.cli.signals import Stopped, bound_socket, cannot_listen, signals_held, signals_stop
from app.cli.supervisor import commands_running
from app.db.rewinds import PROGRESS_FILE, RewindGuard
from app.http.server_protocol import GuardedHttp
from app.lib.logs import use_line_records
from app.main import Scopegate, create_app
from app.settings import Settings, load_settings
from app.supervisor.processes import hide_from_equals

_GRACE_SECONDS = 5
"""How long open streams may go on after SIGTERM before they are cut."""
_HUNG_SECONDS = 20
"""How long a worker may not answer its supervisor before it is killed: a busy machine alone is no reason to."""
_FILES = 65_536
"""Open files that are asked for: each connection is one, and many systems start a service with 1,024."""

_TLS_ALONE = ("Strict-Transport-Security", "max-age=31536000")
"""For a year browsers come to this host by TLS alone (RFC 6797). Of hosts below it others have to decide, and of the
lists that browsers are made with."""


def application() -> Scopegate:
    """What each worker serves: made in the worker, from the same environment."""
    if multiprocessing.parent_process() is not None:
        # Left alone, a worker would go on serving on a port that nobody can stop or start again.
        end_with_parent()
    use_line_records()
    settings = load_settings()
    if settings.stdio_allowed_commands:
        # As an ordinary user, commands run as the same one.
        hide_from_equals()
    served = create_app(joined_database(settings), RewindGuard(settings.data_dir / PROGRESS_FILE))
    _collect_seldom()
    return served


def _collect_seldom() -> None:
    """Keep the collector from going through modules and the access snapshot again and again.

    Both are large and live long; with Python's defaults the walks cost a sixth of the throughput, and pauses of
    tens of milliseconds. What a call leaves behind is freed by reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        CannotStart: the port cannot be had.
        DatabaseFault, EmbeddedPostgresError: the database cannot be used.
    """
    _allow_files()
    # uvicorn raises the signal again when it has shut down; by default that would end us before the database.
    with contextlib.suppress(Stopped), signals_stop(), bound_socket(settings) as bound:
        _serve_on(bound, settings)


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve_on(bound: socket.socket, settings: Settings) -> None:
    with contextlib.ExitStack() as running:
        with signals_held():
            # Stopped half-way, an embedded database that was just launched would be nobody's.
            running.enter_context(usable_database(settings, may_be_away=True))
        running.enter_context(commands_running(settings))
        config = _config(settings)
        if settings.workers > 1:
            _Workers(config, bound, settings).run()
            return
        server = _Server(config, settings)
        server.run(sockets=[bound])
        if not server.started:
            raise CannotStart("the service did not start; the lines above say why", code=1)


class _Server(uvicorn.Server):
    """The one worker, which listens once its application is configured, and then says where."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:
            # Another process has bound the same address, and was the first to listen.
            raise cannot_listen(self._settings, error) from None
        _say_serving(self._settings)


class _Workers(Multiprocess):
    """Several workers, each of which listens once its application is configured."""

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
        # Each request that matters is in the audit trail; a line for each URL would only repeat it.
        access_log=False,
        server_header=False,
        # Of the server, so that no answer is without it: its own refusals, the API's, the pages', the gateway's.
        headers=[_TLS_ALONE] if settings.base_url.startswith("https://") else [],
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_worker_healthcheck=_HUNG_SECONDS,
    )
