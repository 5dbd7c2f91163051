"""TypeIDs and request ids.

A TypeID is ``<prefix>_<26 characters of Crockford base32>`` around a UUIDv7 (typeid spec 0.3). The prefix, which says
the kind of object, exists only in the API; the database stores the UUID.

A request id is generated here or accepted from the caller, whose ids cannot look like generated ones.
"""

import re
from collections.abc import Callable
from typing import Annotated
from uuid import UUID, SafeUUID

import uuid_utils
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from typeid import TypeID
from typeid.errors import TypeIDException

SERVER = "srv"
TOOL = "tool"
IDENTITY = "idn"
GROUP = "grp"
GRANT = "grant"
TOKEN = "tok"
PICKUP = "pku"
TOKEN_DRAFT = "drf"
POLICY = "pol"
APPROVAL = "apr"
SERVICE_ACCOUNT = "sa"
ADMINISTRATOR = "adm"
IDENTITY_PROVIDER = "idp"
WEBHOOK = "whk"
DELIVERY = "dlv"
AUDIT_SINK = "sink"
SCHEDULED_OFFBOARDING = "off"
INVITATION = "inv"
EVENT = "evt"
KEY = "key"


# A UUID refuses to be changed by ``setattr``.
_set_int, _set_is_safe = vars(UUID)["int"].__set__, vars(UUID)["is_safe"].__set__
_IS_SAFE = SafeUUID.unknown


def new_id() -> UUID:
    """A new UUIDv7 (RFC 9562); ids sort by creation. Takes half the time of ``uuid_utils.compat``."""
    id = object.__new__(UUID)
    _set_int(id, uuid_utils.uuid7().int)
    _set_is_safe(id, _IS_SAFE)
    return id


def id_hex(id: UUID) -> str:
    """``id.hex`` in half the time."""
    return id.int.to_bytes(16, "big").hex()


def format_id(prefix: str, id: UUID) -> str:
    """The TypeID text of a UUID."""
    return str(TypeID.from_uuid(uuid_utils.UUID(bytes=id.bytes), prefix))


def parse_id(prefix: str, text: str) -> UUID:
    """The UUID of a TypeID. Raises ``ValueError`` when it is malformed or of another kind."""
    try:
        parsed = TypeID.from_string(text)
    except (TypeIDException, ValueError, UnicodeError) as error:
        raise ValueError(f"not a {prefix}_ id") from error
    if parsed.prefix != prefix:
        raise ValueError(f"expected an id that starts with {prefix}_")
    return UUID(bytes=parsed.uuid_bytes)


def _reader(prefix: str) -> Callable[[object], UUID]:
    def read(value: object) -> UUID:
        if isinstance(value, UUID):
            return value
        if not isinstance(value, str):
            raise ValueError(f"expected an id that starts with {prefix}_")
        return parse_id(prefix, value)

    return read


def _typed(prefix: str, meaning: str) -> tuple[BeforeValidator, PlainSerializer, WithJsonSchema]:
    example = format_id(prefix, UUID("01936d5e-7c00-7000-8000-000000000000"))
    return (
        BeforeValidator(_reader(prefix)),
        # Only in JSON: values that are dumped for storage stay UUIDs.
        PlainSerializer(lambda id: format_id(prefix, id), return_type=str, when_used="json"),
        WithJsonSchema(
            {
                "type": "string",
                "pattern": f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$",
                "examples": [example],
                "description": f"The id of {meaning}.",
            }
        ),
    )


# In schemas and path parameters: text outside, UUID inside.
ServerId = Annotated[UUID, *_typed(SERVER, "a server")]
ToolId = Annotated[UUID, *_typed(TOOL, "a tool")]
IdentityId = Annotated[UUID, *_typed(IDENTITY, "an identity")]
GroupId = Annotated[UUID, *_typed(GROUP, "a group")]
GrantId = Annotated[UUID, *_typed(GRANT, "a grant")]
TokenId = Annotated[UUID, *_typed(TOKEN, "a token")]
PickupId = Annotated[UUID, *_typed(PICKUP, "a pickup link")]
TokenDraftId = Annotated[UUID, *_typed(TOKEN_DRAFT, "a draft of a token")]
PolicyId = Annotated[UUID, *_typed(POLICY, "a policy")]
ApprovalId = Annotated[UUID, *_typed(APPROVAL, "an approval")]
ServiceAccountId = Annotated[UUID, *_typed(SERVICE_ACCOUNT, "a service account")]
AdministratorId = Annotated[UUID, *_typed(ADMINISTRATOR, "an administrator")]
IdentityProviderId = Annotated[UUID, *_typed(IDENTITY_PROVIDER, "an identity provider")]
WebhookId = Annotated[UUID, *_typed(WEBHOOK, "a webhook")]
DeliveryId = Annotated[UUID, *_typed(DELIVERY, "a delivery of a message to a webhook")]
AuditSinkId = Annotated[UUID, *_typed(AUDIT_SINK, "an audit sink")]
ScheduledOffboardingId = Annotated[UUID, *_typed(SCHEDULED_OFFBOARDING, "a scheduled offboarding")]
InvitationId = Annotated[UUID, *_typed(INVITATION, "an invitation")]
EventId = Annotated[UUID, *_typed(EVENT, "an audit event")]
KeyId = Annotated[UUID, *_typed(KEY, "a credential")]


REQUEST_ID_PREFIX = "req_"
"""The prefix of generated request ids."""
_ACCEPTED = re.compile(rb"(?!(?i:req_))[A-Za-z0-9._:-]{1,128}")


def accept_request_id(header: bytes | None) -> str | None:
    """The caller's ``X-Request-ID``; ``None`` if it is missing, malformed or looks like a generated one."""
    if header is None or not _ACCEPTED.fullmatch(header):
        return None
    return header.decode("ascii")


def new_request_id() -> str:
    """Generate a request id."""
    return f"{REQUEST_ID_PREFIX}{new_id().hex}"
