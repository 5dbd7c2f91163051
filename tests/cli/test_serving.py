"""How ``scopegate serve`` sets up its server; the tests of faults run it in earnest."""

import resource

import pytest

from app.cli import serve
from app.kit.guarded_http import GuardedHttp
from app.settings import Settings


def test_every_socket_is_guarded_and_no_worker_is_killed_for_being_busy() -> None:
    config = serve._config(Settings(workers=2))
    assert config.http is GuardedHttp
    assert config.timeout_worker_healthcheck == 20


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
