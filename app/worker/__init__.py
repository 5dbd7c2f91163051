"""The lifespan of a worker: engine, keys, outbound client, background tasks, and the gateway's store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from app.adapters.console.console import Console
from app.adapters.ssf.polling import Polling
from app.adapters.ssf.push_routes import Receiver, RefusedEvents
from app.crypto.jwt import ProviderKeys
from app.crypto.keys import Peppers, Sealer
from app.crypto.signed_notes import NoteSigner, log_name
from app.crypto.signing import Signer
from app.db.engine import make_engine, make_sessions
from app.db.migrations import SchemaCheck
from app.db.rewinds import RewindGuard
from app.features.administrators.break_glass import BreakGlass
from app.features.audit.sealing.sealer import Sealing
from app.features.audit.stats import HourCounts
from app.features.audit_sinks.deliver import AuditDeliveries
from app.features.identity_providers.signals.transmitters import Transmitters
from app.features.offboarding.schedule import ScheduledOffboardings
from app.features.servers.sync import RequestedSyncs
from app.features.tokens.connection_check import ConnectionChecks
from app.features.tokens.expiring import ExpiryNotices
from app.features.webhooks.deliver import Deliveries, DeliveryRetention
from app.http.live import Live
from app.http.rate_limits import LimitedAuthenticator, Quota, SignInAttempts
from app.http.readiness import Readiness
from app.http.runtime import Runtime
from app.http.service_address import OwnAddresses
from app.lib.ids import new_id
from app.lib.logs import log_stray_fault
from app.outbound.client_tokens import ClientTokens
from app.outbound.http import AddressPolicy, Limits, LoopGuard, OutboundClient
from app.outbound.stdio import SupervisorAddress
from app.settings import Settings
from app.worker.background import run_until_closed
from app.worker.database import Connector, database_url, direct_url
from app.worker.gateway import start_gateway
from app.worker.sign_in import ProviderWatch, authenticators, local_administrator, pages, provider_keys

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def make_lifespan(settings: Settings, rewinds: RewindGuard) -> Lifespan:
    """Build the lifespan of the API application; it sets ``runtime`` and ``gateway`` on ``app.state``."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(log_stray_fault)
        async with AsyncExitStack() as stack:
            check = SchemaCheck()
            runtime, app.state.break_glass, app.state.console = await _runtime(
                settings, stack, check, rewinds
            )
            app.state.runtime = runtime
            app.state.signals = _start_receiver(runtime, stack)
            app.state.transmitters = app.state.signals.transmitters
            app.state.gateway, app.state.access = await start_gateway(settings, runtime, stack, check)
            connector = Connector(direct_url(settings), new_id(), check, runtime.rewinds)
            connect = connector.named("sealing")
            sealing = Sealing(connect, runtime.sessions, runtime.log_signer, runtime.rewinds)
            run_until_closed(stack, sealing)
            runtime.warnings.extend((sealing.warnings, app.state.access.policies.warnings))
            app.state.connection_checks = ConnectionChecks(settings.workers)
            app.state.requested_syncs = RequestedSyncs()
            stack.push_async_callback(app.state.requested_syncs.aclose)
            sessions, sealer, outbound = runtime.sessions, runtime.sealer, runtime.outbound
            for loop in (
                Deliveries(sessions, sealer, outbound, runtime.public_url),
                DeliveryRetention(sessions),
                AuditDeliveries(sessions, sealer, outbound),
                ScheduledOffboardings(sessions, runtime.signer),
                ExpiryNotices(sessions, settings.expiry_notice),
                HourCounts(sessions),
                runtime.live.pulse,
            ):
                run_until_closed(stack, loop)
            yield

    return lifespan


def _start_receiver(runtime: Runtime, stack: AsyncExitStack) -> Receiver:
    """Build the receiver of event tokens, maintained until ``stack`` is closed."""
    transmitters = Transmitters(runtime.outbound)
    keys = ProviderKeys(
        transmitters.keys_of, description="transmitter of signals", impact="none of its events is taken"
    )
    stack.push_async_callback(keys.aclose)
    receiver = Receiver(transmitters, keys, RefusedEvents(runtime.sessions))
    run_until_closed(stack, Polling(runtime.sessions, runtime.sealer, runtime.signer, receiver))
    runtime.warnings.append(keys.warnings)
    return receiver


async def _runtime(
    settings: Settings, stack: AsyncExitStack, check: SchemaCheck, rewinds: RewindGuard
) -> tuple[Runtime, BreakGlass, Console]:
    engine = make_engine(
        database_url(settings), pool_size=settings.database_pool_size, name="scopegate-api", check=check
    )
    stack.push_async_callback(engine.dispose)
    sealer = Sealer(settings.keys("encryption_key"))
    limits = Limits(
        connections_per_origin=settings.limit_connections,
        connections_per_caller=settings.limit_connections_per_identity,
    )
    policy, loops = (
        AddressPolicy(settings.upstream_allowed_networks),
        LoopGuard(sealer.derive_all("loop guard")),
    )
    outbound = await stack.enter_async_context(OutboundClient(policy, loops=loops, limits=limits))
    client_tokens = ClientTokens(outbound)
    stack.push_async_callback(client_tokens.aclose)
    peppers, sessions = Peppers(settings.keys("token_pepper")), make_sessions(engine)
    keys, publications = await provider_keys(settings, outbound, stack)
    watch = ProviderWatch(sessions, keys, settings.oidc_provider)
    await watch.keep_environment()
    run_until_closed(stack, watch)
    break_glass = local_administrator(settings, sessions, peppers, stack)
    readiness = Readiness(database_url(settings), sealer.ids)
    stack.callback(readiness.close)
    workers = settings.workers
    attempts = SignInAttempts(Quota("failed-sign-ins", settings.limit_failed_sign_ins, workers=workers))
    requests = Quota("requests", settings.limit_requests, workers=workers)
    people, machines = authenticators(sessions, peppers, keys, break_glass)
    runtime = Runtime(
        sessions=sessions,
        peppers=peppers,
        sealer=sealer,
        signer=Signer(settings.keys("signing_key"), settings.base_url),
        log_signer=NoteSigner(settings.keys("signing_key"), log_name(settings.base_url)),
        outbound=outbound,
        client_tokens=client_tokens,
        authenticate=LimitedAuthenticator(people, attempts, requests),
        authenticate_machine=LimitedAuthenticator(machines, attempts, requests),
        attempts=attempts,
        public_url=settings.base_url,
        own_addresses=OwnAddresses(
            (settings.base_url, *settings.allowed_origins, f"http://{settings.host}:{settings.port}"),
            (settings.port,),
        ),
        commands=settings.stdio_allowed_commands,
        supervisor=SupervisorAddress.from_environment(),
        max_token_ttl=settings.max_token_ttl,
        pickup_ttl=settings.pickup_ttl,
        approval_ttl=settings.approval_ttl,
        time_zone=settings.time_zone,
        permits_by_default=settings.policy_default == "permit",
        live=Live(sessions),
        readiness=readiness,
        rewinds=rewinds,
        warnings=[keys.warnings, outbound.breaker.warnings],
    )
    return runtime, break_glass, pages(settings, sessions, keys, publications, attempts, requests)
