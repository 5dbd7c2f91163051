"""The types that an approved input schema gives to a tool's arguments, as far as policies can read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ArgumentKind(StrEnum):
    """JSON Schema's types (JSON Schema 2020-12, section 6.1.1); ``ANY`` stands for what has none, or several."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    ARRAY = "array"
    OBJECT = "object"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class ArgumentType:
    """The type of one argument or of a part of one. ``items`` is an array's; ``properties`` are an object's.

    ``required``: it is there in every call that the schema takes. What may be null counts as not required.
    """

    kind: ArgumentKind
    required: bool = False
    items: "ArgumentType | None" = None
    properties: Mapping[str, "ArgumentType"] = field(default_factory=dict)
