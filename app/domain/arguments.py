"""The types that an approved input schema gives to a tool's arguments, as far as policies can read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import unquote


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


_NESTED = 6
_PARTS = 512
_FEW = 16
_LONGEST_REFERENCE = 512
_NULL = "null"
_KINDS = {kind.value: kind for kind in ArgumentKind}
_ANYTHING = ArgumentType(ArgumentKind.ANY)
_PLAIN = {
    (kind, required): ArgumentType(kind, required) for kind in ArgumentKind for required in (True, False)
}


def argument_types(schema: object) -> dict[str, ArgumentType]:
    """The types of a tool's arguments, by name, as its input schema declares them.

    What it says in a way that is not followed here (conditions, alternatives of several types, remote references,
    what lies deeper than six levels or past some hundreds of parts) is ``ANY`` or left out: looser than what it
    says, never stricter. The schema is an upstream server's, so nothing in it is taken for well-formed.
    """
    return _Reader(schema).arguments()


class _Reader:
    """Reads the types out of one schema, in bounded time: references can make a short schema endless."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._left = _PARTS

    def arguments(self) -> dict[str, ArgumentType]:
        schema, _ = self._without_null(self._merged(self._root))
        return self._properties(schema, 1)

    def _read(self, schema: object, depth: int) -> tuple[ArgumentType, bool]:
        """The type, as if not required, and whether null is taken too."""
        self._left -= 1
        if depth > _NESTED or self._left < 0:
            return _ANYTHING, True
        merged, nullable = self._without_null(self._merged(schema))
        kinds = _kinds(merged)
        kind = _one_kind(kinds - {_NULL})
        return self._built(kind, merged, depth), nullable or not kinds or _NULL in kinds

    def _built(self, kind: ArgumentKind, schema: Mapping[str, object], depth: int) -> ArgumentType:
        if kind is ArgumentKind.OBJECT:
            return ArgumentType(kind, properties=self._properties(schema, depth + 1))
        if kind is ArgumentKind.ARRAY and "items" in schema and "prefixItems" not in schema:
            item, nullable = self._read(schema["items"], depth + 1)
            return ArgumentType(kind, items=None if nullable else item)
        return ArgumentType(kind)

    def _properties(self, schema: Mapping[str, object], depth: int) -> dict[str, ArgumentType]:
        required = {name for name in _list(schema.get("required")) if isinstance(name, str)}
        properties = {}
        for name, declared in _mapping(schema.get("properties")).items():
            if self._left < 0:
                break
            found, nullable = self._read(declared, depth)
            properties[name] = _shared(found, required=name in required and not nullable)
        return properties

    def _merged(self, schema: object, hops: int = _FEW) -> dict[str, object]:
        """A schema with what it refers to and with all that must hold beside it; what is not followed is left out."""
        merged = dict(_mapping(schema))
        self._left -= 1 + len(merged) // _FEW
        parts = list(_list(merged.pop("allOf", None))[:_FEW])
        if "$ref" in merged:
            parts.insert(0, self._referred(merged.pop("$ref")))
        for part in parts:
            if hops > 0 and self._left > 0:
                found = self._merged(part, hops - 1)
                self._left -= _add(merged, found)
        return merged

    def _referred(self, reference: object) -> object:
        if not isinstance(reference, str) or len(reference) > _LONGEST_REFERENCE:
            return None
        if reference != "#" and not reference.startswith("#/"):
            return None
        found = self._root
        for step in unquote(reference).split("/")[1:]:
            found = _mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
        return found

    def _without_null(self, schema: dict[str, object]) -> tuple[dict[str, object], bool]:
        """A schema with the alternatives of ``anyOf`` or ``oneOf`` made one, and whether null was among them."""
        for word in ("anyOf", "oneOf"):
            if "type" in schema or word not in schema:
                continue
            rest = {key: value for key, value in schema.items() if key != word}
            found = _list(schema[word])
            read = [self._merged(each) for each in found[:_FEW]]
            kept = [each for each in read if _kinds(each) != {_NULL}]
            if len(found) > _FEW or not kept:
                return rest, True
            _add(rest, kept[0] if len(kept) == 1 else _only_type(kept))
            return rest, len(kept) < len(read)
        return schema, False


def _shared(found: ArgumentType, *, required: bool) -> ArgumentType:
    """The type, required or not: one object for all of a kind that has no parts, since tools are many."""
    if found.properties or found.items is not None:
        return replace(found, required=required)
    return _PLAIN[found.kind, required]


def _only_type(schemas: list[dict[str, object]]) -> dict[str, object]:
    """Of several alternatives nothing but the types, where each names its own."""
    kinds = [_kinds(each) for each in schemas]
    return {"type": sorted(set().union(*kinds))} if all(kinds) else {}


def _add(merged: dict[str, object], other: Mapping[str, object]) -> int:
    """Add what holds as well; gives what that has cost, in parts."""
    for key, value in other.items():
        mine = merged.setdefault(key, value)
        if key == "properties" and mine is not value:
            merged[key] = {**_mapping(value), **_mapping(mine)}
        elif key == "required" and mine is not value:
            merged[key] = [*_list(mine), *_list(value)]
    return (len(_mapping(merged.get("properties"))) + len(_list(merged.get("required")))) // _FEW


def _kinds(schema: Mapping[str, object]) -> set[str]:
    """The names of the types that a schema takes, null among them; none when it does not say."""
    if "type" in schema:
        named = schema["type"]
        names = [named] if isinstance(named, str) else _list(named)[:_FEW]
        return {name for name in names if isinstance(name, str)}
    values = [schema["const"]] if "const" in schema else _list(schema.get("enum"))
    return {_kind_of(value) for value in values} if len(values) <= _PARTS else set()


def _one_kind(kinds: set[str]) -> ArgumentKind:
    if kinds == {ArgumentKind.INTEGER, ArgumentKind.NUMBER}:
        return ArgumentKind.NUMBER
    return _KINDS.get(kinds.pop(), ArgumentKind.ANY) if len(kinds) == 1 else ArgumentKind.ANY


def _kind_of(value: object) -> str:
    if value is None:
        return _NULL
    for types, kind in (
        (bool, ArgumentKind.BOOLEAN),
        (str, ArgumentKind.STRING),
        (int, ArgumentKind.INTEGER),
        (float, ArgumentKind.NUMBER),
        (list, ArgumentKind.ARRAY),
    ):
        if isinstance(value, types):
            return kind.value
    return ArgumentKind.OBJECT.value


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
