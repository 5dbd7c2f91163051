"""Types that request and answer models share."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal

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

LARGEST_INTEGER = 2**53 - 1
LONGEST_NAME = 200


def _text(value: object) -> object:
    # To Python, numbers and booleans are addresses too.
    if isinstance(value, int):
        raise ValueError("an address is a string")
    return value


IpAddress = Annotated[
    IPv4Address | IPv6Address,
    BeforeValidator(_text),
    PlainSerializer(str, return_type=str),
    # The same whether it is sent or shown, or the contract would have two of each model that holds one.
    WithJsonSchema({"type": "string", "examples": ["192.0.2.7"]}),
]


class Strict(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Patch(Strict):
    """A merge patch (RFC 7396): null clears a field that may be null, what is not named stays."""

    def given(self) -> dict[str, Any]:
        """The fields that the patch names, with their new values."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def absent(description: str | None = None) -> Any:
    """The default of a patch field that may not be null: nothing that anybody reads, and none in the schema."""
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
    # In a query, a number is text too.
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
    if len(name) > LONGEST_NAME:
        raise ValueError(f"in its comparable form (NFKC) it has more than {LONGEST_NAME} characters")
    return name


CleanText = AfterValidator(_clean)
CleanSecret = AfterValidator(_clean_secret)
Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME), CleanText]
UserName = Annotated[Name, AfterValidator(_user_name)]
"""Of people and agents. It is stored as it is compared."""
ShortText = Annotated[str, StringConstraints(max_length=500), CleanText]
WantedUserName = Annotated[ShortText, AfterValidator(comparable_name)]
"""A user name that is looked for."""
LongText = Annotated[str, StringConstraints(max_length=10_000), CleanText]
# Named with TypeAliasType, here and in the features, is what the contract shows as a schema of its own.
Source = TypeAliasType(
    "Source",
    Annotated[
        Literal["manual", "scim"],
        Field(
            description="Who keeps it: `manual` by hand through this API, `scim` a provider that provisions it."
        ),
    ],
)
Time = Annotated[AwareDatetime, BeforeValidator(_no_numbers), AfterValidator(_utc)]


def rule(*, given: Sequence[str] = (), without: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON schema for the contract: some fields are there and not null, others are null or left out.

    It states what a model's validator enforces. Put rules under ``allOf``.
    """
    found: dict[str, Any] = {
        "properties": {name: {"not": {"type": "null"}} for name in given}
        | {name: {"type": "null"} for name in without}
    }
    return found | {"required": list(given)} if given else found
