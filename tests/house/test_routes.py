"""Every route declares its permission or is a listed public one, and no route blocks a thread."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic import BaseModel, SecretStr, TypeAdapter

from app.http.authorization import CanReadSelf, Permission, permission_of, requires
from app.main import create_api
from app.settings import Settings

OPEN = {
    "/.well-known/jwks.json",
    "/api/v1/break-glass",
    "/approvals",
    "/approvals/{approval_id}",
    "/console/assets/{name}",
    "/docs",
    "/",
    "/docs/errors",
    "/docs/errors/",
    "/favicon.ico",
    "/docs/errors/{code}",
    "/docs/logo-mini.svg",
    "/docs/redoc.js",
    "/docs/start.js",
    "/invitations/{secret}",
    "/livez",
    "/login",
    "/login/callback",
    "/login/callback/{provider}",
    "/logout/back-channel",
    "/oauth/token",
    "/openapi.json",
    "/readyz",
    "/register",
    "/signed-out",
}


@pytest.fixture
def api() -> FastAPI:
    """The real application, not started."""
    key = SecretStr("k" * 40)
    return create_api(
        Settings(
            database_url=SecretStr("postgresql://nowhere/x"),
            token_pepper=key,
            encryption_key=key,
            signing_key=key,
        )
    )


def permissions(dependant: Any) -> Iterator[Permission]:
    """Return all permissions that a route's dependencies require, recursively."""
    for dependency in dependant.dependencies:
        found = permission_of(dependency.call)
        if found is not None:
            yield found
        yield from permissions(dependency)


def routes(api: FastAPI) -> list[RouteContext]:
    """Every route, those of included routers too, with its whole path and all of its dependencies."""
    return list(iter_route_contexts(api.routes))


def calls(dependant: Any) -> Iterator[Any]:
    """Return a route's handler and all functions that run before it."""
    yield dependant.call
    for dependency in dependant.dependencies:
        yield from calls(dependency)


def undeclared(api: FastAPI) -> list[str]:
    """The paths of routes that anybody could call, but for the open ones."""
    found = []
    for route in routes(api):
        path = str(route.path)
        if path in OPEN:
            continue
        # What is mounted has no dependencies to look into, so it counts as open.
        dependant = getattr(route, "dependant", None)
        if dependant is None or not list(permissions(dependant)):
            found.append(path)
    return found


def test_every_route_declares_its_permission(api: FastAPI) -> None:
    assert "/api/v1/service-accounts" in {route.path for route in routes(api)}, "the routes were not found"
    assert undeclared(api) == []


def test_no_open_path_is_listed_that_is_not_there(api: FastAPI) -> None:
    assert OPEN - {route.path for route in routes(api)} == set()


def test_a_route_without_a_permission_is_found(api: FastAPI) -> None:
    router = APIRouter(prefix="/api/v1/bad")

    @router.get("/without")
    async def without() -> None: ...

    @router.get("/declared", dependencies=[requires(Permission.SERVERS_READ)])
    async def declared() -> None: ...

    @router.get("/parameter")
    async def parameter(caller: CanReadSelf) -> None: ...

    api.include_router(router)
    api.mount("/api/v1/mounted", FastAPI())
    assert undeclared(api) == ["/api/v1/bad/without", "/api/v1/mounted"]


def test_every_operation_has_a_name_of_its_own_and_one_tag(api: FastAPI) -> None:
    seen: set[str] = set()
    for path, item in api.openapi()["paths"].items():
        for method, operation in item.items():
            name = operation["operationId"]
            assert name not in seen, f"{name} names two operations"
            assert "__" not in name, f"{method} {path} has no operationId of its own"
            assert len(operation.get("tags", [])) == 1, f"{method} {path} needs one tag"
            seen.add(name)


def test_no_request_is_handed_to_a_thread(api: FastAPI) -> None:
    """FastAPI runs functions that are not async in a thread, at each request, even trivial ones."""
    called = {
        call for route in routes(api) if (found := getattr(route, "dependant", None)) for call in calls(found)
    }
    assert called
    handed = {
        call for call in called if not (inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call))
    }
    assert not handed


def lax(schema: Any, where: str) -> Iterator[str]:
    """Where a core schema takes a text or a boolean for a number, or either for a boolean."""
    if isinstance(schema, dict):
        # A field may be named "type" too.
        if schema.get("type") in ("int", "float", "bool") and not schema.get("strict"):
            yield where
        for name, inner in schema.items():
            yield from lax(inner, f"{where}/{name}")
    elif isinstance(schema, list | tuple):
        for inner in schema:
            yield from lax(inner, where)


def bodies(api: FastAPI) -> Iterator[tuple[str, str, Any]]:
    """The method, path and type of each JSON body."""
    for route in routes(api):
        for body in getattr(getattr(route, "dependant", None), "body_params", ()):
            for method in route.methods or ():
                yield method.lower(), str(route.path), body.field_info.annotation


def lax_bodies(api: FastAPI) -> list[str]:
    return [
        found
        for _, path, annotation in bodies(api)
        for found in lax(TypeAdapter(annotation).core_schema, path)
    ]


def test_request_bodies_reject_strings_as_numbers_and_booleans(api: FastAPI) -> None:
    in_contract = {
        (method, path)
        for path, item in api.openapi()["paths"].items()
        for method, operation in item.items()
        if any("json" in media for media in operation.get("requestBody", {}).get("content", ()))
    }
    assert {(method, path) for method, path, _ in bodies(api)} == in_contract
    assert lax_bodies(api) == []


def test_a_schema_that_accepts_strings_as_numbers_is_found(api: FastAPI) -> None:
    class Days(BaseModel):
        days: int

    @api.post("/api/v1/lax", dependencies=[requires(Permission.SERVERS_READ)])
    async def post_lax(body: list[Days]) -> None: ...

    assert [found.partition("/schema")[0] for found in lax_bodies(api)] == ["/api/v1/lax/items_schema"]
