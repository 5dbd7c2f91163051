"""How ``scopegate serve`` sets up its server; the tests of faults run it in earnest."""

import resource
import socket

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.cli import serve
from app.cli.errors import CannotStart
from app.cli.signals import bound_socket
from app.http.server_protocol import GuardedHttp
from app.settings import Settings


def test_every_socket_is_guarded_and_no_worker_is_killed_for_being_busy() -> None:
    config = serve._config(Settings(workers=2))
    assert config.http is GuardedHttp
    assert config.timeout_worker_healthcheck == 20


def test_no_connection_is_taken_before_a_worker_listens(free_port: int) -> None:
    settings = Settings(port=free_port)
    with bound_socket(settings) as bound:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free_port))
        bound.listen()
        with pytest.raises(CannotStart, match="SCOPEGATE_PORT"):
            bound_socket(settings)
        socket.create_connection(("127.0.0.1", free_port)).close()


async def test_who_listens_second_on_an_address_that_both_have_bound_says_so_in_one_line(
    free_port: int,
) -> None:
    settings = Settings(port=free_port)

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        return

    config = uvicorn.Config(nothing, lifespan="off", log_level="error")
    with bound_socket(settings) as first, bound_socket(settings) as second:
        first.listen()
        with pytest.raises(CannotStart, match=str(free_port)):
            await serve._Server(config, settings).serve(sockets=[second])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 524_288), (65_536, 524_288)),
        ((1024, 4096), (4096, 4096)),
        ((1024, resource.RLIM_INFINITY), (65_536, resource.RLIM_INFINITY)),
        ((100_000, 524_288), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ],
)
def test_as_many_files_may_be_open_as_the_system_lets(
    before: tuple[int, int], after: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    serve._allow_files()
    assert asked == ([] if after is None else [after])
