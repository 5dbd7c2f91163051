"""Our storage keeps the contract that ``scim2-server`` has for storages: its own suite says so."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scim2_models import (
    Resource,
    ResourceType,
    ResponseParameters,
    SCIMException,
    ScimProvider,
    SearchRequest,
)
from scim2_server.storage import AsyncScimStorage, ScimStorage, SearchPage
from scim2_server.testing import AsyncScimStorageContract, BlockingStorage
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.scim.models import make_provider
from app.adapters.scim.storage import Storage
from app.adapters.scim.work import error_of
from app.crypto.signing import Signer
from app.db.engine import make_engine, make_sessions
from app.domain.errors import DomainError
from tests import database
from tests.adapters.scim.populations import add_provider, provisioner, work_of
from tests.api import KEY


class Told(AsyncScimStorage):
    """Our storage as the service uses it: each call is an operation, and our errors are told as SCIM's."""

    supports_cursors = True

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        try:
            async with self._storage.operation():
                yield
        except DomainError as error:
            raise SCIMException.from_error(error_of(error)) from error

    async def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: ResponseParameters[Any] | None = None,
    ) -> Resource[Any]:
        async with self.operation():
            return await self._storage.get(
                resource_type, resource_id, response_parameters=response_parameters
            )

    async def search(
        self,
        resource_types: list[ResourceType],
        search_request: SearchRequest[Any],
        *,
        position: Any = None,
    ) -> SearchPage:
        async with self.operation():
            return await self._storage.search(resource_types, search_request, position=position)

    async def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        async with self.operation():
            return await self._storage.create(resource_type, resource)

    async def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        async with self.operation():
            return await self._storage.update(resource_type, resource, expected_version=expected_version)

    async def delete(
        self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        async with self.operation():
            await self._storage.delete(resource_type, resource_id, expected_version=expected_version)


@pytest.fixture(scope="module")
def here() -> Iterator[tuple[asyncio.Runner, AsyncSession]]:
    """One database for all of the suite, whose tests are each undone."""
    with database.temporary_database() as url, asyncio.Runner() as runner:
        engine = make_engine(url, pool_size=1, name="test")
        session = make_sessions(engine)()
        yield runner, session
        runner.run(session.close())
        runner.run(engine.dispose())


@pytest.mark.slow
class TestStorage(AsyncScimStorageContract):
    """The suite."""

    @pytest.fixture
    def provider(self) -> ScimProvider:
        return make_provider()

    @pytest.fixture
    def storage(self, here: tuple[asyncio.Runner, AsyncSession]) -> Iterator[ScimStorage]:
        runner, session = here
        provider_id = runner.run(add_provider(session))
        work = work_of(session, provider_id, provisioner(), Signer([KEY.encode()], "https://example.com"))
        yield BlockingStorage(Told(Storage(work)), runner)
        runner.run(session.rollback())
        session.expunge_all()
