"""What every operation of the contract has: who may call it, what it can answer, and with which headers."""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from app.http.authorization import Permission, permission_of
from app.http.media_types import JSON, MERGE_PATCH
from app.http.openapi import texts
from app.http.openapi.names import SCHEMAS
from app.http.problems import MEDIA_TYPE

Operation = dict[str, Any]
_FIRST_SENTENCE = re.compile(r"(.+?)\.(?:\s+|$)", re.DOTALL)
_METHODS = ["get", "post", "put", "patch", "delete"]
_SUCCESS = {"200": "OK", "201": "Created", "204": "Done; there is no body"}
# What every operation that knows its caller can answer: the caller is authenticated, authorised and counted, and a
# database stands behind the answer.
_KNOWN_CALLER = {400, 401, 403, 429, 503}
# Whatever the routes declare, these follow from what an operation takes.
_DERIVED = _KNOWN_CALLER | {412, 413, 415, 422}


def finish(found: dict[str, Any], api: FastAPI) -> None:
    """Complete the operations of a document in place, and add the components that they share."""
    routes = dict(_routes(api))
    schemas = found["components"]["schemas"]
    for path, item in found["paths"].items():
        for method, operation in item.items():
            route = routes[path, method]
            permission = _permission(route.dependant)
            _describe(operation, route, permission)
            operation["security"] = [] if permission is None else texts.CALLER_SCHEMES
            body = operation.get("requestBody", {}).get("content", {})
            if method == "patch" and JSON in body:
                body[MERGE_PATCH] = body[JSON]
            operation["responses"] = _answers(operation, path, known_caller=permission is not None)
            _require_tag(operation)
            _add_headers(operation, schemas)
    found["components"]["responses"] = texts.problem_responses()
    found["components"]["headers"] = texts.HEADERS
    found["components"]["securitySchemes"] = texts.SECURITY_SCHEMES


def in_order(paths: dict[str, Any]) -> dict[str, Any]:
    """As one reads them: by tag, then a collection before what is in it; reading, making, changing, ending."""
    tags = [tag["name"] for tag in texts.TAGS]

    def place(path: str) -> tuple[int, str]:
        return min(tags.index(tag) for operation in paths[path].values() for tag in operation["tags"]), path

    return {
        path: dict(sorted(paths[path].items(), key=lambda item: _METHODS.index(item[0])))
        for path in sorted(paths, key=place)
    }


def _routes(api: FastAPI) -> Iterator[tuple[tuple[str, str], RouteContext]]:
    for route in iter_route_contexts(api.routes):
        for method in route.methods or ():
            yield (str(route.path_format), method.lower()), route


def _permission(dependant: Any) -> Permission | None:
    for dependency in dependant.dependencies:
        found = permission_of(dependency.call) or _permission(dependency)
        if found is not None:
            return found
    return None


def _describe(operation: Operation, route: RouteContext, permission: Permission | None) -> None:
    """One line that says what it does (the docstring's first sentence where the route has no summary), and the rest."""
    text = operation.get("description", "")
    if not route.summary:
        first = _FIRST_SENTENCE.match(text)
        if first is None:
            raise ValueError(f"{operation['operationId']} needs a summary or a docstring")
        operation["summary"] = " ".join(first[1].split())
        text = text[first.end() :]
    needs = "Needs no bearer." if permission is None else f"Needs the permission `{permission.value}`."
    operation["description"] = "\n\n".join(part for part in (text.strip(), needs) if part)


def _answers(operation: Operation, path: str, *, known_caller: bool) -> dict[str, Any]:
    """The answers in the order of their statuses: what the route declares, and what follows from what it takes."""
    declared = operation["responses"]
    problems = {
        int(status)
        for status, answer in declared.items()
        if MEDIA_TYPE in answer.get("content", ()) or "HTTPValidationError" in str(answer)
    }
    statuses = (problems - _DERIVED) | _KNOWN_CALLER if known_caller else set(problems)
    parameters = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
    media_types = operation.get("requestBody", {}).get("content", {})
    if media_types:
        statuses.add(413)
    if "application/json" in media_types:
        statuses |= {400, 415, 422}
    if known_caller and parameters:
        statuses.add(422)
    if "{" in path:
        statuses.add(404)
    if "if-match" in parameters:
        statuses.add(412)
    if "idempotency-key" in parameters:
        statuses |= {409, 422}
    answers = {status: answer for status, answer in declared.items() if int(status) not in problems}
    answers |= {str(status): texts.problem_reference(status) for status in statuses}
    return dict(sorted(answers.items()))


def _require_tag(operation: Operation) -> None:
    """What answers 428 needs If-Match. To FastAPI it is optional, or whoever leaves it out would get a 422."""
    for parameter in operation.get("parameters", ()):
        if parameter["name"].lower() == "if-match" and "428" in operation["responses"]:
            parameter["required"] = True


def _add_headers(operation: Operation, schemas: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            continue
        if answer["description"] == "Successful Response":
            answer["description"] = _SUCCESS[status]
        names = ["X-Request-ID"]
        if operation.get("security") == texts.CALLER_SCHEMES:
            names += texts.RATE_LIMIT
        if status == "201":
            names.append("Location")
            if any(
                parameter["name"].lower() == "idempotency-key"
                for parameter in operation.get("parameters", ())
            ):
                names.append("Idempotency-Replayed")
        if status.startswith("2") and _shows_revision(answer, schemas):
            names.append("ETag")
        answer["headers"] = {name: texts.header(name) for name in names} | answer.get("headers", {})


def _shows_revision(answer: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether an answer is one object with a revision, or what was done with one."""
    reference = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    fields = schemas.get(reference.removeprefix(SCHEMAS), {}).get("properties", {})
    inner = [schemas.get(field.get("$ref", "").removeprefix(SCHEMAS), {}) for field in fields.values()]
    return "revision" in fields or any("revision" in schema.get("properties", {}) for schema in inner)
