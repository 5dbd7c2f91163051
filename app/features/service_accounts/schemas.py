"""Request and response models of service accounts."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from app.http.authorization import Role
from app.http.idempotency import Revealed
from app.http.pagination import ORDER, ListQuery
from app.http.schemas import Name, Patch, RowView, ShortText, Strict, absent, example
from app.lib.ids import IdentityId, KeyId, ServiceAccountId

ServiceAccountStatus = TypeAliasType(
    "ServiceAccountStatus",
    Annotated[
        Literal["active", "disabled"],
        Field(description="A `disabled` account cannot sign in, and its bearers do not work."),
    ],
)


class ServiceAccountView(RowView):
    """A program that manages the control plane."""

    id: ServiceAccountId
    name: str = Field(description="Its display name.", examples=["deploy pipeline"])
    owner_id: IdentityId = Field(description="The identity that owns it.")
    owner_offboarded: bool = Field(
        description="Whether its owner was offboarded: it cannot act until it gets an active owner."
    )
    role: Role
    status: ServiceAccountStatus
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    revision: int


class ServiceAccountCreate(Strict):
    """A new service account, which needs a credential to act."""

    model_config = example(
        {"name": "deploy pipeline", "owner_id": "idn_01j5pnwz0085nssfkpw2aeyjd9", "role": "issuer"}
    )
    name: Name
    owner_id: IdentityId
    role: Role


class ServiceAccountUpdate(Patch):
    """The fields of a service account that can change."""

    model_config = example({"status": "disabled"})
    name: Name = absent()
    owner_id: IdentityId = absent("An active identity; a new owner makes a flagged account work again.")
    role: Role = absent()
    status: ServiceAccountStatus = absent()


ServiceAccountOrder = TypeAliasType(
    "ServiceAccountOrder", Annotated[Literal["-created_at", "created_at", "-name", "name"], ORDER]
)


class ServiceAccountQuery(ListQuery):
    """Filters of the list of service accounts; each can be repeated, and then any of its values matches."""

    status: list[ServiceAccountStatus] = Field(default_factory=list)
    role: list[Role] = Field(default_factory=list)
    owner_id: list[IdentityId] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in the name.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too; needs the permission audit.read."
    )
    sort: ServiceAccountOrder = Field(default="-created_at", description="The sort order of the list.")


class CredentialView(RowView):
    """A client secret's id and times; the secret itself is never shown again."""

    model_config = ConfigDict(title="ServiceAccountCredential")
    id: KeyId
    created_at: datetime
    revoked_at: datetime | None = Field(description="When it was revoked; null while it works.")


class IssuedCredential(Revealed):
    """A new credential, with its secret, which is shown only once."""

    client_id: ServiceAccountId = Field(description="The service account's id.")
    client_secret: str | None = Field(
        examples=["sgc_..."],
        description="Shown once; exchange it at POST /oauth/token. Null in the response to a repeat.",
        json_schema_extra={"format": "password"},
    )
    credential: CredentialView
