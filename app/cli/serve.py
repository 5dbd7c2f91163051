"""``scopegate serve``: the API and the gateway, in as many worker processes as configured."""

import contextlib
import gc
import multiprocessing
import resource
import socket

import uvicorn
from uvicorn.supervisors import Multiprocess

from app.cli.children import end_with_parent
from app.cli.database import joined_database, usable_database
from app.cli.errors import CannotStart
from app.cli.listening import listening_socket
from app.cli.signals import Stopped, signals_held, signals_stop
from app.cli.supervisor import commands_running
from app.kit.guarded_http import GuardedHttp
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
    settings = load_settings()
    if settings.stdio_allowed_commands:
        # As an ordinary user, commands run as the same one.
        hide_from_equals()
    served = create_app(joined_database(settings))
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
    with contextlib.suppress(Stopped), signals_stop(), listening_socket(settings) as listening:
        _serve_on(listening, settings)


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve_on(listening: socket.socket, settings: Settings) -> None:
    with contextlib.ExitStack() as running:
        with signals_held():
            # Stopped half-way, an embedded database that was just launched would be nobody's.
            running.enter_context(usable_database(settings))
        running.enter_context(commands_running(settings))
        config = _config(settings)
        if settings.workers > 1:
            Multiprocess(config, sockets=[listening]).run()
            return
        server = uvicorn.Server(config)
        server.run(sockets=[listening])
        if not server.started:
            raise CannotStart("the service did not start; the lines above say why", code=1)


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
