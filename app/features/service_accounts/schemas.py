"""Request and answer models of service accounts."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from app.http.authorization import Role
from app.http.idempotency import Revealed
from app.http.pagination import ListQuery
from app.http.schemas import Name, Patch, ShortText, Strict, absent
from app.lib.ids import IdentityId, KeyId, ServiceAccountId
from app.models.service_accounts import ServiceAccount, ServiceAccountCredential

ServiceAccountStatus = TypeAliasType(
    "ServiceAccountStatus",
    Annotated[
        Literal["active", "disabled"],
        Field(description="A `disabled` account cannot sign in, and its bearers do not work."),
    ],
)


class ServiceAccountView(Strict):
    """A program that manages the control plane."""

    id: ServiceAccountId
    name: str = Field(description="What people call it.", examples=["deploy pipeline"])
    owner_id: IdentityId = Field(description="The identity who answers for it.")
    owner_offboarded: bool = Field(
        description="Its owner was offboarded: it is out of service until it is given an active owner."
    )
    role: Role
    status: ServiceAccountStatus
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    revision: int

    @classmethod
    def from_row(cls, row: ServiceAccount) -> "ServiceAccountView":
        """The account as the API shows it."""
        return cls.model_validate(row.model_dump())


class ServiceAccountCreate(Strict):
    """A new service account. It can do nothing until it has a credential."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "deploy pipeline", "owner_id": "idn_01j5pnwz0085nssfkpw2aeyjd9", "role": "issuer"}
            ]
        }
    )
    name: Name
    owner_id: IdentityId
    role: Role


class ServiceAccountUpdate(Patch):
    """What may change of a service account."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "disabled"}]})
    name: Name = absent()
    owner_id: IdentityId = absent("An active identity; giving one brings a flagged account back.")
    role: Role = absent()
    status: ServiceAccountStatus = absent()


ServiceAccountOrder = TypeAliasType(
    "ServiceAccountOrder",
    Annotated[
        Literal["-created_at", "created_at", "-name", "name"],
        Field(
            description="What service accounts are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class ServiceAccountQuery(ListQuery):
    """Filters of the list of service accounts; each may be repeated, and then any of its values matches."""

    status: list[ServiceAccountStatus] = Field(default_factory=list)
    role: list[Role] = Field(default_factory=list)
    owner_id: list[IdentityId] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in the name.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too; needs the permission audit.read."
    )
    sort: ServiceAccountOrder = Field(default="-created_at", description="What the list is sorted by.")


class CredentialView(Strict):
    """A client secret's handle; the secret itself is never shown again."""

    model_config = ConfigDict(extra="forbid", title="ServiceAccountCredential")

    id: KeyId
    created_at: datetime
    revoked_at: datetime | None = Field(description="When it was revoked; null while it works.")

    @classmethod
    def from_row(cls, row: ServiceAccountCredential) -> "CredentialView":
        """The credential as the API shows it."""
        return cls(id=row.id, created_at=row.created_at, revoked_at=row.revoked_at)


class IssuedCredential(Revealed):
    """A new credential, with the secret for this once."""

    client_id: ServiceAccountId = Field(description="The service account's id.")
    client_secret: str | None = Field(
        examples=["sgc_..."],
        description="Shown once; trade it at POST /oauth/token. Null when a repeat of the request is answered.",
        json_schema_extra={"format": "password"},
    )
    credential: CredentialView

    def without_secret(self) -> Self:
        """What a repeat of the request gets."""
        return self.model_copy(update={"client_secret": None, "secret_available": False})
