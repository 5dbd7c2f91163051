"""What every operation of the contract has: who may call it, what it can answer, and with which headers.

What the contract says in words, and the parts that its operations share.
"""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from app.http.authorization import Permission, permission_of
from app.http.openapi.schemas import SCHEMAS
from app.http.problems import MEDIA_TYPE, STATUS
from app.http.requests import JSON, MERGE_PATCH

Schema = dict[str, Any]


DESCRIPTION = """\
Scopegate gives each person and agent **scoped tokens** to a fleet of MCP servers, decides every call before it runs,
and keeps it on record. This is the API that administrators, portals and scripts manage it with. MCP clients do not
use it: they call `/mcp` with a scoped token.

## Signing in

Send `Authorization: Bearer ...` with one of

- an access token of your organisation's OpenID provider (people),
- a bearer from `POST /oauth/token`, which trades a service account's client secret for it (programs).

What a caller may do follows from its roles. Each operation names the permission that it needs.

## Conventions

- **Ids** say what they are of: `tok_...` is a token, `idn_...` an identity. **Times** are RFC 3339 in UTC.
- **Lists** are pages: `limit` items, then `next_cursor` to go on with, until it is null. Filters may be repeated, and
  then any of their values matches.
- **Order**: the newest first, or what `sort` says; `-` before a name is from the top.
- **Changes** are merge patches (RFC 7396): what is not named stays, null clears. Unknown fields are refused.
- **Two at once**: each object has an `ETag`; send it back as `If-Match`, and a change that would overwrite somebody
  else's is refused with 412.
- **Repeating safely**: send an `Idempotency-Key` when creating, and the same key again after a lost answer.
- **Limits**: `RateLimit` says what is left of this minute; after a 429 come back when `Retry-After` says.
- **Trying first**: `dry_run=true` makes the same checks and changes nothing.
- **Errors** are problem documents (RFC 9457). Go by `code`, which never changes; `type` is the page that explains it.
- **Request ids**: `X-Request-ID` is echoed, or made, and stands in the audit trail. One that begins with `req_`, as
  ours do, is replaced.
"""
LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
SERVERS = [{"url": "/", "description": "The service that this document came from."}]


_TAGS = {
    "servers": "MCP servers: where they are, the credential that calls to them carry, and which of their tools exist.",
    "tools": "The tools that syncing found on the servers, their risk, and the definitions that were approved.",
    "identities": "People, and the agents that they answer for. Offboarding ends all that one and its agents can do.",
    "scheduled-offboardings": "Offboardings that are set for later: when, why, and what became of them.",
    "offboarding-receipts": "What each offboarding ended, signed, to be kept as proof; and the keys to check it with.",
    "invitations": "How people whom no directory provisions come to sign in: by a link and their own account, once.",
    "groups": "Sets of identities that grants can be made to.",
    "grants": "Durable rights: who may use which tools of which servers, from when, until when.",
    "approvals": "Calls that wait for a person, and access that people ask for: what, by whom, and who may say yes.",
    "policies": "Cedar policies: which calls are denied, or wait for a person, by who asks, for what, and when.",
    "tokens": "Scoped tokens for MCP clients: issued to one identity, within its grants, revoked each on its own.",
    "access": "Why a call is decided as it is, now or on another day.",
    "service-accounts": "Programs that manage Scopegate itself, and their client secrets.",
    "administrators": "People with a role at this API. Disabling one ends their access at once.",
    "identity-providers": "The OpenID providers whose access tokens open this API, and what their claims mean here.",
    "audit-sinks": "Where the audit trail goes as it grows: batches by HTTPS, in order, each at least once.",
    "webhooks": "Where messages go when something happens, as a call that waits for a person: signed, and sent again.",
    "audit-events": "Who did what, when, and what was decided: every call through the gateway, every change here.",
    "me": "Who the caller is, and what they may do.",
    "break-glass": "Signing in with a password when no OpenID provider can be reached. Off unless configured.",
    "oauth": "How service accounts get a bearer (RFC 6749, client credentials).",
    "health": "For load balancers and monitoring.",
}
_NAMES = {"oauth": "OAuth"}
TAGS = [
    # How reference pages title it.
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
        "description": "An access token (JWT) of the organisation's OpenID provider; the address is an example.",
    },
    "client_credentials": {
        "type": "oauth2",
        "description": "A service account's bearer, `sgb_...`: short-lived, and dead with its credential.",
        "flows": {"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": {}}},
    },
    "break_glass": {
        "type": "http",
        "scheme": "bearer",
        "description": "The bearer of a break-glass session, `sge_...`. Every request made with it is on record.",
    },
    "scoped_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A scoped token, `sgt_...`. It opens `/mcp` for MCP clients, and nothing of this API.",
    },
}
CALLER_SCHEMES: list[dict[str, list[str]]] = [{"oidc": []}, {"client_credentials": []}, {"break_glass": []}]


RATE_LIMIT = ["RateLimit", "RateLimit-Policy"]
_ANSWER_HEADERS: dict[str, tuple[str, Schema]] = {
    "X-Request-ID": (
        "The request's id: yours, or a new one. It stands in the audit trail.",
        {"type": "string", "examples": ["req_01936d5e7c0070008000000000000000"]},
    ),
    "ETag": (
        "The revision of the object in this answer, for `If-Match`.",
        {"type": "string", "examples": ['"3"']},
    ),
    "Location": (
        "The address of what was made.",
        {
            "type": "string",
            "format": "uri-reference",
            "examples": ["/api/v1/tokens/tok_01jdpnwz00e008000000000000"],
        },
    ),
    "Idempotency-Replayed": (
        "That this is the answer which the first request with the key got.",
        {"type": "string", "const": "true"},
    ),
    "RateLimit": (
        "What is left, and in how many seconds all of it is back (draft-ietf-httpapi-ratelimit-headers-10).",
        {"type": "string", "examples": ['"requests";r=5999;t=60']},
    ),
    "RateLimit-Policy": (
        "The limit: so many in so many seconds, of each worker.",
        {"type": "string", "examples": ['"requests";q=6000;w=60']},
    ),
    "Retry-After": ("Seconds to wait before repeating.", {"type": "integer", "minimum": 0, "examples": [1]}),
    "WWW-Authenticate": (
        "How to authenticate.",
        {"type": "string", "examples": ['Bearer realm="scopegate"']},
    ),
}
HEADERS = {name: {"description": text, "schema": schema} for name, (text, schema) in _ANSWER_HEADERS.items()}


# The name of the shared answer, and what it says when, of each status that is answered with a problem.
_PROBLEMS = {
    400: (
        "BadRequest",
        "malformed_request",
        "The request cannot be read: its JSON, its cursor, or a header.",
    ),
    401: ("Unauthenticated", "unauthenticated", "The credential is missing, unknown, expired or revoked."),
    403: ("Forbidden", "forbidden", "The caller lacks the permission that the detail names."),
    404: (
        "NotFound",
        "not_found",
        "There is no such object, it has ended, or the caller may not know of it.",
    ),
    409: ("Conflict", "conflict", "The change collides with how things are now."),
    412: (
        "PreconditionFailed",
        "revision_mismatch",
        "The object has changed since the `ETag` in `If-Match`.",
    ),
    413: ("BodyTooLarge", "body_too_large", "The body is larger than the API takes."),
    415: ("UnsupportedMediaType", "unsupported_media_type", "The body is not said to be JSON."),
    422: ("Invalid", "validation_failed", "The request reads well, and a value in it is not acceptable."),
    428: (
        "PreconditionRequired",
        "precondition_required",
        "The change needs the `ETag` of the object in `If-Match`.",
    ),
    429: ("RateLimited", "rate_limited", "Too many requests; come back after `Retry-After` seconds."),
    503: ("Unavailable", "unavailable", "The service cannot answer now. Nothing was changed; repeat it."),
}
_EXTRA_HEADERS = {
    401: ["WWW-Authenticate"],
    409: ["Retry-After"],
    429: ["Retry-After", *RATE_LIMIT],
    503: ["Retry-After"],
}


def header(name: str) -> dict[str, str]:
    """A reference to a header that answers share."""
    return {"$ref": f"#/components/headers/{name}"}


def problem_reference(status: int) -> dict[str, str]:
    """A reference to the shared answer of a status."""
    return {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"}


def problem_responses() -> dict[str, Any]:
    """The shared answers."""
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
            operation["security"] = [] if permission is None else CALLER_SCHEMES
            body = operation.get("requestBody", {}).get("content", {})
            if method == "patch" and JSON in body:
                body[MERGE_PATCH] = body[JSON]
            operation["responses"] = _answers(operation, path, known_caller=permission is not None)
            _require_tag(operation)
            _add_headers(operation, schemas)
    found["components"]["responses"] = problem_responses()
    found["components"]["headers"] = HEADERS
    found["components"]["securitySchemes"] = SECURITY_SCHEMES


def in_order(paths: dict[str, Any]) -> dict[str, Any]:
    """As one reads them: by tag, then a collection before what is in it; reading, making, changing, ending."""
    tags = [tag["name"] for tag in TAGS]

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
    answers |= {str(status): problem_reference(status) for status in statuses}
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
        if operation.get("security") == CALLER_SCHEMES:
            names += RATE_LIMIT
        if status == "201":
            names.append("Location")
            if any(
                parameter["name"].lower() == "idempotency-key"
                for parameter in operation.get("parameters", ())
            ):
                names.append("Idempotency-Replayed")
        if status.startswith("2") and _shows_revision(answer, schemas):
            names.append("ETag")
        answer["headers"] = {name: header(name) for name in names} | answer.get("headers", {})


def _shows_revision(answer: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether an answer is one object with a revision, or what was done with one."""
    reference = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    fields = schemas.get(reference.removeprefix(SCHEMAS), {}).get("properties", {})
    inner = [schemas.get(field.get("$ref", "").removeprefix(SCHEMAS), {}) for field in fields.values()]
    return "revision" in fields or any("revision" in schema.get("properties", {}) for schema in inner)
