"""The models of requests and answers: `from scopegate_client.models import Token`."""

from scopegate_client._generated.models import *  # noqa: F403
from scopegate_client._generated.models import __all__ as __all__  # noqa: PLC0414
