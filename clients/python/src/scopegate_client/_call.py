"""One request of an operation, as data: built by the generated operations, sent by the exchange.

See ADR 6.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from scopegate_client._generated.types import Unset
from scopegate_client.errors import InvalidArgument
from scopegate_client.secret import Secret

T_co = TypeVar("T_co", covariant=True)

# Accepted instead of a model: the JSON object of the API.
JsonObject = Mapping[str, Any]

_SAFE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A request that is not yet sent, with the parser of its response."""

    operation: str
    method: str
    path: str
    read: Callable[[Any], T_co]
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, Any] | None = None
    signed: bool = True
    """Whether it needs a bearer."""
    takes_key: bool = False
    """Whether an idempotency key makes repeating it safe."""
    idempotency_key: str | None = None
    """The caller's key; without one each call gets a new one."""

    @property
    def repeatable(self) -> bool:
        """Whether it may be repeated if it is unknown whether the first request arrived."""
        return self.takes_key or self.method in _SAFE_METHODS or self.query.get("dry_run") is True

    @property
    def ends_quietly(self) -> bool:
        """Whether it ends an object, without a response body."""
        return self.method == "DELETE" and self.read is nothing


def path_of(template: str, **ids: str | int) -> str:
    """Build the path with its ids; an id that would lead to another path is refused."""
    for name, value in ids.items():
        # str(): callers without a type checker may pass None.
        if not _SEGMENT.fullmatch(str(value) if value else ""):
            raise InvalidArgument(f"{name} has to be an id, as {_example(name)}, and {value!r} is none.")
    return template.format(**{name: quote(str(value), safe="") for name, value in ids.items()})


def _example(name: str) -> str:
    """An example of such an id."""
    prefixes = {"identity": "idn", "group": "grp", "grant": "grant", "token": "tok", "server": "srv"}
    kind = name.removesuffix("_id")
    return f"{prefixes.get(kind, kind[:4])}_01jdpnwz00e008000000000000"


def sent_query(values: Mapping[str, Any]) -> dict[str, Any]:
    """Encode query parameters: unset ones are omitted, and a single value is a list of one."""
    return {
        name: encode(value, name)
        for name, value in values.items()
        if value is not None and not is_unset(value)
    }


def is_unset(value: Any) -> bool:
    """Whether the caller omitted the argument."""
    return isinstance(value, Unset)


def sent_body(values: Mapping[str, Any]) -> dict[str, Any]:
    """Build a body of the given fields; ``None`` is sent as null."""
    return {name: encode(value, name) for name, value in values.items() if not is_unset(value)}


def encode(value: Any, name: str) -> Any:
    """Encode an argument for JSON. ``name`` is for the error."""
    if isinstance(value, Secret):
        return value.reveal()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgument(f"{name} needs a time zone, as datetime.now(UTC) has one.")
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: encode(item, f"{name}.{key}") for key, item in value.items() if not is_unset(item)}
    if hasattr(value, "to_dict"):
        return encode(value.to_dict(), name)
    if isinstance(value, Iterable):
        return [encode(item, name) for item in value]
    raise InvalidArgument(f"{name} cannot be sent: {type(value).__name__} has no form in JSON.")


def entity_tag(revision: int | str | None) -> str | None:
    """The ``If-Match`` header of a revision: an object's ``revision``, or an entity tag unchanged."""
    if revision is None or revision == "*":
        return revision
    text = str(revision)
    return text if text.startswith('"') else f'"{text}"'


def nothing(body: Any) -> None:
    """Parse a response without a body."""


def anything(body: Any) -> Any:
    """Parse a response without a model."""
    return body
