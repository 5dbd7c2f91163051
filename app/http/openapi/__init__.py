"""The OpenAPI document: the output of FastAPI for the routes, completed to the contract of clients.

Rules add what is easily forgotten: the responses of an operation follow from its inputs, and the example of a schema
from those of its fields. ``tests/house/test_contract.py`` checks the rest.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.http.openapi import operations
from app.http.openapi import operations as texts
from app.http.openapi import schemas as examples
from app.http.openapi import schemas as fields
from app.http.openapi.schemas import SCHEMAS, rename
from app.http.problems import Problem


def document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of this application."""
    found = get_openapi(
        title=f"{api.title} API",
        version=api.version,
        openapi_version=api.openapi_version,
        summary=api.summary,
        description=texts.DESCRIPTION,
        license_info=texts.LICENSE,
        servers=texts.SERVERS,
        routes=api.routes,
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template=SCHEMAS + "{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    operations.finish(found, api)
    found["paths"] = operations.in_order(found["paths"])
    found = rename(found)
    used = {
        tag for item in found["paths"].values() for operation in item.values() for tag in operation["tags"]
    }
    found["tags"] = [tag for tag in texts.TAGS if tag["name"] in used]
    fields.describe(found["components"]["schemas"])
    fields.describe_parameters(found)
    examples.fill(found["components"]["schemas"])
    return found
