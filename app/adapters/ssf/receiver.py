"""What both ways of delivery share: checking an event token, and who is told what of those that are refused."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.adapters.ssf.event_token import check_event_token
from app.adapters.ssf.refusals import RefusedEvents
from app.adapters.ssf.transmitters import Transmitters
from app.crypto.jose.keys import ProviderKeys
from app.domain.security_events import SecurityEvent
from app.features.identity_providers.signals.ports import Transmitter
from app.features.identity_providers.signals.streams import Configured


@dataclass(frozen=True, slots=True)
class Receiver:
    """Shared services of one worker, on ``app.state.signals``."""

    transmitters: Transmitters
    keys: ProviderKeys[Transmitter]
    refused: RefusedEvents

    async def check(self, found: Configured, text: str, now: float) -> tuple[SecurityEvent, frozenset[str]]:
        """The event of a token, and which members of its subject have to be gone by.

        ``now`` is the database's clock. No connection to it may be held meanwhile: the transmitter may be asked for
        its keys. Raises ``Unacceptable``, and ``Unavailable`` without keys.
        """
        event = await check_event_token(text, found, self.keys, now)
        return event, self.transmitters.critical_of(found.transmitter)


async def get_receiver(request: Request) -> Receiver:
    receiver: Receiver = request.app.state.signals
    return receiver


CurrentReceiver = Annotated[Receiver, Depends(get_receiver)]
