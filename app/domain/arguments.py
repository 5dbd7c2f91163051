"""Argument types for policies, derived from a tool's approved input schema."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import unquote


class ArgumentKind(StrEnum):
    """The types of JSON Schema (2020-12, section 6.1.1). ``ANY`` stands for no single type."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    ARRAY = "array"
    OBJECT = "object"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class ArgumentType:
    """The type of an argument or of a part of one. ``items`` is for arrays, ``properties`` for objects.

    ``required``: every valid call has it. A nullable value counts as not required.
    """

    kind: ArgumentKind
    required: bool = False
    items: "ArgumentType | None" = None
    properties: Mapping[str, "ArgumentType"] = field(default_factory=dict)


_MAX_DEPTH = 6
_MAX_PARTS = 512
_MAX_ALTERNATIVES = 16
_MAX_REFERENCE = 512
_NULL = "null"
_KINDS = {kind.value: kind for kind in ArgumentKind}
_ANYTHING = ArgumentType(ArgumentKind.ANY)
_PLAIN = {
    (kind, required): ArgumentType(kind, required) for kind in ArgumentKind for required in (True, False)
}


def argument_types(schema: object) -> dict[str, ArgumentType]:
    """The types of a tool's arguments by name, as declared by its input schema.

    Unsupported parts (conditions, alternatives of several types, remote references, more than six levels or some
    hundreds of parts) become ``ANY`` or are left out: the result is looser than the schema, never stricter. The schema
    comes from an upstream server, so it can be malformed.
    """
    return _Reader(schema).arguments()


class _Reader:
    """Reads the types of one schema in bounded time, since references can make a short schema endless."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._budget = _MAX_PARTS

    def arguments(self) -> dict[str, ArgumentType]:
        schema, _ = self._without_null(self._merge(self._root))
        return self._properties(schema, 1)

    def _read(self, schema: object, depth: int) -> tuple[ArgumentType, bool]:
        """The type, as if not required, and whether it is nullable."""
        self._budget -= 1
        if depth > _MAX_DEPTH or self._budget < 0:
            return _ANYTHING, True
        merged, nullable = self._without_null(self._merge(schema))
        kinds = _kinds(merged)
        kind = _one_kind(kinds - {_NULL})
        return self._build(kind, merged, depth), nullable or not kinds or _NULL in kinds

    def _build(self, kind: ArgumentKind, schema: Mapping[str, object], depth: int) -> ArgumentType:
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
            if self._budget < 0:
                break
            type, nullable = self._read(declared, depth)
            properties[name] = _intern(type, required=name in required and not nullable)
        return properties

    def _merge(self, schema: object, hops: int = _MAX_ALTERNATIVES) -> dict[str, object]:
        """A schema merged with its ``$ref`` and ``allOf``; unsupported parts are left out."""
        merged = dict(_mapping(schema))
        self._budget -= 1 + len(merged) // _MAX_ALTERNATIVES
        parts = list(_list(merged.pop("allOf", None))[:_MAX_ALTERNATIVES])
        if "$ref" in merged:
            parts.insert(0, self._resolve(merged.pop("$ref")))
        for part in parts:
            if hops > 0 and self._budget > 0:
                other = self._merge(part, hops - 1)
                self._budget -= _add(merged, other)
        return merged

    def _resolve(self, reference: object) -> object:
        if not isinstance(reference, str) or len(reference) > _MAX_REFERENCE:
            return None
        if reference != "#" and not reference.startswith("#/"):
            return None
        value = self._root
        for step in unquote(reference).split("/")[1:]:
            value = _mapping(value).get(step.replace("~1", "/").replace("~0", "~"))
        return value

    def _without_null(self, schema: dict[str, object]) -> tuple[dict[str, object], bool]:
        """A schema with the alternatives of ``anyOf`` or ``oneOf`` merged, and whether null was among them."""
        for word in ("anyOf", "oneOf"):
            if "type" in schema or word not in schema:
                continue
            rest = {key: value for key, value in schema.items() if key != word}
            alternatives = _list(schema[word])
            read = [self._merge(each) for each in alternatives[:_MAX_ALTERNATIVES]]
            others = [each for each in read if _kinds(each) != {_NULL}]
            if len(alternatives) > _MAX_ALTERNATIVES or not others:
                return rest, True
            _add(rest, others[0] if len(others) == 1 else _only_type(others))
            return rest, len(others) < len(read)
        return schema, False


def _intern(type: ArgumentType, *, required: bool) -> ArgumentType:
    """The type, required or not. Types without parts share one object, which saves memory."""
    if type.properties or type.items is not None:
        return replace(type, required=required)
    return _PLAIN[type.kind, required]


def _only_type(schemas: list[dict[str, object]]) -> dict[str, object]:
    """Only the types of several alternatives, if each has one."""
    kinds = [_kinds(each) for each in schemas]
    return {"type": sorted(set().union(*kinds))} if all(kinds) else {}


def _add(merged: dict[str, object], other: Mapping[str, object]) -> int:
    """Merge another schema that also applies. Returns the cost in parts."""
    for key, value in other.items():
        mine = merged.setdefault(key, value)
        if key == "properties" and mine is not value:
            merged[key] = {**_mapping(value), **_mapping(mine)}
        elif key == "required" and mine is not value:
            merged[key] = [*_list(mine), *_list(value)]
    return (len(_mapping(merged.get("properties"))) + len(_list(merged.get("required")))) // _MAX_ALTERNATIVES


def _kinds(schema: Mapping[str, object]) -> set[str]:
    """The names of a schema's types, including null; empty if it does not say."""
    if "type" in schema:
        named = schema["type"]
        names = [named] if isinstance(named, str) else _list(named)[:_MAX_ALTERNATIVES]
        return {name for name in names if isinstance(name, str)}
    values = [schema["const"]] if "const" in schema else _list(schema.get("enum"))
    return {_kind_of(value) for value in values} if len(values) <= _MAX_PARTS else set()


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
