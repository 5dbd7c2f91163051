"""Request and response models of audit sinks."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.features.servers.schemas import BearerCredential, BearerToken, HeaderCredential, NoCredential
from app.features.webhooks.schemas import FailingSince, FailureCount, HeldUntil, Url
from app.http.pagination import ORDER, ListQuery
from app.http.schemas import LongText, Name, Patch, ShortText, Strict, absent, example
from app.lib.ids import AuditSinkId
from app.models.audit import AuditSink
from app.outbound.client_tokens import HEADER_NAME, check_free

MAX_LAG_COUNT = 10_000
AuditSinkFormat = TypeAliasType(
    "AuditSinkFormat",
    Annotated[
        Literal["ndjson", "json", "ocsf", "splunk_hec"],
        Field(
            description="The format of a batch. `ndjson`: one event per line; `json`: an array; `ocsf`: one "
            "OCSF 1.9 event per line; `splunk_hec`: for the HTTP Event Collector of Splunk."
        ),
    ],
)
AuditSinkCompression = TypeAliasType(
    "AuditSinkCompression",
    Annotated[
        Literal["none", "gzip"],
        Field(
            description="The encoding of the body of a batch. `gzip`: with `Content-Encoding: gzip`, for "
            "receivers that accept it."
        ),
    ],
)
AuditSinkStatus = TypeAliasType(
    "AuditSinkStatus",
    Annotated[
        Literal["active", "disabled"],
        Field(
            description="A `disabled` sink receives nothing, and continues where it was when it is active again."
        ),
    ],
)
AuditSinkStart = TypeAliasType(
    "AuditSinkStart",
    Annotated[
        Literal["now", "beginning"],
        Field(description="`now`: events from now on; `beginning`: the whole log."),
    ],
)
AuditSinkCredentialKind = TypeAliasType(
    "AuditSinkCredentialKind",
    Annotated[Literal["none", "bearer", "header"], Field(description="The authentication of batches.")],
)
AuditSinkError = TypeAliasType(
    "AuditSinkError",
    Annotated[
        Literal[
            "forbidden_url", "resolve", "connect", "tls", "timeout", "closed", "protocol", "busy", "redirect",
            "status", "too_large", "decryption_failed", "internal",
        ],
        Field(
            description="Why the last attempt failed: the address may not be reached, the name has no "
                        "address, connection failed, the certificate is invalid, no response in time, the "
                        "connection ended, the response is not HTTP, too many connections, a redirect (none "
                        "is followed), a status outside 2xx, 413 for a single event, the credential is "
                        "encrypted with a key that is not configured, or an internal error, which is in the "
                        "service's log."
        ),
    ],
)  # fmt: skip


class NoSinkCredential(NoCredential):
    """Batches carry no credential."""

    model_config = ConfigDict(extra="forbid", title="NoAuditSinkCredential")


class BearerSinkCredential(BearerCredential):
    """``Authorization: Bearer <token>``."""

    model_config = example(
        {"kind": "bearer", "token": "the-receiver's-own-token"}, title="BearerAuditSinkCredential"
    )
    token: BearerToken = Field(
        description="The receiver's own token. It is stored encrypted and never shown."
    )


class HeaderSinkCredential(HeaderCredential):
    """A header of the receiver's choice, as ``Authorization: Splunk <token>``."""

    model_config = example(
        {"kind": "header", "name": "Authorization", "value": "Splunk ..."}, title="HeaderAuditSinkCredential"
    )
    name: Annotated[
        str,
        StringConstraints(pattern=HEADER_NAME),
        AfterValidator(lambda name: check_free(name, "scopegate-", "user-agent")),
    ] = Field(description="The header's name.")


AuditSinkCredential = TypeAliasType(
    "AuditSinkCredential",
    Annotated[
        NoSinkCredential | BearerSinkCredential | HeaderSinkCredential,
        Field(
            discriminator="kind",
            description="The authentication of batches. It is stored encrypted, sent only to the origin of "
            "the URL, and never shown.",
        ),
    ],
)


class AuditSinkLag(Strict):
    """Events that a sink has not received yet."""

    events: int = Field(description=f"Number of events, counted up to {MAX_LAG_COUNT:,}.", examples=[12])
    since: datetime | None = Field(description="Time of the first of them; null when there are none.")


class AuditSinkView(Strict):
    """A destination of the audit log, with the state of its delivery."""

    model_config = ConfigDict(extra="forbid", title="AuditSink")

    id: AuditSinkId
    name: str = Field(description="Its display name.", examples=["audit log to the SIEM"])
    description: str | None = Field(description="What it is for.", examples=["Index main, kept for a year."])
    url: str = Field(
        description="The URL that batches are sent to by POST.", examples=["https://siem.example.com/ingest"]
    )
    format: AuditSinkFormat
    compression: AuditSinkCompression
    credential_kind: AuditSinkCredentialKind
    status: AuditSinkStatus
    lag: AuditSinkLag | None = Field(description="What it has not received yet; null when it has ended.")
    failures: FailureCount
    failing_since: FailingSince
    held_until: HeldUntil
    status_code: int | None = Field(
        description="The last status code of the endpoint, if any.", examples=[200]
    )
    error: AuditSinkError | None = Field(description="Why the last attempt failed; null when it did not.")
    delivered_at: datetime | None = Field(description="When it last accepted a batch.")
    missed_at: datetime | None = Field(
        description="When retention last dropped events that it had not received; null: never."
    )
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    revision: int

    @classmethod
    def from_row(cls, row: AuditSink, lag: AuditSinkLag | None) -> "AuditSinkView":
        """Build the view of a sink."""
        delivery = {"held_until": row.due_at if row.failures else None, "lag": lag}
        return cls.model_validate(row.model_dump(include=set(cls.model_fields)) | delivery)


class AuditSinkCreate(Strict):
    """A new sink."""

    model_config = example(
        {
            "name": "audit log to the SIEM",
            "url": "https://siem.example.com/ingest",
            "format": "ndjson",
            "credential": {"kind": "bearer", "token": "the-receiver's-own-token"},
        }
    )
    name: Name
    description: LongText | None = None
    url: Url = Field(
        description="An https URL, or http to an address in an allowed network. It must not contain a secret: "
        "callers who may read sinks see it."
    )
    format: AuditSinkFormat = "ndjson"
    compression: AuditSinkCompression = "none"
    credential: AuditSinkCredential = Field(default_factory=lambda: NoSinkCredential(kind="none"))
    start: AuditSinkStart = "now"


class AuditSinkUpdate(Patch):
    """The fields of a sink that can change."""

    model_config = example({"status": "disabled"})
    name: Name = absent()
    description: LongText | None = Field(default=None, description="What it is for.")
    url: Url = absent("With a new origin, the credential must be sent again.")
    format: AuditSinkFormat = absent()
    compression: AuditSinkCompression = absent()
    credential: AuditSinkCredential = absent("Replaces the whole credential.")
    status: AuditSinkStatus = absent()


AuditSinkOrder = TypeAliasType(
    "AuditSinkOrder", Annotated[Literal["-created_at", "created_at", "-name", "name"], ORDER]
)


class AuditSinkQuery(ListQuery):
    """Filters of the list of sinks; each can be repeated, and then any of its values matches."""

    status: list[AuditSinkStatus] = Field(default_factory=list)
    failing: bool = Field(default=False, description="Only those whose last attempt failed.")
    q: ShortText | None = Field(default=None, description="Text in the name.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too; needs the permission audit.read."
    )
    sort: AuditSinkOrder = Field(default="-created_at", description="The sort order of the list.")
