"""The OpenAPI document: the output of FastAPI for the routes, completed to the contract of clients.

Rules add what is easily forgotten: the responses of an operation follow from its inputs, and the example of a schema
consists of those of its fields. ``tests/house/test_contract.py`` checks the rest.
"""

import re
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import RouteContext, iter_route_contexts

from app.http.authorization import Permission, permission_of
from app.http.endpoints import revised_field
from app.http.problems import MEDIA_TYPE, STATUS, Problem
from app.http.requests import JSON, MERGE_PATCH

SCHEMAS = "#/components/schemas/"
Schema = dict[str, Any]
Operation = dict[str, Any]
DESCRIPTION = """\
Scopegate gives people and agents **scoped tokens** to a fleet of MCP servers, decides every call before it runs, and
records it. Administrators, portals and scripts use this API to manage it. MCP clients do not use it: they call `/mcp`
with a scoped token.

## Signing in

Send `Authorization: Bearer ...` with one of

- an access token of your organization's OpenID provider (people),
- a bearer from `POST /oauth/token`, in exchange for a service account's client secret (programs).

A caller's roles determine what it may do. Each operation names the permission that it needs.

## Conventions

- **Ids** start with their type: `tok_...` is a token, `idn_...` an identity. **Times** are RFC 3339 in UTC.
- **Lists** are pages: `limit` items, then `next_cursor` for the next page, until it is null. Filters may be repeated
  and then match any of their values.
- **Order**: newest first, or by `sort`; a `-` before the name means descending.
- **Changes** are merge patches (RFC 7396): missing fields stay, null clears. Unknown fields are refused.
- **Concurrent changes**: each object has an `ETag`; send it as `If-Match`, and a change that would overwrite another
  one is refused with 412.
- **Safe retries**: send an `Idempotency-Key` when you create, and the same key again after a lost response.
- **Limits**: `RateLimit` shows what is left of this minute; after a 429, wait for the time in `Retry-After`.
- **Dry runs**: `dry_run=true` makes the same checks and changes nothing.
- **Errors** are problem documents (RFC 9457). Use `code`, which never changes; `type` is the page that explains it.
- **Request ids**: `X-Request-ID` is echoed or generated, and is part of the audit events. Values that begin with
  `req_`, like ours, are replaced.
"""
LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
SERVERS = [{"url": "/", "description": "The service that this document came from."}]
_TAGS = {
    "servers": "MCP servers: their addresses, the credentials for calls to them, and their tools.",
    "tools": "The tools that syncs found on the servers, their risk, and their approved definitions.",
    "identities": "People and their agents. Offboarding ends all access of a person and the person's agents.",
    "scheduled-offboardings": "Offboardings at a later time: when, why, and their result.",
    "offboarding-receipts": "Signed proof of what each offboarding ended; and the keys to verify it.",
    "invitations": "One-time links that let people sign in with their own account, without a directory.",
    "groups": "Sets of identities that can receive grants.",
    "grants": "Durable rights: who may use which tools of which servers, from when, until when.",
    "approvals": "Calls that wait for a decision, and access requests: what, by whom, and who may approve.",
    "policies": "Cedar policies: which calls are denied or need approval, by caller, tool and time.",
    "tokens": "Scoped tokens for MCP clients: each is issued to one identity, within its grants, and can be revoked.",
    "access": "Explanations of decisions, now or on another day.",
    "service-accounts": "Programs that manage Scopegate itself, and their client secrets.",
    "administrators": "People with a role at this API. Disabling one ends their access immediately.",
    "identity-providers": "The OpenID providers whose access tokens this API accepts, and the meaning of their claims.",
    "audit-sinks": "Destinations of the audit log: batches over HTTPS, in order, each at least once.",
    "webhooks": "Destinations of signed messages about events, such as a call that waits for a decision, with retries.",
    "audit-events": "Who did what, when, and the decision: all calls through the gateway and all changes here.",
    "me": "The caller and its permissions.",
    "break-glass": "Sign-in with a password if no OpenID provider can be reached. Off unless configured.",
    "oauth": "Bearers for service accounts (RFC 6749, client credentials).",
    "health": "For load balancers and monitoring.",
}
_NAMES = {"oauth": "OAuth"}
TAGS = [
    # The titles in reference pages.
    {
        "name": name,
        "x-displayName": _NAMES.get(name, name.capitalize().replace("-", " ")),
        "description": text,
    }
    for name, text in _TAGS.items()
]
SECURITY_SCHEMES = {
    "oidc": {
        "type": "openIdConnect",
        "openIdConnectUrl": "https://login.example.com/.well-known/openid-configuration",
        "description": "An access token (JWT) of the organization's OpenID provider; the address is an example.",
    },
    "client_credentials": {
        "type": "oauth2",
        "description": "A service account's bearer, `sgb_...`: short-lived, and invalid when its credential ends.",
        "flows": {"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": {}}},
    },
    "break_glass": {
        "type": "http",
        "scheme": "bearer",
        "description": "The bearer of a break-glass session, `sge_...`. Every request with it is recorded.",
    },
    "scoped_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A scoped token, `sgt_...`, for MCP clients at `/mcp`. This API does not accept it.",
    },
}
CALLER_SCHEMES: list[dict[str, list[str]]] = [{"oidc": []}, {"client_credentials": []}, {"break_glass": []}]
RATE_LIMIT = ["RateLimit", "RateLimit-Policy"]
_ANSWER_HEADERS: dict[str, tuple[str, Schema]] = {
    "X-Request-ID": (
        "The request's id: yours, or a new one. It is part of the audit events.",
        {"type": "string", "examples": ["req_01936d5e7c0070008000000000000000"]},
    ),
    "ETag": (
        "The revision of the object in this response, for `If-Match`.",
        {"type": "string", "examples": ['"3"']},
    ),
    "Location": (
        "The address of the created object.",
        {
            "type": "string",
            "format": "uri-reference",
            "examples": ["/api/v1/tokens/tok_01jdpnwz00e008000000000000"],
        },
    ),
    "Idempotency-Replayed": (
        "Present on the stored response to the first request with the key.",
        {"type": "string", "const": "true"},
    ),
    "RateLimit": (
        "What is left, and the seconds until the limit resets (draft-ietf-httpapi-ratelimit-headers-10).",
        {"type": "string", "examples": ['"requests";r=5999;t=60']},
    ),
    "RateLimit-Policy": (
        "The limit of each worker: the number of requests and the seconds.",
        {"type": "string", "examples": ['"requests";q=6000;w=60']},
    ),
    "Retry-After": ("Seconds to wait before repeating.", {"type": "integer", "minimum": 0, "examples": [1]}),
    "WWW-Authenticate": (
        "How to authenticate.",
        {"type": "string", "examples": ['Bearer realm="scopegate"']},
    ),
}
HEADERS = {name: {"description": text, "schema": schema} for name, (text, schema) in _ANSWER_HEADERS.items()}
# The name, code and description of the shared response for each problem status.
_PROBLEMS = {
    400: (
        "BadRequest",
        "malformed_request",
        "The request cannot be parsed: its JSON, its cursor, or a header.",
    ),
    401: ("Unauthenticated", "unauthenticated", "The credential is missing, unknown, expired or revoked."),
    403: ("Forbidden", "forbidden", "The caller lacks the permission that the detail names."),
    404: (
        "NotFound",
        "not_found",
        "The object does not exist, has ended, or is not visible to the caller.",
    ),
    409: ("Conflict", "conflict", "The change conflicts with the current state."),
    412: (
        "PreconditionFailed",
        "revision_mismatch",
        "The object has changed since the `ETag` in `If-Match`.",
    ),
    413: ("BodyTooLarge", "body_too_large", "The body exceeds the maximum size."),
    415: ("UnsupportedMediaType", "unsupported_media_type", "The body's media type is not JSON."),
    422: ("Invalid", "validation_failed", "The request can be parsed, but contains an invalid value."),
    428: (
        "PreconditionRequired",
        "precondition_required",
        "The change needs the `ETag` of the object in `If-Match`.",
    ),
    429: ("RateLimited", "rate_limited", "Too many requests; wait for `Retry-After` seconds."),
    503: (
        "Unavailable",
        "unavailable",
        "The service is temporarily unavailable. Nothing was changed; try again.",
    ),
}
_EXTRA_HEADERS = {
    401: ["WWW-Authenticate"],
    409: ["Retry-After"],
    429: ["Retry-After", *RATE_LIMIT],
    503: ["Retry-After"],
}


def header(name: str) -> dict[str, str]:
    """A reference to a shared header."""
    return {"$ref": f"#/components/headers/{name}"}


def problem_responses() -> dict[str, Any]:
    """The shared responses."""
    titles = {status: title for _, status, title in STATUS} | {
        413: "Body too large",
        415: "Unsupported media type",
    }
    return {
        name: {
            "description": text,
            "headers": {key: header(key) for key in ["X-Request-ID", *_EXTRA_HEADERS.get(status, [])]},
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": f"/docs/errors/{code}",
                        "title": titles[status],
                        "status": status,
                        "detail": text,
                        "instance": "/api/v1/tokens",
                        "code": code,
                        "request_id": "req_01936d5e7c0070008000000000000000",
                        "errors": [],
                    },
                }
            },
        }
        for status, (name, code, text) in _PROBLEMS.items()
    }


_FIRST_SENTENCE = re.compile(r"(.+?)\.(?:\s+|$)", re.DOTALL)
_METHODS = ["get", "post", "put", "patch", "delete"]
_SUCCESS = {"200": "OK", "201": "Created", "204": "Done; there is no body"}
# The responses of every operation that authenticates its caller: the caller is authenticated, authorized and counted,
# and the operation uses the database.
_KNOWN_CALLER = {400, 401, 403, 429, 503}
# These follow from the inputs of an operation, regardless of what the routes declare.
_DERIVED = _KNOWN_CALLER | {412, 413, 415, 422}


def finish_operations(spec: dict[str, Any], api: FastAPI) -> None:
    """Complete the operations of a document in place, and add shared components."""
    routes = {
        (str(route.path_format), method.lower()): route
        for route in iter_route_contexts(api.routes)
        for method in route.methods or ()
    }
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            route = routes[path, method]
            permission = _permission(route.dependant)
            _describe(operation, route, permission)
            operation["security"] = [] if permission is None else CALLER_SCHEMES
            body = operation.get("requestBody", {}).get("content", {})
            if method == "patch" and JSON in body:
                body[MERGE_PATCH] = body[JSON]
            operation["responses"] = _answers(operation, path, known_caller=permission is not None)
            for parameter in operation.get("parameters", ()):
                # Optional for FastAPI, which would respond 422.
                if parameter["name"].lower() == "if-match" and "428" in operation["responses"]:
                    parameter["required"] = True
            _add_headers(operation, has_etag=revised_field(route.response_model) is not None)
    spec["components"]["responses"] = problem_responses()
    spec["components"]["headers"] = HEADERS
    spec["components"]["securitySchemes"] = SECURITY_SCHEMES


def in_order(paths: dict[str, Any]) -> dict[str, Any]:
    """Sort by tag, then collections before their members; reading, creating, changing, ending."""
    tags = [tag["name"] for tag in TAGS]

    def place(path: str) -> tuple[int, str]:
        return min(tags.index(tag) for operation in paths[path].values() for tag in operation["tags"]), path

    return {
        path: dict(sorted(paths[path].items(), key=lambda item: _METHODS.index(item[0])))
        for path in sorted(paths, key=place)
    }


def _permission(dependant: Any) -> Permission | None:
    for dependency in dependant.dependencies:
        permission = permission_of(dependency.call) or _permission(dependency)
        if permission is not None:
            return permission
    return None


def _describe(operation: Operation, route: RouteContext, permission: Permission | None) -> None:
    """Set the summary (the docstring's first sentence if the route has none) and the description."""
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
    """The responses ordered by status: those that the route declares, and those that follow from its inputs."""
    declared = operation["responses"]
    problems = {
        int(status)
        for status, answer in declared.items()
        if MEDIA_TYPE in answer.get("content", ()) or "HTTPValidationError" in str(answer)
    }
    statuses = (problems - _DERIVED) | _KNOWN_CALLER if known_caller else set(problems)
    parameters = _parameters(operation)
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
    answers |= {
        str(status): {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"} for status in statuses
    }
    return dict(sorted(answers.items()))


def _parameters(operation: Operation) -> set[str]:
    return {parameter["name"].lower() for parameter in operation.get("parameters", ())}


def _add_headers(operation: Operation, *, has_etag: bool) -> None:
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            continue
        if answer["description"] == "Successful Response":
            answer["description"] = _SUCCESS[status]
        names = ["X-Request-ID"]
        if operation.get("security") == CALLER_SCHEMES:
            names += RATE_LIMIT
        if status == "201":
            names.append("Location")
            if "idempotency-key" in _parameters(operation):
                names.append("Idempotency-Replayed")
        if status.startswith("2") and has_etag:
            names.append("ETag")
        answer["headers"] = {name: header(name) for name in names} | answer.get("headers", {})


_PAGE = re.compile(r"Page_(\w+)_")
_SUFFIXES = ("View", "Model", "Name")


def rename_schemas(spec: dict[str, Any]) -> dict[str, Any]:
    """Rename every schema to the name of a client's class."""
    schemas: dict[str, Any] = spec["components"]["schemas"]
    names = {key: _name(key, schemas) for key in schemas}
    if len(set(names.values())) < len(names):
        raise ValueError("two schemas of the API have the same name")
    spec["components"]["schemas"] = {
        names[key]: _set_title(schemas[key], names[key]) for key in sorted(schemas, key=names.__getitem__)
    }
    references = {SCHEMAS + key: SCHEMAS + name for key, name in names.items()}
    changed: dict[str, Any] = _replace(spec, references)
    return changed


def _set_title(schema: dict[str, Any], title: str) -> dict[str, Any]:
    """Use the name as title, and remove the titles of fields, where Pydantic repeats their names."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
    # A union is titled by its members.
    return schema if "oneOf" in schema else schema | {"title": title}


def _name(key: str, schemas: dict[str, Any]) -> str:
    """The title of the model, or the model's name without the suffix of its layer."""
    page = _PAGE.fullmatch(key)
    if page is not None:
        return _name(page[1], schemas) + "Page"
    title: str = schemas[key].get("title", key)
    if title != key:
        return title
    return next((key.removesuffix(suffix) for suffix in _SUFFIXES if key.endswith(suffix)), key)


def _replace(value: Any, references: dict[str, str]) -> Any:
    """A copy with other references; those of discriminators are plain values."""
    if isinstance(value, dict):
        return {key: _replace(inner, references) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replace(inner, references) for inner in value]
    return references.get(value, value) if isinstance(value, str) else value


_BY_FORMAT = {"date-time": "2026-01-05T09:00:00Z", "password": "***"}
_BY_TYPE: dict[str, Any] = {"boolean": True, "integer": 1, "number": 1.0, "null": None}


class NoExample(ValueError):
    """A field has no examples, and no type that implies one."""


def fill_examples(schemas: dict[str, Schema]) -> None:
    """Add an example to every named schema whose fields have some."""
    # Given examples first, since others are composed of them.
    for schema in schemas.values():
        examples = [_with_nulls(value, schema) for value in schema.pop("examples", []) if value != {}]
        if examples:
            schema["examples"] = examples
    for schema in schemas.values():
        if "examples" not in schema:
            with suppress(NoExample):
                schema["examples"] = [example(schema, schemas)]


def _with_nulls(value: Any, schema: Schema) -> Any:
    """An example of a model with the nulls that FastAPI removes on output."""
    if not isinstance(value, dict):
        return value
    required = set(schema.get("required", ()))
    names = [name for name in schema.get("properties", value) if name in value or name in required]
    return {name: value.get(name) for name in names}


def example(schema: Schema, schemas: dict[str, Schema], where: str = "") -> Any:
    """Build an example for this schema. Raises ``NoExample`` with the name of the field without one."""
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


# Fields with the same meaning everywhere, unless a model describes them.
_COMMON = {
    "created_at": "The time of creation.",
    "updated_at": "The time of the last change.",
    "ended_at": "The time of the end; null before it.",
    "revision": "The number of the current revision; in quotes it is the `ETag`.",
    "items": "The items of this page.",
    "next_cursor": "The cursor of the next page; null on the last page.",
    "id": "The id.",
}
_OF_OBJECT = re.compile(r"(\w+?)(?:Create|Update)")


def describe_fields(schemas: dict[str, Schema]) -> None:
    """Add missing field descriptions from the field's type or the object's other schemas."""
    for name, schema in schemas.items():
        if name.endswith("Page"):
            schema.setdefault("description", "One page of a list.")
        for field in schema.get("properties", {}).values():
            _lift(field)
    for name, schema in schemas.items():
        match = _OF_OBJECT.fullmatch(name)
        others = [match[1], f"{match[1]}Create"] if match else [f"{name}Create", f"{name}Update"]
        for key, field in schema.get("properties", {}).items():
            for other in (schemas.get(each, {}).get("properties", {}).get(key, {}) for each in others):
                for word in ("description", "examples"):
                    if word in other and "$ref" not in field:
                        field.setdefault(word, other[word])
            if key in _COMMON and "$ref" not in field:
                field.setdefault("description", _COMMON[key])


def describe_parameters(spec: dict[str, Any]) -> None:
    """Add missing parameter descriptions from the parameter's type, or as a filter."""
    for item in spec["paths"].values():
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
    """Describe a nullable field by its non-null type."""
    inner = [member for member in field.get("anyOf", ()) if member.get("type") != "null"]
    if len(inner) == 1 and "description" in inner[0]:
        field.setdefault("description", inner[0]["description"])


def document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of this application."""
    spec = get_openapi(
        title=f"{api.title} API",
        version=api.version,
        openapi_version=api.openapi_version,
        summary=api.summary,
        description=DESCRIPTION,
        license_info=LICENSE,
        servers=SERVERS,
        routes=api.routes,
    )
    schemas = spec.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template=SCHEMAS + "{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    finish_operations(spec, api)
    spec["paths"] = in_order(spec["paths"])
    spec = rename_schemas(spec)
    used = {
        tag for item in spec["paths"].values() for operation in item.values() for tag in operation["tags"]
    }
    spec["tags"] = [tag for tag in TAGS if tag["name"] in used]
    describe_fields(spec["components"]["schemas"])
    describe_parameters(spec)
    fill_examples(spec["components"]["schemas"])
    return spec
