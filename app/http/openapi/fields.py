"""What the fields of the schemas are: said once, wherever the same thing shows again."""

import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

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
