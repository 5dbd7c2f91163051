"""Fixtures of the tests of what holds for every resource."""

import httpx2
import pytest

from tests.contract.things import Things


@pytest.fixture
def things(api: httpx2.AsyncClient) -> Things:
    """Objects of an owner's making."""
    return Things(api)
