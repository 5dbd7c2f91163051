"""A gateway on loopback with a store in memory, and upstream servers.

The store keeps its contract in memory: admission compares versions like the database.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from math import inf
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx2
import uvicorn

from app.admission.store import (
    Admitted,
    Client,
    CredentialUnavailable,
    DecidedCall,
    Reevaluated,
    SessionSettings,
    Stale,
    StoreUnavailable,
    UpstreamTarget,
    View,
    Withheld,
)
from app.domain.access import FLEET_ID, POLICY_SET_ID, PolicyContext
from app.domain.definitions import definition_digest, text_digest
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token, Tool, ToolState
from app.domain.policy import ApprovalDemand, Effect, GrantedIsAllowed, PolicyInput, PolicyVerdict
from app.domain.risk import Risk
from app.domain.scopes import AllServers, AllTools, GrantsScope, ServersByIds, ToolsByNames
from app.domain.token_format import SCOPED_TOKEN, Credential, format_credential, parse_credential
from app.domain.visibility import make_directory
from app.gateway import Gateway
from app.http.server_protocol import GuardedHttp
from app.lib.clock import boot_time
from app.outbound.http import AddressPolicy, OutboundClient
from app.outbound.mcp.probe import list_tools, open_connection, probe
from tests.serving import listener, served

CREDENTIAL = b"upstream-secret-0123456789"
LOOPBACK = ip_network("127.0.0.0/8")
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class Policies:
    """Denies named tools or requires approval for them. Tests may change both while calls run."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Effect] = {}
        self.asks: dict[str, tuple[ApprovalDemand, ...]] = {}

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        name = None if request.tool is None else request.tool.name
        if request.arguments is not None and name in self.verdicts:
            return PolicyVerdict(self.verdicts[name], "policy_forbids")
        if request.arguments is not None and name in self.asks:
            return PolicyVerdict(Effect.REQUIRE_APPROVAL, "approval_required", asks=self.asks[name])
        # Unlike a published set, this changes while calls run, so its verdicts must not be cached.
        return replace(GrantedIsAllowed().evaluate(request), reads_call=True)


@dataclass
class Approvals:
    """Approvals that clients wait for, until the test decides them."""

    waited_for: list[frozenset[UUID]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Store:
    """``admission.store.Store`` in memory: the current data (``tokens``, ``servers``), and the outdated data of a
    worker."""

    tokens: dict[UUID, tuple[str, Token]] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    targets: dict[UUID, UpstreamTarget] = field(default_factory=dict)
    versions: dict[UUID, int] = field(default_factory=dict)
    policies: Policies = field(default_factory=Policies)
    calls: list[DecidedCall] = field(default_factory=list)
    outcomes: dict[UUID, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    not_accepted: list[UpstreamTarget] = field(default_factory=list)
    unknown: list[Client] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    """The ids of requests without a decision."""
    syncs: list[UUID] = field(default_factory=list)
    ended: set[UUID] = field(default_factory=set)
    notes: dict[UUID, SessionSettings] = field(default_factory=dict)
    broadcasts: list[tuple[UUID, str | int]] = field(default_factory=list)
    approvals: Approvals = field(default_factory=Approvals)
    watched: dict[UUID, Callable[[], None]] = field(default_factory=dict)
    asked: dict[UUID, tuple[View, Reevaluated, frozenset[ApprovalDemand]]] = field(default_factory=dict)
    cached: dict[UUID, View] = field(default_factory=dict)
    withheld: Callable[[DecidedCall], Withheld | None] = lambda _call: None
    """The verdict of the admission for calls that need approvals or count in a quota."""
    down: bool = False
    no_credential: CredentialUnavailable | None = None
    refreshes: int = 0
    age: float = 0.0
    """Seconds by which admissions are older than now."""
    at_admission: Callable[[DecidedCall], None] | None = None
    at_refresh: Callable[[], None] | None = None
    confirmed: dict[UUID, float] = field(default_factory=dict)
    """When running calls were last confirmed."""

    def _view(self, credential: Credential) -> View | None:
        known = self.tokens.get(credential.id)
        if known is None or known[0] != credential.secret:
            return None
        context = PolicyContext(self._version(FLEET_ID), self._version(POLICY_SET_ID), self.policies)
        servers = MappingProxyType(dict(self.servers))
        directory = make_directory({server.id: server for server in servers.values()})
        return View(known[1], context, servers, credential, directory)

    def _version(self, id: UUID) -> int:
        return self.versions.setdefault(id, 1)

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable

    def known_view(self, credential: Credential) -> View | None:
        view = None if self.down else self.cached.get(credential.id)
        return None if view is None or view.credential != credential else view

    async def resolve(self, credential: Credential) -> View | None:
        self._check()
        view = self.known_view(credential) or self._view(credential)
        if view is not None:
            self.cached[credential.id] = view
        return view

    async def refresh(self, view: View, about: Collection[UUID] = ()) -> View | None:
        self._check()
        self.refreshes += 1
        if self.at_refresh is not None:
            self.at_refresh()
        fresh = self._view(view.credential)
        if fresh is not None:
            if fresh.context.fleet_version == view.context.fleet_version:
                read = {server.id for server in view.within()}.union(about)
                servers = {
                    slug: server if server.id in read else view.servers.get(slug, server)
                    for slug, server in fresh.servers.items()
                }
                fresh.servers = MappingProxyType(servers)
            self.cached[view.token.id] = fresh
        return fresh

    def known_target(self, server: Server, token: Token) -> UpstreamTarget | None:
        return None if self.no_credential is not None else self.targets.get(server.id)

    async def target(self, server: Server, token: Token) -> UpstreamTarget:
        if self.no_credential is not None:
            raise self.no_credential
        return self.targets[server.id]

    def credential_refused(self, target: UpstreamTarget) -> None:
        self.not_accepted.append(target)

    def now(self) -> float:
        return time.time()

    async def admit(self, call: DecidedCall) -> Admitted | Stale | Withheld:
        await asyncio.sleep(0)
        self._check()
        if self.at_admission is not None:
            self.at_admission(call)
        for id, version in call.decision.depends_on:
            if self.versions.get(id, 0) != version:
                return Stale()
        self.calls.append(call)
        if call.decision.asks or call.decision.quotas:
            withheld = self.withheld(call)
            if withheld is not None:
                return withheld
        return Admitted(boot_time() - self.age)

    def finish(self, call_id: UUID, outcome: str, duration_ms: int) -> None:
        assert self.outcomes.get(call_id, "unknown") == "unknown"
        assert duration_ms >= 0
        self.outcomes[call_id] = outcome

    def count_refused(self, view: View, reason_code: str, client: Client, request_id: str) -> None:
        self.refused.append(reason_code)
        self.counted.append(request_id)

    def count_unknown(self, client: Client, request_id: str) -> None:
        self.unknown.append(client)
        self.counted.append(request_id)

    def watch(self, call: DecidedCall, view: View, request: Reevaluated, cut: Callable[[], None]) -> None:
        approvals = frozenset(call.decision.asks)
        assert request.reevaluate(view, self.now(), approvals).allowed
        self.watched[call.id] = cut
        self.asked[call.id] = view, request, approvals

    def confirmed_at(self, call_id: UUID) -> float:
        return self.confirmed.get(call_id, -inf)

    def unwatch(self, call_id: UUID) -> None:
        self.watched.pop(call_id, None)
        self.asked.pop(call_id, None)

    def cut_all(self) -> None:
        """Cut all calls, as after withdrawn access."""
        for cut in list(self.watched.values()):
            cut()

    async def look_again(self) -> None:
        """Reevaluate running calls, as after a change, and cut those that are no longer allowed."""
        for id, (view, request, approvals) in list(self.asked.items()):
            fresh = await self.refresh(view, [server.id for server in view.servers.values()])
            if fresh is None or not request.reevaluate(fresh, self.now(), approvals).allowed:
                self.watched[id]()

    async def end_session(self, session_id: UUID, token_id: UUID) -> None:
        self._check()
        self.ended.add(session_id)
        self.versions[session_id] = 1

    async def has_session_ended(self, session_id: UUID) -> bool:
        return session_id in self.ended

    async def read_session_settings(self, session_id: UUID) -> SessionSettings:
        return self.notes.get(session_id, SessionSettings())

    async def change_session_settings(
        self, session_id: UUID, token_id: UUID, change: Callable[[SessionSettings], SessionSettings]
    ) -> SessionSettings:
        self.notes[session_id] = notes = change(self.notes.get(session_id, SessionSettings()))
        return notes

    def broadcast_cancel(self, session_id: UUID, request_id: str | int) -> None:
        self.broadcasts.append((session_id, request_id))

    async def wait_for_approvals(self, ids: Collection[UUID]) -> None:
        self.approvals.waited_for.append(frozenset(ids))
        self.approvals.begun.set()
        try:
            await self.approvals.decided.wait()
        finally:
            self.approvals.ended.set()

    def request_sync(self, server_id: UUID) -> None:
        self.syncs.append(server_id)

    # ---- the control plane, as tests need it

    def issue(self, *grants: Grant, expires_at: float = inf) -> str:
        """Issue a token for a new identity with these grants; returns its secret."""
        identity = Identity(uuid4(), 1, IdentityStatus.ACTIVE, grants=grants)
        token = Token(uuid4(), 1, identity, GrantsScope(), expires_at)
        text = format_credential(SCOPED_TOKEN, token.id, uuid4().bytes + uuid4().bytes)
        credential = parse_credential(text, SCOPED_TOKEN)
        assert credential is not None
        self.tokens[token.id] = (credential.secret, token)
        for id in (token.id, identity.id, *(grant.id for grant in grants)):
            self.versions[id] = 1
        return text

    def change(self, text: str, **changes: Any) -> None:
        """Change a token and its version, without notifying workers."""
        credential = parse_credential(text, SCOPED_TOKEN)
        assert credential is not None
        secret, token = self.tokens[credential.id]
        version = self.versions[token.id] = token.version + 1
        self.tokens[token.id] = (secret, replace(token, version=version, **changes))

    def change_server(self, slug: str, **changes: Any) -> None:
        """Change a server and its version, without notifying workers."""
        server = self.servers[slug]
        version = self.versions[server.id] = server.version + 1
        self.servers[slug] = replace(server, version=version, **changes)

    def register(
        self,
        slug: str,
        url: str,
        versions: tuple[str, ...],
        tools: list[dict[str, Any]],
        headers: tuple[tuple[bytes, bytes], ...] = ((b"authorization", b"Bearer " + CREDENTIAL),),
        *,
        instructions: str | None = None,
    ) -> Server:
        """A server with all the listed tools, and what it says of its use, approved."""
        catalogue = {
            tool["name"]: Tool(
                uuid4(),
                tool["name"],
                Risk.READ,
                ToolState.ACTIVE,
                definition_digest(tool),
                tool.get("inputSchema") if "x-mcp-header" in str(tool) else None,
            )
            for tool in tools
        }
        digest = None if instructions is None else text_digest(instructions)
        server = Server(uuid4(), 1, slug, True, {}, catalogue, digest)
        self.servers[slug] = server
        self.versions[server.id] = 1
        self.targets[server.id] = UpstreamTarget(url, headers, versions)
        return server

    def grant(
        self, server: Server | None = None, *tools: str, resources: bool = False, prompts: bool = False
    ) -> Grant:
        """A grant of named tools, or of all tools without a name; of one server, or of all."""
        servers = AllServers() if server is None else ServersByIds(frozenset({server.id}))
        selected = ToolsByNames(frozenset(tools)) if tools else AllTools()
        return Grant(uuid4(), 1, servers, selected, resources, prompts)

    def admitted(self, action: str) -> list[DecidedCall]:
        """Return the recorded allowed calls with this action."""
        return [call for call in self.calls if call.action == action and call.decision.allowed]


@asynccontextmanager
async def serve(
    app: Any, *, lifespan: Literal["on", "off"] = "off", http: type[asyncio.Protocol] | str = "auto"
) -> AsyncIterator[str]:
    """Serve an ASGI application on a free loopback port; yields its origin."""
    config = uvicorn.Config(
        app, http=http, log_level="error", lifespan=lifespan, ws="none", proxy_headers=False
    )
    with listener() as sock:
        async with served(config, sock):
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@dataclass
class World:
    """A running gateway."""

    store: Store
    gateway: Gateway
    url: str
    outbound: OutboundClient

    async def register(self, slug: str, url: str) -> Server:
        """Register a real server as the control plane would: find its versions, list its tools."""
        headers = ((b"authorization", b"Bearer " + CREDENTIAL),)
        info = await probe(self.outbound, url, headers)
        connection = await open_connection(self.outbound, url, headers, info.protocol_versions)
        tools = await list_tools(connection)
        await connection.close()
        return self.store.register(
            slug, url, info.protocol_versions, tools, headers, instructions=info.instructions
        )

    def client(self, token: str | None, **headers: str) -> httpx2.AsyncClient:
        """A plain HTTP client with the token."""
        sent = {"accept": "application/json, text/event-stream", **headers}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        return httpx2.AsyncClient(base_url=self.url, headers=sent, timeout=60)


@asynccontextmanager
async def running(store: Store | None = None, /, **options: Any) -> AsyncIterator[World]:
    """Run a gateway on loopback with an empty store or this one, with the real HTTP server unless ``http`` is given."""
    store, http = store or Store(), options.pop("http", GuardedHttp)
    outbound = OutboundClient(AddressPolicy((LOOPBACK,)))
    gateway = Gateway(
        store,
        outbound,
        **{
            "session_keys": [b"k" * 32],
            "public_url": "http://127.0.0.1:8080",
            **options,
        },
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0)  # Aborted connections close in the loop's next turn.
        stack.push_async_callback(outbound.aclose)
        stack.push_async_callback(gateway.aclose)
        yield World(store, gateway, await stack.enter_async_context(serve(gateway, http=http)), outbound)
        # Every call leaves the in-flight table, soon after its client left.
        async with asyncio.timeout(50):
            while store.watched:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.01)
