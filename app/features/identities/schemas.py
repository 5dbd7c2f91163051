"""Request and answer models of identities."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.http.pagination import ListQuery
from app.http.schemas import (
    CleanText,
    Name,
    Patch,
    ShortText,
    Source,
    Strict,
    UserName,
    WantedUserName,
    absent,
)
from app.http.selectors import MOST_LABELS, LabelKey, LabelValue
from app.lib.ids import IdentityId, IdentityProviderId
from app.models.identities import Identity, IdentityLink

IdentityKind = TypeAliasType(
    "IdentityKind",
    Annotated[Literal["person", "agent"], Field(description="An `agent` has a person who answers for it.")],
)
IdentityStatusName = TypeAliasType(
    "IdentityStatusName",
    Annotated[
        Literal["active", "suspended", "offboarded"],
        Field(
            description="`suspended` stops its calls for a while; `offboarded` has ended all that it could do."
        ),
    ],
)
IdentityLinkKind = TypeAliasType(
    "IdentityLinkKind",
    Annotated[
        Literal["oidc", "scim", "signal"],
        Field(description="Which of the provider's protocols uses the link."),
    ],
)
Email = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s]+@[^@\s]+$"), CleanText]
ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=255), CleanText]
MOST_ATTRIBUTES = MOST_LABELS
IdentityAttributes = TypeAliasType(
    "IdentityAttributes",
    Annotated[
        dict[LabelKey, LabelValue],
        Field(max_length=MOST_ATTRIBUTES),
        Field(
            description="What policies can read of an identity beside its groups, by name.",
            examples=[{"department": "finance"}],
        ),
    ],
)
IdentityAttributeChanges = TypeAliasType(
    "IdentityAttributeChanges",
    Annotated[
        dict[LabelKey, LabelValue | None],
        Field(max_length=MOST_ATTRIBUTES),
        Field(
            description="Attributes to set by name; a null takes the attribute away.",
            examples=[{"department": "finance", "site": None}],
        ),
    ],
)


MAX_LINKS = 20


class IdentityLinkInput(Strict):
    """How a provider knows a person. A link of the kind `oidc` lets the person sign in there."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"provider_id": "idp_01jdpnwz00e008000000000000", "kind": "oidc", "value": "8f0c2a7e"}
            ]
        },
    )
    provider_id: IdentityProviderId
    kind: IdentityLinkKind = Field(
        description="`oidc`: the value of the provider's `link_claim`; else what it calls the person there."
    )
    value: ExternalId = Field(
        description="Compared exactly; no two identities have the same. Never an email address: it changes hands.",
        examples=["8f0c2a7e"],
    )


IdentityLinks = Annotated[list[IdentityLinkInput], Field(max_length=MAX_LINKS)]


class IdentityCreate(Strict):
    """A person, or an agent with the person who answers for it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"kind": "person", "user_name": "ada", "display_name": "Ada", "email": "ada@example.com"},
                {"kind": "agent", "user_name": "triage-bot", "owner_id": "idn_01jdpnwz00e008000000000000"},
            ]
        },
    )
    kind: IdentityKind
    user_name: UserName = Field(
        description="Unique among the identities that are not offboarded, whatever its case. Stored in NFKC, without "
        "outer blanks and zero-width characters; bidirectional controls are refused."
    )
    display_name: Name | None = None
    email: Email | None = None
    owner_id: IdentityId | None = Field(
        default=None,
        description="The active person who is responsible: required for an agent, none for a person.",
    )
    external_id: ExternalId | None = None
    attributes: IdentityAttributes = Field(default_factory=dict)
    links: IdentityLinks = Field(default_factory=list, description="How providers know the person.")


class IdentityUpdate(Patch):
    """What may change of an identity; its kind may not."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"display_name": "Ada L.", "email": None}]}
    )
    user_name: UserName = absent()
    display_name: Name | None = None
    email: Email | None = None
    owner_id: IdentityId = absent("Hands an agent to another active person.")
    external_id: ExternalId | None = None
    attributes: IdentityAttributeChanges = absent()
    links: IdentityLinks = absent("The whole list; needs the permission `grants.write`.")


IdentityOrder = TypeAliasType(
    "IdentityOrder",
    Annotated[
        Literal["-created_at", "created_at", "-user_name", "user_name"],
        Field(
            description="What identities are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class OwnAgentQuery(ListQuery):
    """Filters of the list of one's own agents."""

    status: list[IdentityStatusName] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")


class IdentityQuery(ListQuery):
    """Filters of the list of identities; each may be repeated, and then any of its values matches."""

    kind: list[IdentityKind] = Field(default_factory=list)
    status: list[IdentityStatusName] = Field(default_factory=list)
    source: list[Source] = Field(default_factory=list)
    owner_id: list[IdentityId] = Field(default_factory=list)
    external_id: list[ShortText] = Field(default_factory=list)
    user_name: list[WantedUserName] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")
    sort: IdentityOrder = Field(default="-created_at", description="What the list is sorted by.")


class IdentityLinkView(BaseModel):
    """How one provider knows this identity."""

    model_config = ConfigDict(extra="forbid")
    provider_id: IdentityProviderId | None = Field(
        description="The provider; null for the one of the configuration."
    )
    kind: IdentityLinkKind
    value: str = Field(description="What the provider calls the identity.", examples=["8f0c2a7e"])


class IdentityView(BaseModel):
    """A person or agent that can hold tokens."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "id": "idn_01jdpnwz00e008000000000000",
                    "kind": "person",
                    "user_name": "ada",
                    "display_name": "Ada",
                    "email": "ada@example.com",
                    "owner_id": None,
                    "links": [],
                    "external_id": None,
                    "attributes": {"department": "finance"},
                    "provider_id": None,
                    "source": "manual",
                    "status": "active",
                    "offboarded_at": None,
                    "erased_at": None,
                    "created_at": "2026-01-05T09:00:00Z",
                    "updated_at": "2026-01-05T09:00:00Z",
                    "revision": 1,
                }
            ]
        },
    )
    id: IdentityId
    kind: IdentityKind
    user_name: str
    display_name: str | None = Field(description="What people call it.")
    email: str | None = Field(description="Its email address.")
    owner_id: IdentityId | None
    links: list[IdentityLinkView] = Field(description="How providers know it.")
    external_id: str | None = Field(
        description="What the system that it came from calls it, an HR system for example."
    )
    attributes: IdentityAttributes
    provider_id: IdentityProviderId | None = Field(description="The provider that keeps it.")
    source: Source
    status: IdentityStatusName
    offboarded_at: datetime | None = Field(description="When it was offboarded.")
    erased_at: datetime | None = Field(
        description="When its personal data was erased; its user name is its id since."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Identity, links: Sequence[IdentityLink] = ()) -> Self:
        """The answer for a stored identity and the links that were read with it."""
        fields = {name: getattr(row, name) for name in cls.model_fields if name != "links"}
        # Of an erased one they are digests, which say nothing to anybody.
        shown = links if row.erased_at is None else ()
        return cls(
            **fields, links=[IdentityLinkView.model_validate(link, from_attributes=True) for link in shown]
        )
