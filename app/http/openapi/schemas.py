"""What the fields of the schemas are: said once, wherever the same thing shows again.

What the schemas of the contract are called.

An example for every schema, made of those of its fields.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

SCHEMAS = "#/components/schemas/"
_PAGE = re.compile(r"Page_(\w+)_")
_SUFFIXES = ("View", "Model", "Name")


def rename(found: dict[str, Any]) -> dict[str, Any]:
    """Call every schema what a client's class of it should be called."""
    schemas: dict[str, Any] = found["components"]["schemas"]
    names = {key: _name(key, schemas) for key in schemas}
    if len(set(names.values())) < len(names):
        raise ValueError("two schemas of the API have the same name")
    found["components"]["schemas"] = {
        names[key]: _titled(schemas[key], names[key]) for key in sorted(schemas, key=names.__getitem__)
    }
    references = {SCHEMAS + key: SCHEMAS + name for key, name in names.items()}
    changed: dict[str, Any] = _replaced(found, references)
    return changed


def _titled(schema: dict[str, Any], title: str) -> dict[str, Any]:
    """With its name as the title, and none on its fields: there Pydantic repeats what they are called."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
    # A choice is titled by what there is to choose from.
    return schema if "oneOf" in schema else schema | {"title": title}


def _name(key: str, schemas: dict[str, Any]) -> str:
    """The title that its model gives itself; otherwise the model's name without what says which layer it is of."""
    page = _PAGE.fullmatch(key)
    if page is not None:
        return _name(page[1], schemas) + "Page"
    title: str = schemas[key].get("title", key)
    if title != key:
        return title
    return next((key.removesuffix(suffix) for suffix in _SUFFIXES if key.endswith(suffix)), key)


def _replaced(value: Any, references: dict[str, str]) -> Any:
    """The same with other references; those of discriminators are plain values."""
    if isinstance(value, dict):
        return {key: _replaced(inner, references) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, references) for inner in value]
    return references.get(value, value) if isinstance(value, str) else value


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


# What means the same everywhere, unless a model says more.
_COMMON = {
    "created_at": "When it was made.",
    "updated_at": "When it last changed.",
    "ended_at": "When it ended; null while it has not.",
    "revision": "Counts its changes; in quotes it is the `ETag`.",
    "items": "The items of this page.",
    "next_cursor": "For the next page; null on the last.",
    "id": "Its id.",
}
_OF_OBJECT = re.compile(r"(\w+?)(?:Create|Update)")


def describe(schemas: dict[str, Schema]) -> None:
    """Describe each field that does not describe itself: as its type is, or as its object's other schemas say."""
    for name, schema in schemas.items():
        if name.endswith("Page"):
            schema.setdefault("description", "One page of a list.")
        for field in schema.get("properties", {}).values():
            _lift(field)
    for name, schema in schemas.items():
        for key, field in schema.get("properties", {}).items():
            for other in _same_field(name, key, schemas):
                for word in ("description", "examples"):
                    if word in other and "$ref" not in field:
                        field.setdefault(word, other[word])
            if key in _COMMON and "$ref" not in field:
                field.setdefault("description", _COMMON[key])


def describe_parameters(found: dict[str, Any]) -> None:
    """Describe each parameter that does not describe itself: as its type is, or as the filter that it is."""
    for item in found["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                schema = parameter["schema"]
                schema.pop("title", None)
                if parameter["in"] == "header":
                    parameter["name"] = "-".join(word.capitalize() for word in parameter["name"].split("-"))
                _lift(schema)
                if "description" in schema:
                    parameter.setdefault("description", schema["description"])
                if schema.get("type") == "array":
                    text = f"Only those whose `{parameter['name']}` is one of these."
                    parameter.setdefault("description", text)


def _lift(field: Schema) -> None:
    """What may be null is described as its one type is."""
    inner = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    if len(inner) == 1 and "description" in inner[0]:
        field.setdefault("description", inner[0]["description"])


def _same_field(name: str, key: str, schemas: dict[str, Schema]) -> Iterator[Schema]:
    made = _OF_OBJECT.fullmatch(name)
    family = [made[1], f"{made[1]}Create"] if made else [f"{name}Create", f"{name}Update"]
    for other in family:
        field = schemas.get(other, {}).get("properties", {}).get(key)
        if field is not None:
            yield field
