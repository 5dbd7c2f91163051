"""Argument types: common schemas are read correctly, and no schema makes the result stricter or slow."""

import random
import time
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from app.domain.arguments import ArgumentKind, ArgumentType, argument_types

STRING, INTEGER, NUMBER, ANY = (
    ArgumentType(kind)
    for kind in (ArgumentKind.STRING, ArgumentKind.INTEGER, ArgumentKind.NUMBER, ArgumentKind.ANY)
)


def _read(declared: object, **beside: object) -> ArgumentType:
    return argument_types({"type": "object", "properties": {"it": declared}, **beside})["it"]


@pytest.mark.parametrize(
    ("declared", "read"),
    [
        ({"type": "string", "format": "uri"}, STRING),
        ({"type": "integer"}, INTEGER),
        ({"type": ["integer", "number"]}, NUMBER),
        ({"type": ["string", "null"]}, STRING),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}, INTEGER),
        ({"oneOf": [{"type": "string", "maxLength": 3}, {"const": "all"}]}, STRING),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ANY),
        ({"enum": ["a", "b", None]}, STRING),
        ({"const": True}, ArgumentType(ArgumentKind.BOOLEAN)),
        ({"enum": ["a", 1]}, ANY),
        ({"$ref": "#/$defs/a~1b"}, STRING),
        ({"allOf": [{"$ref": "#/$defs/a~1b"}], "description": "as pydantic writes it"}, STRING),
        ({"$ref": "https://example.com/schema"}, ANY),
        ({"$ref": "#anchor"}, ANY),
        ({"type": "array", "items": {"type": "string"}}, ArgumentType(ArgumentKind.ARRAY, items=STRING)),
        ({"type": "array", "items": {"type": ["string", "null"]}}, ArgumentType(ArgumentKind.ARRAY)),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {}}, ArgumentType(ArgumentKind.ARRAY)),
        ({"properties": {"a": {"type": "string"}}}, ANY),
        ({"type": "date"}, ANY),
        ({"type": 5}, ANY),
        (True, ANY),
        ({}, ANY),
    ],
)  # fmt: skip
def test_an_argument_has_the_type_that_its_schema_names(declared: object, read: ArgumentType) -> None:
    assert _read(declared, **{"$defs": {"a/b": {"type": "string"}}}) == read


def test_only_what_is_in_every_call_counts_as_required() -> None:
    kinds = {
        "there": {"type": "string"},
        "maybe": {"type": "string"},
        "nullable": {"type": ["string", "null"]},
        "unsaid": {},
        "deep": {"type": "object", "properties": {"in": {"type": "integer"}}, "required": ["in", 5]},
    }
    found = argument_types({"properties": kinds, "required": ["there", "nullable", "unsaid", "deep"]})
    assert [name for name, each in found.items() if each.required] == ["there", "deep"]
    assert found["deep"].properties["in"] == ArgumentType(ArgumentKind.INTEGER, required=True)


def test_what_holds_beside_the_properties_is_read_with_them() -> None:
    root = {
        "allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"b": {"type": "integer"}}, "required": ["b"]}],
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "$defs": {"Base": {"properties": {"c": {"type": "number"}}, "required": ["c"]}},
    }
    found = argument_types(root)
    assert {name: (each.kind.value, each.required) for name, each in found.items()} == {
        "a": ("string", True),
        "b": ("integer", True),
        "c": ("number", True),
    }


def _node(*children: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"$ref": f"#/$defs/{name}"} for name in children}}


@pytest.mark.parametrize(
    "hostile",
    [
        {**_node(*"abcdefgh"), "$defs": {name: _node(*"abcdefgh") for name in "abcdefgh"}},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}] * 1000},
        {"properties": {"it": {"allOf": [{"$ref": "#/$defs/big"}] * 1000}},
         "$defs": {"big": {"allOf": [{"$ref": "#/$defs/big"}] * 1000, "enum": ["x"] * 100_000,
                           "required": ["x"] * 100_000, "properties": {str(n): {} for n in range(50_000)}}}},
        {"properties": {"it": {"$ref": "#" + "/x" * 500_000}}},
        {"properties": [1], "required": {"a": 1}, "type": {"x": []}},
        {"anyOf": [{"anyOf": [{"$ref": "#"}] * 16}] * 16},
        "no schema", None, [], 5,
    ],
)  # fmt: skip
def test_no_schema_makes_the_reading_long_or_the_types_large(hostile: object) -> None:
    started = time.process_time()
    found = argument_types(hostile)
    assert time.process_time() - started < 5
    assert _parts(found) <= 600


def _parts(types: Mapping[str, ArgumentType]) -> int:
    return sum(1 + _parts(each.properties) + (each.items is not None) for each in types.values())


def _accepts(declared: ArgumentType, value: object) -> bool:
    """Whether a value is of a type, or counts as absent for policies."""
    kind = declared.kind
    if kind is ArgumentKind.OBJECT:
        return isinstance(value, dict) and all(
            _accepts(each, value[name]) if value.get(name) is not None else not each.required
            for name, each in declared.properties.items()
        )
    if kind is ArgumentKind.ARRAY:
        items = declared.items
        return isinstance(value, list) and (items is None or all(_accepts(items, each) for each in value))
    python: dict[ArgumentKind, tuple[type, ...]] = {
        ArgumentKind.STRING: (str,),
        ArgumentKind.BOOLEAN: (bool,),
        # JSON Schema accepts 5.0 as an integer; policies do not.
        ArgumentKind.INTEGER: (int, float),
        ArgumentKind.NUMBER: (int, float),
    }
    return kind is ArgumentKind.ANY or (
        isinstance(value, python[kind]) and (kind is ArgumentKind.BOOLEAN or not isinstance(value, bool))
    )


class _Drawn:
    """Generate schemas and calls from one seed, a hundred times faster than Hypothesis."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def value(self, depth: int = 0) -> object:
        kind = self._random.randrange(6 if depth < 2 else 4)
        if kind == 4:
            return [self.value(depth + 1) for _ in range(self._random.randrange(3))]
        return self.call(depth + 1) if kind == 5 else self._random.choice((None, True, 1, 2.0, 0.5, "", "a"))

    def call(self, depth: int = 0) -> dict[str, object]:
        return {name: self.value(depth) for name in "ab" if self._random.random() < 0.7}

    def schema(self, refers_to: tuple[str, ...], depth: int = 0) -> object:
        if self._random.random() < 0.1:
            return True
        words = self._random.sample(WORDS if depth < 4 else WORDS[:3], self._random.choice((1, 1, 2, 3)))
        found = {word: self._said(word, refers_to, depth + 1) for word in words}
        return {word: said for word, said in found.items() if said is not None}

    def _said(self, word: str, refers_to: tuple[str, ...], depth: int) -> object:
        if word == "type":
            return self._random.choice((*TYPES, self._random.sample(TYPES, 2)))
        if word == "const":
            return self.value()
        if word in ("enum", "anyOf", "oneOf", "allOf", "prefixItems"):
            several = range(self._random.choice((1, 2, 2, 3)))
            return [self.value() if word == "enum" else self.schema(refers_to, depth) for _ in several]
        if word == "properties":
            return {name: self.schema(refers_to, depth) for name in "ab"}
        if word == "required":
            return self._random.sample("ab", 1)
        if word == "$ref":
            return self._random.choice(refers_to) if refers_to else None
        return self.schema(refers_to, depth)


TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")
WORDS = (
    *("type", "const", "enum", "$ref", "type", "properties", "required", "properties", "items"),
    *("anyOf", "oneOf", "allOf", "prefixItems", "not"),
)


@given(st.integers(0, 2**64))
@settings(max_examples=300, deadline=None)
def test_no_call_that_the_schema_takes_is_of_other_types(seed: int) -> None:
    drawn = _Drawn(seed)
    shared = {"x": drawn.schema(("#/$defs/y",)), "y": drawn.schema(())}
    taken = 0
    for _ in range(10):
        root = drawn.schema(("#/$defs/x", "#/$defs/y"))
        schema = (
            {**root, "$defs": shared} if isinstance(root, dict) else {"$ref": "#/$defs/x", "$defs": shared}
        )
        found = ArgumentType(ArgumentKind.OBJECT, properties=argument_types(schema))
        taking = jsonschema_rs.Draft202012Validator(schema)
        for call in (drawn.call(), drawn.call()):
            if taking.is_valid(call):
                taken += any(each.kind is not ArgumentKind.ANY for each in found.properties.values())
                assert _accepts(found, call), (schema, call)
    event(f"taken with a type known: {taken > 0}")
