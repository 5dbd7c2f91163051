"""An example for every schema, made of those of its fields."""

from contextlib import suppress
from typing import Any

from app.http.openapi.names import SCHEMAS

Schema = dict[str, Any]
_BY_FORMAT = {"date-time": "2026-01-05T09:00:00Z", "password": "***"}
_BY_TYPE: dict[str, Any] = {"boolean": True, "integer": 1, "number": 1.0, "null": None}


class NoExample(ValueError):
    """A field neither says what its values look like nor has a type that tells."""


def fill(schemas: dict[str, Schema]) -> None:
    """Give every named schema an example, where its fields have some."""
    # Those that are given first: others are made of them.
    for schema in schemas.values():
        given = [_with_nulls(one, schema) for one in schema.pop("examples", []) if one != {}]
        if given:
            schema["examples"] = given
    for schema in schemas.values():
        if "examples" not in schema:
            with suppress(NoExample):
                schema["examples"] = [example(schema, schemas)]


def _with_nulls(given: Any, schema: Schema) -> Any:
    """An example of a model with the nulls back that FastAPI drops from whatever it writes."""
    if not isinstance(given, dict):
        return given
    required = set(schema.get("required", ()))
    names = [name for name in schema.get("properties", given) if name in given or name in required]
    return {name: given.get(name) for name in names}


def example(schema: Schema, schemas: dict[str, Schema], where: str = "") -> Any:
    """What a value of this schema looks like. Raises ``NoExample``, naming the field that does not say."""
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(SCHEMAS)
        return example(schemas[name], schemas, name)
    if schema.get("format") in _BY_FORMAT:
        return _BY_FORMAT[schema["format"]]
    if "oneOf" in schema or "anyOf" in schema:
        return _first(schema.get("oneOf") or schema["anyOf"], schemas, where)
    kind = schema.get("type")
    if kind == "array":
        return [example(schema["items"], schemas, where)]
    if kind == "object" and "properties" in schema:
        fields = schema["properties"].items()
        return {name: example(field, schemas, f"{where}.{name}") for name, field in fields}
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    raise NoExample(f"{where} needs an example: Field(examples=[...])")


def _first(choices: list[Schema], schemas: dict[str, Schema], where: str) -> Any:
    for choice in choices[:-1]:
        with suppress(NoExample):
            return example(choice, schemas, where)
    return example(choices[-1], schemas, where)
