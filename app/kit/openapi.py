"""The OpenAPI document: what FastAPI derives from the routes, made into the contract that clients are written to."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.kit.problems import Problem

_SCHEMAS = "#/components/schemas/"
_PAGE = re.compile(r"Page_(\w+)_")
_SUFFIXES = ("View", "Model", "Name")


def document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of this application."""
    found = get_openapi(
        title=api.title,
        version=api.version,
        openapi_version=api.openapi_version,
        summary=api.summary,
        routes=api.routes,
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template=_SCHEMAS + "{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    return _renamed(found)


def _renamed(found: dict[str, Any]) -> dict[str, Any]:
    """Call every schema what a client's class of it should be called."""
    schemas: dict[str, Any] = found["components"]["schemas"]
    names = {key: _name(key, schemas) for key in schemas}
    if len(set(names.values())) < len(names):
        raise ValueError("two schemas of the API have the same name")
    found["components"]["schemas"] = {
        names[key]: schemas[key] | {"title": names[key]} for key in sorted(schemas, key=names.__getitem__)
    }
    references = {_SCHEMAS + key: _SCHEMAS + name for key, name in names.items()}
    changed: dict[str, Any] = _replaced(found, references)
    return changed


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
