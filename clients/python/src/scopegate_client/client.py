"""The client, for threads and for asyncio."""

from __future__ import annotations

import platform
import ssl
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from scopegate_client._credentials import BearerCache, Credentials
from scopegate_client._drivers import AsyncDriver, Driver
from scopegate_client._generated.client import AsyncResources, Resources
from scopegate_client._settings import Settings, read_settings
from scopegate_client.errors import ConfigurationError
from scopegate_client.secret import Secret

if TYPE_CHECKING:
    from scopegate_client.resources import AsyncIdentitiesResource, IdentitiesResource

DEFAULT_TIMEOUT_S = 30.0
DEFAULT_RETRIES = 3
# An idle connection is closed before the server would close it, as uvicorn does after 5 seconds, which could happen
# while a request is being sent.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=3)


class Client(Resources):
    """Scopegate's API, for scripts and threads.

    ```python
    with Client("https://scopegate.example.com", client_id="sa_...", client_secret="sgc_...") as scopegate:
        for token in scopegate.tokens.list(status="active"):
            print(token.name, token.expires_at)
    ```

    Threads may share one.

    Args:
        url: The address of Scopegate; default: `SCOPEGATE_URL`.
        client_id: Of a service account; default: `SCOPEGATE_CLIENT_ID`.
        client_secret: Its secret; default: `SCOPEGATE_CLIENT_SECRET`, or the file `SCOPEGATE_CLIENT_SECRET_FILE`.
        access_token: Instead of these, a bearer, for example of your OpenID provider; default:
            `SCOPEGATE_ACCESS_TOKEN`. A function that returns one is called for each request.
        anonymous: Do not sign in, for public operations such as `health`.
        timeout: The seconds to wait for the connection, and for each part of a response.
        retries: How often to repeat a request that may be repeated.
        verify: An `ssl.SSLContext` with the trusted certificate authorities.
        transport: A replacement for the network, for tests.
        bearer_cache: Stores the bearer of a service account between clients, as `sgctl` does in files.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client_id: str | None = None,
        client_secret: Secret | str | None = None,
        access_token: Secret | str | Callable[[], Secret | str] | None = None,
        anonymous: bool = False,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
        bearer_cache: BearerCache | None = None,
    ) -> None:
        settings = read_settings(url, client_id, client_secret, access_token, anonymous=anonymous)
        self._url = settings.url
        self._http = httpx.Client(
            verify=verify, transport=transport, **_http_options(settings, timeout, retries)
        )
        self._driver = Driver(self._http, Credentials(settings, bearer_cache), retries)

    @property
    def url(self) -> str:
        """The address of Scopegate."""
        return self._url

    @cached_property
    def identities(self) -> IdentitiesResource:
        """People and agents."""
        from scopegate_client.resources import IdentitiesResource  # noqa: PLC0415 - imported when it is used

        return IdentitiesResource(self._driver)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._url!r})"


class AsyncClient(AsyncResources):
    """Scopegate's API, for asyncio.

    ```python
    async with AsyncClient("https://scopegate.example.com", client_id="sa_...", client_secret="sgc_...") as scopegate:
        async for token in scopegate.tokens.list(status="active"):
            print(token.name, token.expires_at)
    ```

    The tasks of one event loop may share one. The arguments are those of `Client`, without `bearer_cache`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client_id: str | None = None,
        client_secret: Secret | str | None = None,
        access_token: Secret | str | Callable[[], Secret | str] | None = None,
        anonymous: bool = False,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        settings = read_settings(url, client_id, client_secret, access_token, anonymous=anonymous)
        self._url = settings.url
        self._http = httpx.AsyncClient(
            verify=verify, transport=transport, **_http_options(settings, timeout, retries)
        )
        self._driver = AsyncDriver(self._http, Credentials(settings), retries)

    @property
    def url(self) -> str:
        """The address of Scopegate."""
        return self._url

    @cached_property
    def identities(self) -> AsyncIdentitiesResource:
        """People and agents."""
        from scopegate_client.resources import AsyncIdentitiesResource  # noqa: PLC0415 - imported when it is used

        return AsyncIdentitiesResource(self._driver)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._url!r})"


def _http_options(settings: Settings, timeout: float, retries: int) -> dict[str, Any]:
    """The options of both clients for httpx."""
    if timeout <= 0:
        raise ConfigurationError("timeout must be more than 0 seconds.")
    if retries < 0:
        raise ConfigurationError("retries must be 0 or more.")
    return {
        "base_url": settings.url,
        "timeout": timeout,
        "limits": _LIMITS,
        "headers": {
            "Accept": "application/json, application/problem+json",
            "User-Agent": f"scopegate-client/{_version()} python/{platform.python_version()}",
        },
        # A redirect could send a secret elsewhere, and Scopegate sends none.
        "follow_redirects": False,
    }


def _version() -> str:
    try:
        return version("scopegate-client")
    except PackageNotFoundError:
        return "0"
