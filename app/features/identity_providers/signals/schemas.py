"""Request and response models of Shared Signals."""

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr
from typing_extensions import TypeAliasType

from app.domain.security_events import REQUESTED
from app.features.identity_providers.schemas import SignalsDelivery
from app.features.identity_providers.signals.streams import TransmitterSettings
from app.http.schemas import CleanSecret, Strict, Time, example
from app.lib.ids import IdentityProviderId
from app.models.identity_providers import SignalStream

_EXAMPLE: dict[str, Any] = {
    "provider_id": "idp_01jdpnwz00e008000000000000",
    "issuer": "https://signals.example.com",
    "delivery": "push",
    "push_url": "https://scopegate.example.com/ssf/events",
    "events": list(REQUESTED),
    "has_credential": True,
    "stream_id": "f67e39a0a4d34d56b3aa1bc4cff0069f",
    "status": "enabled",
    "verification_asked_at": "2026-11-26T08:00:00Z",
    "verified_at": "2026-11-26T08:00:01Z",
    "received_at": "2026-11-26T08:00:01Z",
    "polled_at": None,
    "failures": 0,
    "failing_since": None,
    "error": None,
    "revision": 3,
}

SignalStreamStatus = TypeAliasType(
    "SignalStreamStatus",
    Annotated[
        Literal["unknown", "enabled", "paused", "disabled"],
        Field(description="The last status from the transmitter; `unknown`: none yet."),
    ],
)
SignalStreamError = TypeAliasType(
    "SignalStreamError",
    Annotated[
        Literal["verification", "unreachable", "refused", "keys_unavailable", "decryption_failed"],
        Field(
            description="`verification`: an event had an unexpected state. For polling: the transmitter "
            "cannot be reached or sends an invalid response (`unreachable`), refuses access "
            "(`refused`), or its keys cannot be fetched (`keys_unavailable`); no configured key "
            "decrypts the access token (`decryption_failed`)."
        ),
    ],
)


class SignalStreamView(Strict):
    """The state of a provider's signals."""

    model_config = example(_EXAMPLE)
    provider_id: IdentityProviderId
    issuer: str = Field(description="The transmitter: the `iss` of its events.")
    delivery: SignalsDelivery
    push_url: str = Field(description="The URL for a transmitter that pushes.")
    events: list[str] = Field(description="The event types that have effects.")
    has_credential: bool = Field(description="Whether an access token for the transmitter's API is stored.")
    stream_id: str | None = Field(description="The transmitter's id of the stream.")
    status: SignalStreamStatus
    verification_asked_at: Time | None = Field(description="When a verification event was last requested.")
    verified_at: Time | None = Field(description="When a verification event with the right state arrived.")
    received_at: Time | None = Field(description="When the last event arrived, accurate to a second.")
    polled_at: Time | None = Field(description="The last successful poll.")
    failures: int = Field(description="Failed polls in a row.")
    failing_since: Time | None = Field(description="When the first of these failed.")
    error: SignalStreamError | None = Field(description="The current error, if any.")
    revision: int = Field(description="Increases with each change; 0 before the first.")

    @classmethod
    def from_row(
        cls, transmitter: TransmitterSettings, push_url: str, row: SignalStream | None
    ) -> "SignalStreamView":
        """Build the view; without a stream, its fields are empty."""
        if row is None:
            row = SignalStream(provider_id=transmitter.provider_id, issuer=transmitter.issuer, revision=0)
        return cls.model_validate(
            row.model_dump(include=set(cls.model_fields))
            | {
                "delivery": transmitter.delivery,
                "push_url": push_url,
                "events": list(REQUESTED),
                "has_credential": row.sealed is not None,
            }
        )


class SignalCredentialPut(Strict):
    """The access token for the transmitter's own API. It is stored encrypted, and can be replaced but never read."""

    model_config = example({"access_token": "..."}, title="SignalCredentialRequest")
    access_token: Annotated[SecretStr, Field(min_length=1, max_length=4096), CleanSecret] | None = Field(
        description="As issued by the transmitter, without `Bearer`; null removes the stored one."
    )


class SignalStreamSet(Strict):
    """Settings for a transmitter, in addition to the receiver's address and event types."""

    model_config = example({"push_secret": "sgc_..."}, title="SignalStreamRequest")
    push_secret: Annotated[SecretStr, Field(min_length=1, max_length=4096), CleanSecret] | None = Field(
        default=None,
        description="The client secret (`sgc_...`) of the service account, with which the transmitter pushes. "
        "It is passed on and not stored. Without it, configure it at the transmitter.",
    )
