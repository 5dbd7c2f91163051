"""Request and response models of webhooks and their deliveries."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, StringConstraints
from typing_extensions import TypeAliasType

from app.db.webhook_events import WebhookEvent
from app.http.idempotency import Revealed
from app.http.pagination import ORDER, ListQuery
from app.http.schemas import CleanText, LongText, Name, Patch, RowView, ShortText, Strict, absent, example
from app.lib.ids import DeliveryId, WebhookId
from app.models.webhooks import WebhookDelivery

MAX_OVERLAP_S = 7 * 24 * 3600
FailureCount = Annotated[int, Field(description="Failed attempts since the last success.")]
FailingSince = Annotated[
    datetime | None, Field(description="Time of the first of these; null when there are none.")
]
HeldUntil = Annotated[
    datetime | None,
    Field(description="Time of the next attempt, while its endpoint fails or asked for a pause."),
]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2000), CleanText]
Events = Annotated[
    list[WebhookEvent],
    Field(
        min_length=1,
        max_length=100,
        description="The event types that it receives.",
        examples=[["approval.requested", "identity.offboarded", "token.expiring"]],
    ),
    # Each once.
    AfterValidator(lambda events: list(dict.fromkeys(events))),
]
WebhookStatus = TypeAliasType(
    "WebhookStatus",
    Annotated[
        Literal["active", "disabled"],
        Field(
            description="A `disabled` webhook gets no messages; its pending ones stay, for three days in all."
        ),
    ],
)
WebhookDisabledReason = TypeAliasType(
    "WebhookDisabledReason",
    Annotated[
        Literal["manual", "gone"],
        Field(
            description="`manual`: disabled by a caller; `gone`: its endpoint answered 410, which asks never to be "
            "called again."
        ),
    ],
)
WebhookDeliveryState = TypeAliasType(
    "WebhookDeliveryState",
    Annotated[
        Literal["pending", "delivered", "failed"],
        Field(
            description="`pending`: waits for its first or next attempt; `failed`: not retried automatically, "
            "since three days have passed, or its endpoint is gone."
        ),
    ],
)
WebhookDeliveryError = TypeAliasType(
    "WebhookDeliveryError",
    Annotated[
        Literal[
            "forbidden_url", "resolve", "connect", "tls", "timeout", "closed", "protocol", "busy", "redirect",
            "status", "gone", "decryption_failed",
        ],
        Field(
            description="Why the last attempt failed: the address may not be reached, the name has no "
                        "address, connection failed, the certificate is invalid, no response in time, the "
                        "connection ended, the response is not HTTP, too many connections, a redirect (none "
                        "is followed), a status outside 2xx, 410, or the signing secret is encrypted with a "
                        "key that is not configured."
        ),
    ],
)  # fmt: skip
WebhookMessageData = TypeAliasType(
    "WebhookMessageData",
    Annotated[
        dict[str, str],
        Field(
            description="The ids and times of the event, by name.",
            examples=[{"approval_id": "apr_01j5pnwz0085nssfkpw2aeyjd9"}],
        ),
    ],
)


class WebhookView(RowView):
    """A destination for messages of chosen types."""

    model_config = ConfigDict(extra="forbid", title="Webhook")

    id: WebhookId
    name: str = Field(description="Its display name.", examples=["approvals to chat"])
    description: str | None = Field(description="What it is for.", examples=["Asks #approvals."])
    url: str = Field(
        description="The URL that messages are sent to by POST.", examples=["https://hooks.example.com/gate"]
    )
    events: Events
    status: WebhookStatus
    disabled_reason: WebhookDisabledReason | None = Field(
        description="Why it was disabled; null while it is active."
    )
    failures: FailureCount
    failing_since: FailingSince
    held_until: HeldUntil
    delivered_at: datetime | None = Field(
        description="When a message was last delivered; written at most once a minute."
    )
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    revision: int


class WebhookSecretView(Revealed):
    """A webhook with its new signing secret, which is shown only once."""

    model_config = ConfigDict(extra="forbid", title="IssuedWebhookSecret")

    secret: str | None = Field(
        examples=["whsec_..."],
        description="The signing secret of its messages (Standard Webhooks). Store it at the receiver; it is "
        "never shown again. Null in the response to a repeat.",
        json_schema_extra={"format": "password"},
    )
    webhook: WebhookView


class WebhookCreate(Strict):
    """A new webhook."""

    model_config = example(
        {
            "name": "approvals to chat",
            "url": "https://hooks.example.com/gate",
            "events": ["approval.requested"],
        }
    )
    name: Name
    description: LongText | None = None
    url: Url = Field(
        description="An https URL, or http to an address in an allowed network. It must not contain a secret: "
        "callers who may read webhooks see it, and messages are signed."
    )
    events: Events


class WebhookUpdate(Patch):
    """The fields of a webhook that can change."""

    model_config = example({"status": "disabled"})
    name: Name = absent()
    description: LongText | None = Field(default=None, description="What it is for.")
    url: Url = absent("Pending messages are sent there too.")
    events: Events = absent()
    status: WebhookStatus = absent()


WebhookOrder = TypeAliasType(
    "WebhookOrder", Annotated[Literal["-created_at", "created_at", "-name", "name"], ORDER]
)


class WebhookQuery(ListQuery):
    """Filters of the list of webhooks; each can be repeated, and then any of its values matches."""

    status: list[WebhookStatus] = Field(default_factory=list)
    event: list[WebhookEvent] = Field(
        default_factory=list, description="Only webhooks that receive this event type."
    )
    failing: bool = Field(default=False, description="Only those whose last attempt failed.")
    q: ShortText | None = Field(default=None, description="Text in the name.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too; needs the permission audit.read."
    )
    sort: WebhookOrder = Field(default="-created_at", description="The sort order of the list.")


class WebhookRotate(Strict):
    """How long earlier secrets also sign messages."""

    model_config = example({"overlap_s": 86400})
    overlap_s: StrictInt = Field(
        default=0,
        ge=0,
        le=MAX_OVERLAP_S,
        description="For how many seconds the old secrets also sign messages.",
    )


class DeliveryView(Strict):
    """A message to a webhook, and the state of its delivery."""

    model_config = ConfigDict(extra="forbid", title="WebhookDelivery")

    id: DeliveryId = Field(description="The message's id: `webhook-id` in each attempt.")
    webhook_id: WebhookId
    type: str = Field(description="The event type.", examples=["approval.requested"])
    data: WebhookMessageData
    state: WebhookDeliveryState
    attempts: int = Field(description="Number of attempts since it was created or last retried.")
    attempted_at: datetime | None = Field(description="When the last attempt began.")
    next_attempt_at: datetime | None = Field(description="When it is tried next; null unless pending.")
    delivered_at: datetime | None = Field(description="When it was delivered.")
    status_code: int | None = Field(
        description="The last status code of the endpoint, if any.", examples=[204]
    )
    error: WebhookDeliveryError | None = Field(
        description="Why the last attempt failed; null when it did not."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: WebhookDelivery) -> "DeliveryView":
        """Build the view of a delivery."""
        next_attempt = row.due_at if row.state == "pending" else None
        fields = row.model_dump(exclude={"due_at", "give_up_at", "lease"})
        return cls.model_validate(fields | {"next_attempt_at": next_attempt})


class DeliveryQuery(ListQuery):
    """Filters of the list of deliveries; each can be repeated, and then any of its values matches."""

    state: list[WebhookDeliveryState] = Field(default_factory=list)
    type: list[ShortText] = Field(default_factory=list, description="Only messages of this event type.")
