"""Clients of the running service."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from pydantic import SecretStr
from scopegate_client import AsyncClient, Client

from app.crypto.passwords import hash_password
from tests import database
from tests.clients.blocking import Blocking
from tests.clients.drives import ATTRIBUTE
from tests.clients.live import Live, Loop, running
from tests.clients.names import name
from tests.clients.operations import Touched

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """The service that these tests share; each makes what it needs under names of its own."""
    password = SecretStr(hash_password(PASSWORD))
    with database.temporary_database() as url, running(url, break_glass_password_hash=password) as live:
        yield live


@pytest.fixture
def touched(request: pytest.FixtureRequest) -> Iterator[Touched]:
    """The operations that the clients of this test asked for: all that it says it drives, or it fails."""
    touched = Touched()
    yield touched
    missed = set(getattr(request.function, ATTRIBUTE, ())) - touched
    assert not missed, f"the test says that it drives {sorted(missed)}, and does not"


@pytest.fixture
def open_client(live: Live, touched: Touched) -> Iterator[Callable[..., Client]]:
    """Makes clients for threads that are closed at the end and noted in ``touched``; the owner's, if not told."""
    opened: list[Client] = []

    def open_one(**options: Any) -> Client:
        credentials = {"client_id": live.owner_client_id, "client_secret": live.owner.secret}
        client = Client(live.url, **(options or credentials))
        client._http.event_hooks["request"].append(touched.note)
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def person(live: Live, open_client: Callable[..., Client]) -> Client:
    """The client of a person without a role, who is known since they signed in with one."""
    sub = name("ada")
    open_client(access_token=live.provider.access_token(sub=sub, groups=["auditors"])).me.get()
    return open_client(access_token=live.provider.access_token(sub=sub))


@pytest.fixture(params=["threads", "asyncio"])
def client(
    request: pytest.FixtureRequest, live: Live, touched: Touched, open_client: Callable[..., Client]
) -> Iterator[Client]:
    """The owner's client: for threads, and once more for asyncio, which is driven with the same words."""
    if request.param == "threads":
        yield open_client()
        return
    with Loop() as loop:
        asynchronous = AsyncClient(live.url, client_id=live.owner_client_id, client_secret=live.owner.secret)
        asynchronous._http.event_hooks["request"].append(touched.note_async)
        yield cast(Client, Blocking(asynchronous, loop))
        loop.run(asynchronous.close())
