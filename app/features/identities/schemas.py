"""Request and response models of identities."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints
from typing_extensions import TypeAliasType

from app.http.pagination import ORDER, ListQuery
from app.http.schemas import (
    CleanText,
    Name,
    Patch,
    RowView,
    ShortText,
    Source,
    Strict,
    UserName,
    WantedUserName,
    absent,
    example,
)
from app.http.selectors import MAX_LABELS, LabelKey, LabelValue
from app.lib.ids import (
    IdentityId,
    IdentityProviderId,
)
from app.models.identities import Identity, IdentityLink

IdentityKind = TypeAliasType(
    "IdentityKind",
    Annotated[Literal["person", "agent"], Field(description="An `agent` has a person as its owner.")],
)
IdentityStatusName = TypeAliasType(
    "IdentityStatusName",
    Annotated[
        Literal["active", "suspended", "offboarded"],
        Field(
            description="`suspended` stops its calls until it is reinstated; `offboarded` has ended all its access."
        ),
    ],
)
IdentityLinkKind = TypeAliasType(
    "IdentityLinkKind",
    Annotated[
        Literal["oidc", "scim", "signal"], Field(description="The provider's protocol that uses the link.")
    ],
)
Email = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s]+@[^@\s]+$"), CleanText]
ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=255), CleanText]
MAX_ATTRIBUTES = MAX_LABELS
IdentityAttributes = TypeAliasType(
    "IdentityAttributes",
    Annotated[
        dict[LabelKey, LabelValue],
        Field(max_length=MAX_ATTRIBUTES),
        Field(
            description="Attributes of an identity that policies can read, by name.",
            examples=[{"department": "finance"}],
        ),
    ],
)
IdentityAttributeChanges = TypeAliasType(
    "IdentityAttributeChanges",
    Annotated[
        dict[LabelKey, LabelValue | None],
        Field(max_length=MAX_ATTRIBUTES),
        Field(
            description="Attributes to set by name; null removes an attribute.",
            examples=[{"department": "finance", "site": None}],
        ),
    ],
)


MAX_LINKS = 20


class IdentityLinkInput(Strict):
    """A provider's link to a person. With a link of the kind `oidc` the person can sign in."""

    model_config = example(
        {"provider_id": "idp_01jdpnwz00e008000000000000", "kind": "oidc", "value": "8f0c2a7e"}
    )
    provider_id: IdentityProviderId
    kind: IdentityLinkKind = Field(
        description="`oidc`: the value of the provider's `link_claim`; `scim`: its user name or id of the person."
    )
    value: ExternalId = Field(
        description="Compared exactly and unique. Never an email address, which can be reassigned.",
        examples=["8f0c2a7e"],
    )


IdentityLinks = Annotated[list[IdentityLinkInput], Field(max_length=MAX_LINKS)]


class IdentityCreate(Strict):
    """A person, or an agent with its owner."""

    model_config = example(
        {"kind": "person", "user_name": "ada", "display_name": "Ada", "email": "ada@example.com"},
        {"kind": "agent", "user_name": "triage-bot", "owner_id": "idn_01jdpnwz00e008000000000000"},
    )
    kind: IdentityKind
    user_name: UserName = Field(
        description="Unique among identities that are not offboarded, ignoring case. Stored in NFKC, without "
        "outer blanks and zero-width characters; bidirectional controls are refused."
    )
    display_name: Name | None = None
    email: Email | None = None
    owner_id: IdentityId | None = Field(
        default=None, description="The owner, an active person: required for an agent, none for a person."
    )
    external_id: ExternalId | None = None
    attributes: IdentityAttributes = Field(default_factory=dict)
    links: IdentityLinks = Field(default_factory=list, description="The provider links of the person.")


class IdentityUpdate(Patch):
    """The fields of an identity that can change; its kind cannot."""

    model_config = example({"display_name": "Ada L.", "email": None})
    user_name: UserName = absent()
    display_name: Name | None = None
    email: Email | None = None
    owner_id: IdentityId = absent("Transfers an agent to another active person.")
    external_id: ExternalId | None = None
    attributes: IdentityAttributeChanges = absent()
    links: IdentityLinks = absent("The whole list; needs the permission `grants.write`.")


IdentityOrder = TypeAliasType(
    "IdentityOrder", Annotated[Literal["-created_at", "created_at", "-user_name", "user_name"], ORDER]
)


class OwnAgentQuery(ListQuery):
    """Filters of the list of your own agents."""

    status: list[IdentityStatusName] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")


class IdentityQuery(ListQuery):
    """Filters of the list of identities; each can be repeated, and then any of its values matches."""

    kind: list[IdentityKind] = Field(default_factory=list)
    status: list[IdentityStatusName] = Field(default_factory=list)
    source: list[Source] = Field(default_factory=list)
    owner_id: list[IdentityId] = Field(default_factory=list)
    external_id: list[ShortText] = Field(default_factory=list)
    user_name: list[WantedUserName] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")
    sort: IdentityOrder = Field(default="-created_at", description="The sort order of the list.")


class IdentityLinkView(RowView):
    """A provider's link to this identity."""

    provider_id: IdentityProviderId | None = Field(description="The provider; null for the configured one.")
    kind: IdentityLinkKind
    value: str = Field(description="The provider's value for the identity.", examples=["8f0c2a7e"])


class IdentityView(Strict):
    """A person or agent that can hold tokens."""

    model_config = example(
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
    )
    id: IdentityId
    kind: IdentityKind
    user_name: str
    display_name: str | None = Field(description="Its display name.")
    email: str | None = Field(description="Its email address.")
    owner_id: IdentityId | None
    links: list[IdentityLinkView] = Field(description="Its provider links.")
    external_id: str | None = Field(
        description="Its id in the system that it comes from, such as an HR system."
    )
    attributes: IdentityAttributes
    provider_id: IdentityProviderId | None = Field(description="The provider that manages it.")
    source: Source
    status: IdentityStatusName
    offboarded_at: datetime | None = Field(description="When it was offboarded.")
    erased_at: datetime | None = Field(
        description="When its personal data was erased; from then on its user name is its id."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Identity, links: Sequence[IdentityLink] = ()) -> Self:
        fields = {name: getattr(row, name) for name in cls.model_fields if name != "links"}
        # The links of an erased identity are digests, of no use to a reader.
        shown = links if row.erased_at is None else ()
        return cls(**fields, links=[IdentityLinkView.from_row(link) for link in shown])
