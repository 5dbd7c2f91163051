"""What the schemas of the contract are called."""

import re
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
