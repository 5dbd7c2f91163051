"""The models of requests and responses: `from scopegate_client.models import Token`."""

from typing import TYPE_CHECKING, Any

from scopegate_client._generated import models as _models
from scopegate_client._generated.models import __all__ as __all__  # noqa: PLC0414

if TYPE_CHECKING:
    from scopegate_client._generated.models import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        return getattr(_models, name)


def __dir__() -> list[str]:
    return dir(_models)
