"""Request and response models of invitations."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from app.features.identities.schemas import Email, ExternalId, IdentityAttributes
from app.http.idempotency import Revealed
from app.http.pagination import ListQuery
from app.http.schemas import Name, Strict, Time, UserName, example
from app.lib.ids import IdentityId, IdentityProviderId, InvitationId
from app.models.identities import Invitation

PAGE = "/invitations"
"""The path of an invitation link, below the public URL."""

InvitationStatus = TypeAliasType(
    "InvitationStatus",
    Annotated[
        Literal["pending", "claimed", "confirmed", "expired", "revoked"],
        Field(
            description="`claimed`: an account has signed in, and an administrator must confirm that it is "
            "the person's. `confirmed`: the account is linked to the identity."
        ),
    ],
)


class InvitationClaim(Strict):
    """The account that has claimed an invitation, as its provider describes it."""

    subject: str = Field(description="Its value of the provider's `link_claim`.", examples=["8f0c2a7e"])
    email: str | None = Field(description="Its email address, if the provider names one.")
    email_verified: bool = Field(description="Whether the provider says that the address is verified.")
    claimed_at: datetime = Field(description="When it signed in.")


class InvitationView(Strict):
    """An invitation of a person to sign in with one account of one provider, once."""

    id: InvitationId
    identity_id: IdentityId = Field(description="The identity that the account is linked to.")
    provider_id: IdentityProviderId = Field(description="The provider that the person signs in at.")
    email: str | None = Field(description="The address of the account that the invitation is for.")
    subject: str | None = Field(description="The value of the provider's `link_claim` that it is for.")
    status: InvitationStatus
    expires_at: datetime = Field(description="When it expires, claimed or not.")
    claim: InvitationClaim | None = Field(description="The account that has claimed it.")
    confirmed_at: datetime | None = Field(description="When the account was linked.")
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Invitation, status: str) -> "InvitationView":
        claim = None
        if row.claimed_link is not None and row.claimed_at is not None:
            claim = InvitationClaim(
                subject=row.claimed_link,
                email=row.claimed_email,
                email_verified=bool(row.claimed_email_verified),
                claimed_at=row.claimed_at,
            )
        fields = {name: getattr(row, name) for name in cls.model_fields if name not in {"claim", "status"}}
        return cls.model_validate({**fields, "status": status, "claim": claim})


class InvitedPerson(Strict):
    """A new person to invite."""

    model_config = example({"user_name": "nora", "display_name": "Nora"})
    user_name: UserName = Field(description="The user name of the identity.")
    display_name: Name | None = Field(default=None, description="Their display name.")
    email: Email | None = Field(default=None, description="By default the address of the invitation.")
    external_id: ExternalId | None = Field(default=None, description="Their id in an HR system.")
    attributes: IdentityAttributes = Field(default_factory=dict)


class InvitationCreate(Strict):
    """An invitation of an existing or a new person, for an email address or a subject."""

    model_config = example(
        {
            "person": {"user_name": "nora", "display_name": "Nora"},
            "provider_id": "idp_01jdpnwz00e008000000000000",
            "email": "nora@example.com",
        }
    )
    identity_id: IdentityId | None = Field(
        default=None, description="An existing person; needs the permission `grants.write`. Or give `person`."
    )
    person: InvitedPerson | None = Field(default=None, description="A new person. Or give `identity_id`.")
    provider_id: IdentityProviderId = Field(description="The provider that the person signs in at.")
    email: Email | None = Field(default=None, description="The address of their account. Or give `subject`.")
    subject: ExternalId | None = Field(
        default=None,
        description="The value of the provider's `link_claim` of their account. Or give `email`.",
    )
    expires_at: Time | None = Field(
        default=None, description="At most 30 days ahead; in seven days by default."
    )


class IssuedInvitation(Revealed):
    """A new invitation with its link, which is shown only once."""

    invitation: InvitationView
    url: str | None = Field(
        description="The link to send to the person. Shown once; null in the response to a repeat.",
        json_schema_extra={"format": "password"},
    )


class InvitationQuery(ListQuery):
    """Filters of the list of invitations; each can be repeated, and then any of its values matches."""

    status: list[InvitationStatus] = Field(default_factory=list)
    identity_id: list[IdentityId] = Field(default_factory=list)
    provider_id: list[IdentityProviderId] = Field(default_factory=list)
