"""The running service, in a thread of its own: what tests of its clients talk to."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from app.crypto.keys import Peppers
from app.db.engine import make_engine, make_sessions
from app.lib.ids import SERVICE_ACCOUNT, format_id
from tests.adapters.console.provider import SigningProvider, signing_provider
from tests.adapters.oidc.tokens import AUDIENCE
from tests.api import KEY, Account, make_account
from tests.serving import listener
from tests.story.service import notes_server, serving, whole_service

T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, waited for."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_end_tasks())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_tasks() -> None:
    """Libraries leave tasks that wait for the end of the process."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Live:
    """Where the service is, its database, an owner's service account, an MCP server to register, and the provider that
    people sign in at."""

    url: str
    database_url: str
    owner: Account
    owner_client_id: str
    upstream_url: str
    provider: SigningProvider


@asynccontextmanager
async def _running(database_url: str, **settings: Any) -> AsyncIterator[Live]:
    async with AsyncExitStack() as stack:
        engine = make_engine(database_url, pool_size=2, name="test")
        stack.push_async_callback(engine.dispose)
        owner = await make_account(make_sessions(engine), Peppers([KEY.encode()]))
        sock = stack.enter_context(listener())
        upstream = await stack.enter_async_context(serving(notes_server(), sock))
        provider = await stack.enter_async_context(signing_provider())
        settings |= {
            "oidc_issuer": provider.issuer,
            "oidc_audience": (AUDIENCE,),
            "oidc_algorithms": ["ES256"],
            "oidc_role_map": {"auditors": "auditor"},
        }
        service = await stack.enter_async_context(whole_service(database_url, owner.bearer, **settings))
        client_id = format_id(SERVICE_ACCOUNT, owner.id)
        yield Live(service.url, database_url, owner, client_id, f"{upstream}/mcp", provider)


@contextmanager
def running(database_url: str, **settings: Any) -> Iterator[Live]:
    """The service on a database, served from a thread of its own."""
    with Loop() as loop:
        context = _running(database_url, **settings)
        live = loop.run(context.__aenter__())
        try:
            yield live
        finally:
            loop.run(context.__aexit__(None, None, None))
