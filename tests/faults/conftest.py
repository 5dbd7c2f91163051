"""Two gateway processes on one database, for tests that leave them unchanged."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import database
from tests.faults.harness import Gateway, gateways


@dataclass(frozen=True, slots=True)
class Pair:
    """Two gateways and their database."""

    database_url: str
    gateways: list[Gateway]

    @property
    def ports(self) -> list[int]:
        """Where the two listen."""
        return [gateway.port for gateway in self.gateways]


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    """Two gateways that share a database."""
    with database.temporary_database() as url, gateways(url, 2) as running:
        yield Pair(url, running)
