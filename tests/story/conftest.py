"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator

import pytest

from tests.provider.openid import OpenIdProvider, openid_provider


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    """Run an OpenID provider for this test only."""
    with openid_provider() as running:
        yield running
