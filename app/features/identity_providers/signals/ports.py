"""What passes between signals and the protocol that transmitters speak."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from fastapi import Depends, Request

Delivery = Literal["push", "poll"]


@dataclass(frozen=True, slots=True)
class Transmitter:
    """Who signs events, and where their keys are: at ``jwks_uri``, or where their configuration says."""

    issuer: str
    jwks_uri: str | None = None

    def __str__(self) -> str:
        return self.issuer


@dataclass(frozen=True, slots=True)
class Access:
    """A transmitter's own API as one provider may use it."""

    transmitter: Transmitter
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WantedStream:
    """What a transmitter is asked for. ``push_url`` and ``authorization`` (of the header) are for push alone.
    ``others`` are the streams there that other providers have: whoever asked for their events would take them away."""

    delivery: Delivery
    events: Sequence[str]
    push_url: str
    audiences: frozenset[str]
    authorization: str | None = field(default=None, repr=False)
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MadeStream:
    """A stream as the transmitter has it. ``poll_url`` is where its events wait, if it is polled."""

    id: str
    poll_url: str | None
    status: str


class TransmitterFault(Exception):
    """A transmitter did not do what it was asked for. ``refused``: it answered, and would not."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class TransmitterApi(Protocol):
    """The stream management of SSF 1.0 section 8. Each raises ``TransmitterFault``."""

    async def set_stream(self, access: Access, stream_id: str | None, wanted: WantedStream) -> MadeStream:
        """Make a stream, or bring the one that is there to what is wanted."""

    async def delete_stream(self, access: Access, stream_id: str) -> None:
        """End a stream; one that is gone already is no fault."""

    async def ask_verification(self, access: Access, stream_id: str, state: str) -> str:
        """Have a verification event with this state sent; the status of the stream."""


async def get_transmitter_api(request: Request) -> TransmitterApi:
    api: TransmitterApi = request.app.state.transmitters
    return api


CurrentTransmitters = Annotated[TransmitterApi, Depends(get_transmitter_api)]
