"""How long what is forwarded may take, and how long the upstream may be silent meanwhile."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from app.outbound.http import Timeouts

_OPENING_S = 30.0
_CALL = Timeouts(first_byte=300.0, idle=300.0, total=3600.0)
_LISTEN = Timeouts(first_byte=_OPENING_S, idle=None, total=86_400.0)


@dataclass(frozen=True, slots=True)
class CallTimes:
    """Comments and other signs of life end a silence; nothing prolongs the total."""

    call: Timeouts = _CALL
    listen: Timeouts = _LISTEN
    """A stream that waits for what the upstream may tell is silent by nature."""

    @classmethod
    def of(cls, silence: timedelta, call: timedelta, stream: timedelta) -> Self:
        """From the settings."""
        quiet = silence.total_seconds()
        return cls(
            Timeouts(first_byte=quiet, idle=quiet, total=call.total_seconds()),
            Timeouts(first_byte=min(quiet, _OPENING_S), idle=None, total=stream.total_seconds()),
        )
