"""Starting and stopping one worker: engine, keys, outbound client, background tasks, and the gateway's ports."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress

import asyncpg
from fastapi import FastAPI

from app.adapters.console.console import Console
from app.features.access.admission import AdmissionWriter
from app.features.access.clients import Clients
from app.features.access.clockwork import DatabaseClock
from app.features.access.in_flight import InFlightTable
from app.features.access.refusals import Refusals
from app.features.access.second_lane import SecondLane
from app.features.access.snapshot import AccessSnapshot
from app.features.administrators.break_glass import BreakGlass
from app.features.audit.epochs import ensure_epoch
from app.features.policies.judging import Rules
from app.features.webhooks.deliver import Deliveries
from app.gateway import Gateway
from app.gateway.limits import Allowance
from app.gateway.times import CallTimes
from app.kit.client_tokens import ClientTokens
from app.kit.crypto import Peppers, Sealer
from app.kit.database import make_engine, make_sessions, plain_url
from app.kit.ids import new_id
from app.kit.outbound import AddressPolicy, Limits, OutboundClient
from app.kit.rate_limits import LimitedAuthenticator, Quota, SignInAttempts
from app.kit.runtime import Runtime
from app.kit.stdio import SupervisorAddress
from app.lifespan.admissions import AdmissionPort
from app.lifespan.approvals import CHANNEL as APPROVALS_CHANNEL
from app.lifespan.approvals import ApprovalNewsPort
from app.lifespan.commands import Commands, Reach
from app.lifespan.pages import pages
from app.lifespan.ports import (
    EndedSessionsPort,
    InFlightPort,
    RefusedSignIns,
    SnapshotPort,
    TokenUses,
)
from app.lifespan.sessions import CHANNEL, NeighboursPort, SessionNotesPort
from app.lifespan.sign_in import ProviderWatch, authenticator, local_administrator, provider_keys
from app.lifespan.syncs import PeriodicSyncs, SyncRequestsPort
from app.settings import Settings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
# Reads for cold tokens and refreshes, beside the API's own pool.
_SNAPSHOT_CONNECTIONS = 4
_STOP_S = 5.0
_CONNECTION_SETTINGS = {
    "application_name": "scopegate-gateway",
    "timezone": "UTC",
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "10000",
    # Look-ups by key, whatever the statistics say of a small or a freshly grown table.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


def make_lifespan(settings: Settings) -> Lifespan:
    """The lifespan of the API application; it leaves ``runtime`` and ``gateway`` on ``app.state``."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            reach = Reach()
            runtime, app.state.break_glass, app.state.console = await _runtime(settings, stack, reach)
            app.state.runtime = runtime
            app.state.gateway, app.state.access = await _gateway(settings, runtime, stack, reach)
            deliveries = Deliveries(runtime.sessions, runtime.sealer, runtime.outbound, runtime.public_url)
            delivering = asyncio.create_task(deliveries.run(), name="webhooks")
            stack.push_async_callback(_cancelled, delivering)
            yield

    return lifespan


async def _runtime(
    settings: Settings, stack: AsyncExitStack, reach: Reach
) -> tuple[Runtime, BreakGlass, Console]:
    engine = make_engine(_url(settings), pool_size=settings.database_pool_size, name="scopegate-api")
    stack.push_async_callback(engine.dispose)
    outbound = await stack.enter_async_context(
        OutboundClient(
            AddressPolicy(allowed_networks=settings.upstream_allowed_networks),
            limits=Limits(
                connections_per_origin=settings.limit_connections,
                connections_per_caller=settings.limit_connections_per_identity,
            ),
        )
    )
    client_tokens = ClientTokens(outbound)
    stack.push_async_callback(client_tokens.aclose)
    peppers, sessions = Peppers(settings.keys("token_pepper")), make_sessions(engine)
    keys, publications = await provider_keys(settings, outbound, stack)
    watch = ProviderWatch(sessions, keys, settings.oidc_provider)
    await watch.keep_environment()
    watching = asyncio.create_task(watch.run(), name="providers")
    stack.push_async_callback(_cancelled, watching)
    break_glass = local_administrator(settings, sessions, peppers, stack)
    workers = settings.workers
    attempts = SignInAttempts(Quota("failed-sign-ins", settings.limit_failed_sign_ins, workers=workers))
    requests = Quota("requests", settings.limit_requests, workers=workers)
    runtime = Runtime(
        sessions=sessions,
        peppers=peppers,
        sealer=Sealer(settings.keys("encryption_key")),
        outbound=outbound,
        client_tokens=client_tokens,
        authenticate=LimitedAuthenticator(
            authenticator(sessions, peppers, keys, break_glass), attempts, requests
        ),
        attempts=attempts,
        public_url=settings.base_url,
        commands=settings.stdio_allowed_commands,
        supervisor=SupervisorAddress.from_environment(),
        max_token_ttl=settings.max_token_ttl,
        approval_ttl=settings.approval_ttl,
        time_zone=settings.time_zone,
        permits_by_default=settings.policy_default == "permit",
        warnings=lambda: [*keys.warnings(), *outbound.breaker.warnings(), *reach.warnings()],
    )
    return runtime, break_glass, pages(settings, sessions, keys, publications, attempts, requests)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _gateway(
    settings: Settings, runtime: Runtime, stack: AsyncExitStack, reach: Reach
) -> tuple[Gateway, AccessSnapshot]:
    direct_url = settings.database_direct_url
    url = plain_url(_url(settings) if direct_url is None else direct_url.get_secret_value())

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        connection = await asyncpg.connect(url, timeout=1.4, server_settings=_CONNECTION_SETTINGS)
        try:
            # A promoted standby and a restored database need an epoch of their own before anything is recorded.
            await ensure_epoch(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    pool = await stack.enter_async_context(
        asyncpg.create_pool(
            url, min_size=1, max_size=_SNAPSHOT_CONNECTIONS, timeout=1.4, server_settings=_CONNECTION_SETTINGS
        )
    )
    worker_id, clock, peppers = new_id(), DatabaseClock(), runtime.peppers
    snapshot = AccessSnapshot(
        pool,
        runtime.sessions,
        peppers,
        runtime.sealer,
        runtime.client_tokens,
        clock,
        Rules(runtime.time_zone, runtime.permits_by_default),
    )
    await snapshot.prepare()
    writer = AdmissionWriter(connect, clock, worker_id, peppers.current_id)
    ttl = settings.approval_ttl.total_seconds()
    lane = SecondLane(connect, clock, worker_id, peppers.current_id, ttl)
    neighbours, approvals = NeighboursPort(runtime.sessions), ApprovalNewsPort(runtime.sessions)
    heard = {CHANNEL: neighbours.hear, APPROVALS_CHANNEL: approvals.hear}
    table = InFlightTable(connect, clock, worker_id, snapshot.forget, heard)
    uses = TokenUses(runtime.sessions)
    refusals = Refusals(writer.write_later)
    clients = Clients(peppers.derive("clients"))
    runtime.attempts.tell = RefusedSignIns(refusals, clients).count
    syncs = SyncRequestsPort(runtime)
    commands = Commands(runtime.supervisor, worker_id, runtime.outbound, table, snapshot, reach)
    snapshots = SnapshotPort(snapshot, commands)
    await _run_in_background(
        stack, (writer, lane), table, refusals, uses, (syncs, commands, neighbours, approvals)
    )
    per_token, per_identity = _allowances(settings)
    gateway = Gateway(
        snapshots,
        AdmissionPort(writer, lane, clients, refusals, uses, peppers.derive("arguments"), runtime.sealer),
        InFlightPort(table, snapshots),
        EndedSessionsPort(runtime.sessions),
        syncs,
        runtime.outbound,
        approval_news=approvals,
        session_notes=SessionNotesPort(runtime.sessions),
        neighbours=neighbours,
        session_keys=runtime.sealer.derived_keys("mcp sessions"),
        public_url=settings.base_url,
        trusted_proxies=settings.trusted_proxies,
        per_token=per_token.share(settings.workers),
        per_identity=per_identity.share(settings.workers),
        times=CallTimes.of(settings.limit_silence, settings.limit_call_time, settings.limit_stream_time),
    )
    neighbours.gateway = approvals.gateway = gateway
    stack.push_async_callback(gateway.aclose)
    periodic = asyncio.create_task(PeriodicSyncs(runtime, settings.sync_interval).run(), name="syncs")
    stack.push_async_callback(_cancelled, periodic)
    return gateway, snapshot


def _allowances(settings: Settings) -> tuple[Allowance, Allowance]:
    """What a token and an identity may ask of all workers together."""
    return (
        Allowance(settings.limit_calls, settings.limit_calls_at_once, settings.limit_streams),
        Allowance(
            settings.limit_calls_per_identity,
            settings.limit_calls_at_once_per_identity,
            settings.limit_streams_per_identity,
        ),
    )


async def _run_in_background(
    stack: AsyncExitStack,
    lanes: tuple[AdmissionWriter, SecondLane],
    table: InFlightTable,
    refusals: Refusals,
    uses: TokenUses,
    others: tuple[SyncRequestsPort, Commands, NeighboursPort, ApprovalNewsPort],
) -> None:
    """Start the worker's loops; at the end, calls are cut first and what they leave is written last."""
    writing = [asyncio.create_task(lane.run(), name="admission") for lane in lanes]
    watching = asyncio.create_task(table.run(), name="in flight")
    extras = [asyncio.create_task(loop.run()) for loop in (refusals, uses, *others)]

    async def stop() -> None:
        table.close()
        for task in extras:
            task.cancel()
        await asyncio.gather(watching, *extras, return_exceptions=True)
        refusals.flush()
        with suppress(Exception):
            # The last uses are a convenience; a database that is away must not hold the exit.
            await uses.flush()
        for lane in lanes:
            lane.close()
        await asyncio.wait(writing, timeout=_STOP_S)
        for task in writing:
            task.cancel()

    stack.push_async_callback(stop)


def _url(settings: Settings) -> str:
    if settings.database_url is None:
        raise RuntimeError("the command line resolves the embedded database before the service starts")
    return settings.database_url.get_secret_value()
