"""Types that request and response models share."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
)
from typing_extensions import TypeAliasType

from app.lib.names import checked_name, comparable_name

MAX_NAME_LENGTH = 200


def _text(value: object) -> object:
    # Pydantic would also accept numbers and booleans, which Python treats as addresses.
    if isinstance(value, int):
        raise ValueError("an address is a string")
    return value


IpAddress = Annotated[
    IPv4Address | IPv6Address,
    BeforeValidator(_text),
    PlainSerializer(str, return_type=str),
    # The same for input and output; otherwise the contract would have two variants of each model that contains one.
    WithJsonSchema({"type": "string", "examples": ["192.0.2.7"]}),
]


class Strict(BaseModel):
    """A model that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")


def example(*values: dict[str, Any], title: str | None = None, **schema: Any) -> ConfigDict:
    """The ``model_config`` with examples for the contract, the model's name there if it is not the class's, and further
    members of its JSON schema."""
    return ConfigDict(title=title, json_schema_extra={"examples": [*values], **schema})


class RowView(Strict):
    """A response that shows columns of a stored row."""

    @classmethod
    def from_row(cls, row: object) -> Self:
        """Build the view of a row."""
        return cls.model_validate(row, from_attributes=True)


class Patch(Strict):
    """A merge patch (RFC 7396): null clears a nullable field, and missing fields stay."""

    def given(self) -> dict[str, Any]:
        """The fields in the patch, with their new values."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def absent(description: str | None = None) -> Any:
    """The default of a patch field that is not nullable: an unused value without a default in the schema."""
    return Field(default_factory=object, description=description)


def _clean(value: str) -> str:
    if "\x00" in value:
        raise ValueError("NUL characters are not accepted")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("lone surrogates are not accepted") from None
    return value


def _clean_secret(secret: SecretStr) -> SecretStr:
    _clean(secret.get_secret_value())
    return secret


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")


def _no_numbers(value: object) -> object:
    # In a query, a number is a text, too.
    if isinstance(value, int | float) or (isinstance(value, str) and not _DATE.match(value)):
        raise ValueError("a time is an RFC 3339 string")
    return value


# The driver writes these two as PostgreSQL's infinities, which come back without a zone.
_INFINITIES = frozenset({datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)})


def _utc(value: datetime) -> datetime:
    try:
        time = value.astimezone(UTC)
    except (OverflowError, ValueError):
        raise ValueError("the time is out of range") from None
    if time in _INFINITIES:
        raise ValueError("the time is out of range")
    return time


def _user_name(value: str) -> str:
    name = checked_name(value)
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"in its comparable form (NFKC) it has more than {MAX_NAME_LENGTH} characters")
    return name


CleanText = AfterValidator(_clean)
CleanSecret = AfterValidator(_clean_secret)
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH), CleanText]
UserName = Annotated[Name, AfterValidator(_user_name)]
"""The user name of a person or agent, stored in its comparable form."""
ShortText = Annotated[str, StringConstraints(max_length=500), CleanText]
WantedUserName = Annotated[ShortText, AfterValidator(comparable_name)]
"""A user name to search for."""
LongText = Annotated[str, StringConstraints(max_length=10_000), CleanText]
# Types that are named with TypeAliasType, here and in features, are schemas of their own in the contract.
Source = TypeAliasType(
    "Source",
    Annotated[
        Literal["manual", "scim"],
        Field(description="Who maintains it: `manual` this API, `scim` the provider that provisions it."),
    ],
)
Time = Annotated[AwareDatetime, BeforeValidator(_no_numbers), AfterValidator(_utc)]


def rule(*, given: Sequence[str] = (), without: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON schema rule for the contract: some fields are present and not null, others are null or missing.

    It states what a model's validator enforces. Put rules under ``allOf``.
    """
    schema: dict[str, Any] = {
        "properties": {name: {"not": {"type": "null"}} for name in given}
        | {name: {"type": "null"} for name in without}
    }
    return schema | {"required": list(given)} if given else schema
