"""The client of Scopegate: `Client` for scripts and threads, `AsyncClient` for asyncio.

`scopegate_client.models` has the models, `scopegate_client.errors` the exceptions.
"""

from scopegate_client._generated.types import UNSET
from scopegate_client.client import AsyncClient, Client
from scopegate_client.errors import ApiError, ScopegateError
from scopegate_client.secret import Secret

__all__ = ["UNSET", "ApiError", "AsyncClient", "Client", "ScopegateError", "Secret"]
