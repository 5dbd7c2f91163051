"""An organization to offboard people from."""

from tests.features.tokens.conftest import signed_in, world

__all__ = ["signed_in", "world"]
