"""What the tests of the client share."""

from collections.abc import Iterator

import pytest
from scopegate_client._drivers import AsyncDriver, Driver
from scripted_service import Service


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in ("URL", "CLIENT_ID", "CLIENT_SECRET", "CLIENT_SECRET_FILE", "ACCESS_TOKEN"):
        monkeypatch.delenv(f"SCOPEGATE_{name}", raising=False)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service; whoever waits between two requests of it is noted and does not wait."""
    service = Service()

    def sleep(_: Driver, seconds: float) -> None:
        service.pauses.append(seconds)

    async def sleep_async(_: AsyncDriver, seconds: float) -> None:
        service.pauses.append(seconds)

    monkeypatch.setattr(Driver, "sleep", sleep)
    monkeypatch.setattr(AsyncDriver, "sleep", sleep_async)
    yield service
    assert not service.answers, "not all of the answers were asked for"
