"""Directories that provision into the application under test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.api import BASE_URL, client_of
from tests.story.provisioning import make_directory

if TYPE_CHECKING:
    from app.main import Scopegate

NewScim = Callable[..., Awaitable[httpx2.AsyncClient]]
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@pytest.fixture
async def new_scim(app: "Scopegate", api: httpx2.AsyncClient) -> AsyncIterator[NewScim]:
    """Makes clients of ``/scim/v2``, each the directory of a provider of its own; its settings are keywords."""
    async with AsyncExitStack() as stack:

        async def make(name: str = "directory", **scim: Any) -> httpx2.AsyncClient:
            directory = await make_directory(api, f"https://{name}.example.com", scim)
            client = await stack.enter_async_context(client_of(app, directory.secret))
            client.base_url = httpx2.URL(f"{BASE_URL}/scim/v2/")
            client.headers["X-Provider"] = directory.provider_id
            return client

        yield make


@pytest.fixture
async def scim(new_scim: NewScim) -> httpx2.AsyncClient:
    """The client of one directory."""
    return await new_scim()


def user(name: str, /, **attributes: Any) -> dict[str, Any]:
    """A user as a directory sends it."""
    return {"schemas": [USER], "userName": name, "externalId": f"ext-{name}", **attributes}


def patch(*operations: Any) -> dict[str, Any]:
    """The body of a PATCH."""
    return {"schemas": [PATCH], "Operations": list(operations)}


def provider_of(client: httpx2.AsyncClient) -> str:
    """The id of the provider that a client is the directory of."""
    return client.headers["X-Provider"]
