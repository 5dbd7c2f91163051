"""What the tests of the command line share."""

import pytest

from tests import ports


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens at the moment."""
    return ports.free_port()
