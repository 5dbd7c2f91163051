"""The composition root: one ASGI application that serves the REST API and the gateway."""

from functools import cache
from typing import Any, cast

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

import app as package
from app.adapters.console import routes as console
from app.adapters.console.menu import HOME
from app.adapters.console.page import render_http_error
from app.adapters.oauth import routes as oauth
from app.adapters.scim import routes as scim
from app.adapters.ssf import push_routes as signal_pushes
from app.db.rewinds import RewindGuard
from app.features.access import routes as access
from app.features.administrators import routes as administrators
from app.features.approvals import routes as approvals
from app.features.audit import routes as audit
from app.features.audit_sinks import routes as audit_sinks
from app.features.grants import routes as grants
from app.features.groups import routes as groups
from app.features.identities import routes as identities
from app.features.identity_providers import routes as identity_providers
from app.features.invitations import routes as invitations
from app.features.me import routes as me
from app.features.offboarding import routes as offboarding
from app.features.policies import routes as policies
from app.features.servers import routes as servers
from app.features.service_accounts import routes as service_accounts
from app.features.tokens import routes as tokens
from app.features.tools import routes as tools
from app.features.webhooks import routes as webhooks
from app.http import docs_pages, health, problems
from app.http.openapi import document
from app.http.requests import RequestLimits
from app.http.service_address import ServiceAddress
from app.settings import Settings
from app.worker import make_lifespan


class Scopegate:
    """Sends MCP to the gateway, which is plain ASGI for speed, and everything else to the API."""

    def __init__(self, api: FastAPI, address: ServiceAddress) -> None:
        self.api = api
        renderers = {scim.PREFIX: scim.render_http_error, HOME: render_http_error}
        self._limited: ASGIApp = RequestLimits(api, address, renderers)
        # Cached, since Starlette looks ``state`` up in Python each time.
        self._gateway: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path == "/mcp" or path.startswith("/mcp/"):
                gateway = self._gateway
                if gateway is None:
                    gateway = self._gateway = self.api.state.gateway
                await gateway(scope, receive, send)
                return
            await self._limited(scope, receive, send)
            return
        self._gateway = None
        await self.api(scope, receive, send)


def create_api(settings: Settings, rewinds: RewindGuard | None = None) -> FastAPI:
    """Build the REST API without the gateway."""
    api = FastAPI(
        title="Scopegate",
        version=package.__version__,
        summary="Scoped, revocable, audited access to MCP servers for each person and agent.",
        routes=[*_routes()],
        lifespan=make_lifespan(settings, RewindGuard() if rewinds is None else rewinds),
        docs_url=None,
        redoc_url=None,
        # A redirect would send bearers to an address from the Host header, over plain HTTP behind a proxy.
        redirect_slashes=False,
    )
    problems.install(api)
    api.openapi = cache(lambda: document(api))  # type: ignore[method-assign]
    return api


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Build the routes once per process: this takes most of the time of a start, and does not depend on settings."""
    everything = APIRouter()
    people = (identities, offboarding)
    fleet = (servers, tools, invitations, groups, grants, tokens, approvals, policies, access)
    operation = (service_accounts, identity_providers, administrators, webhooks, audit_sinks, me, audit)
    others = (oauth, signal_pushes, scim, console, health, docs_pages)
    for part in (*people, *fleet, *operation, *others):
        everything.include_router(cast("Any", part).router)
    return tuple(everything.routes)


def create_app(settings: Settings, rewinds: RewindGuard | None = None) -> Scopegate:
    """Build the whole service of a worker. ``rewinds`` is the known progress of the database, if any."""
    address = ServiceAddress(settings.base_url, settings.allowed_origins)
    return Scopegate(create_api(settings, rewinds), address)
