"""Request and answer models of audit sinks."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, StringConstraints
from typing_extensions import TypeAliasType

from app.http.pagination import ListQuery
from app.http.schemas import CleanText, LongText, Name, Patch, ShortText, Strict, absent
from app.lib.ids import AuditSinkId
from app.models.audit_sinks import AuditSink
from app.outbound.credential_headers import HEADER_NAME, check_free, header_value, visible_ascii

MOST_COUNTED = 10_000
Url = Annotated[str, StringConstraints(min_length=1, max_length=2000), CleanText]
AuditSinkFormat = TypeAliasType(
    "AuditSinkFormat",
    Annotated[
        Literal["ndjson", "json", "ocsf", "splunk_hec"],
        Field(
            description="How a batch is written. `ndjson`: one event a line; `json`: an array; `ocsf`: one event a "
            "line, as OCSF 1.9 says it; `splunk_hec`: as the HTTP Event Collector of Splunk takes it."
        ),
    ],
)
AuditSinkCompression = TypeAliasType(
    "AuditSinkCompression",
    Annotated[
        Literal["none", "gzip"],
        Field(
            description="How the body of a batch is encoded. `gzip`: with `Content-Encoding: gzip`, for receivers that "
            "take it."
        ),
    ],
)
AuditSinkStatus = TypeAliasType(
    "AuditSinkStatus",
    Annotated[
        Literal["active", "disabled"],
        Field(
            description="A `disabled` sink is given nothing, and goes on where it was when it is active again."
        ),
    ],
)
AuditSinkStart = TypeAliasType(
    "AuditSinkStart",
    Annotated[
        Literal["now", "beginning"],
        Field(
            description="`now`: with what is recorded from now on; `beginning`: with all that is on record."
        ),
    ],
)
AuditSinkCredentialKind = TypeAliasType(
    "AuditSinkCredentialKind",
    Annotated[
        Literal["none", "bearer", "header"], Field(description="What batches carry to prove whose they are.")
    ],
)
AuditSinkError = TypeAliasType(
    "AuditSinkError",
    Annotated[
        Literal[
            "forbidden_url", "resolve", "connect", "tls", "timeout", "closed", "protocol", "busy", "redirect",
            "status", "too_large", "decryption_failed", "internal",
        ],
        Field(
            description="Why the last attempt failed: the address may not be reached, the name has no address, "
            "connection failed, the certificate is invalid, no answer in time, the connection ended, the answer is no "
            "HTTP, too many connections, a redirect (none is followed), a status outside 2xx, 413 for a single "
            "event, the credential is sealed with a key that is not configured, or a fault of the service's own, which "
            "its log tells of."
        ),
    ],
)  # fmt: skip


class NoSinkCredential(Strict):
    """Batches carry no credential."""

    model_config = ConfigDict(extra="forbid", title="NoAuditSinkCredential")

    kind: Literal["none"]

    def contents(self) -> list[str] | None:
        """What is sealed: nothing."""
        return None


class BearerSinkCredential(Strict):
    """``Authorization: Bearer <token>``."""

    model_config = ConfigDict(
        extra="forbid",
        title="BearerAuditSinkCredential",
        json_schema_extra={"examples": [{"kind": "bearer", "token": "the-receiver's-own-token"}]},
    )
    kind: Literal["bearer"]
    token: Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(visible_ascii)] = Field(
        description="The receiver's own token. It is stored encrypted and never shown."
    )

    def contents(self) -> list[str] | None:
        """What is sealed: the header to send."""
        return ["authorization", f"Bearer {self.token.get_secret_value()}"]


class HeaderSinkCredential(Strict):
    """A header of the receiver's choice, as ``Authorization: Splunk <token>``."""

    model_config = ConfigDict(
        extra="forbid",
        title="HeaderAuditSinkCredential",
        json_schema_extra={"examples": [{"kind": "header", "name": "Authorization", "value": "Splunk ..."}]},
    )
    kind: Literal["header"]
    name: Annotated[
        str,
        StringConstraints(pattern=HEADER_NAME),
        AfterValidator(lambda name: check_free(name, "scopegate-", "user-agent")),
    ] = Field(description="The header's name.")
    value: Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(header_value)] = Field(
        description="The header's value. It is stored encrypted and never shown."
    )

    def contents(self) -> list[str] | None:
        """What is sealed: the header to send; its name is in lower case."""
        return [self.name.lower(), self.value.get_secret_value()]


AuditSinkCredential = TypeAliasType(
    "AuditSinkCredential",
    Annotated[
        NoSinkCredential | BearerSinkCredential | HeaderSinkCredential,
        Field(
            discriminator="kind",
            description="What batches carry to prove whose they are. It is stored encrypted, sent to the origin of "
            "the URL alone, and never shown.",
        ),
    ],
)


class AuditSinkLag(Strict):
    """What a sink has not been given yet."""

    events: int = Field(description=f"How many events; at most {MOST_COUNTED:,} are counted.", examples=[12])
    since: datetime | None = Field(description="When the first of them happened; null when there are none.")


class AuditSinkView(Strict):
    """Where the audit trail goes, and how its endpoint fares."""

    model_config = ConfigDict(extra="forbid", title="AuditSink")

    id: AuditSinkId
    name: str = Field(description="What people call it.", examples=["trail to the SIEM"])
    description: str | None = Field(description="What it is for.", examples=["Index main, kept for a year."])
    url: str = Field(description="Where batches go, by POST.", examples=["https://siem.example.com/ingest"])
    format: AuditSinkFormat
    compression: AuditSinkCompression
    credential_kind: AuditSinkCredentialKind
    status: AuditSinkStatus
    lag: AuditSinkLag | None = Field(description="What it has not been given yet; null when it has ended.")
    failures: int = Field(description="How many attempts failed since the last that went well.")
    failing_since: datetime | None = Field(description="When the first of these was; null when all is well.")
    held_until: datetime | None = Field(
        description="Nothing is sent before this: its endpoint fails, or asked for a pause."
    )
    status_code: int | None = Field(description="What the endpoint answered last, if it did.", examples=[200])
    error: AuditSinkError | None = Field(description="Why the last attempt failed; null when it did not.")
    delivered_at: datetime | None = Field(description="When it last took a batch.")
    missed_at: datetime | None = Field(
        description="When the retention last dropped events that it had not been given; null when it never did."
    )
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    revision: int

    @classmethod
    def from_row(cls, row: AuditSink, lag: AuditSinkLag | None) -> "AuditSinkView":
        """The sink as the API shows it."""
        held = {"held_until": row.due_at if row.failures else None, "lag": lag}
        return cls.model_validate(row.model_dump(include=set(cls.model_fields)) | held)


class AuditSinkCreate(Strict):
    """A new sink."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "trail to the SIEM",
                    "url": "https://siem.example.com/ingest",
                    "format": "ndjson",
                    "credential": {"kind": "bearer", "token": "the-receiver's-own-token"},
                }
            ]
        }
    )
    name: Name
    description: LongText | None = None
    url: Url = Field(
        description="Over https, or http to an address of an allowed network. Put no secret into it: callers who may "
        "read sinks sees it."
    )
    format: AuditSinkFormat = "ndjson"
    compression: AuditSinkCompression = "none"
    credential: AuditSinkCredential = Field(default_factory=lambda: NoSinkCredential(kind="none"))
    start: AuditSinkStart = "now"


class AuditSinkUpdate(Patch):
    """What may change of a sink."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "disabled"}]})
    name: Name = absent()
    description: LongText | None = Field(default=None, description="What it is for.")
    url: Url = absent("On another origin, the credential has to be given again with it.")
    format: AuditSinkFormat = absent()
    compression: AuditSinkCompression = absent()
    credential: AuditSinkCredential = absent("It is replaced as a whole.")
    status: AuditSinkStatus = absent()


AuditSinkOrder = TypeAliasType(
    "AuditSinkOrder",
    Annotated[
        Literal["-created_at", "created_at", "-name", "name"],
        Field(
            description="What sinks are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class AuditSinkQuery(ListQuery):
    """Filters of the list of sinks; each may be repeated, and then any of its values matches."""

    status: list[AuditSinkStatus] = Field(default_factory=list)
    failing: bool = Field(default=False, description="Only those whose last attempt failed.")
    q: ShortText | None = Field(default=None, description="Text in the name.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too; needs the permission audit.read."
    )
    sort: AuditSinkOrder = Field(default="-created_at", description="What the list is sorted by.")
