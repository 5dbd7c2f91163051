"""The gateway of a worker: its store, and the background loops."""

from contextlib import AsyncExitStack

from app.access.policy.evaluator import Rules
from app.access.snapshot import AccessSnapshot
from app.admission.consuming_writer import ConsumingWriter
from app.admission.in_flight import InFlightTable
from app.admission.postgres_store import CallRecords, PostgresStore, SnapshotReads
from app.admission.rows import Clients, Refusals
from app.admission.shared_state import SharedState
from app.admission.store import Store
from app.admission.usage import CallUses
from app.admission.writer import AdmissionWriter
from app.crypto.client_ids import KEY_PURPOSE
from app.db.migrations import SchemaCheck
from app.gateway import Gateway
from app.gateway.limits import Allowance, CallTimes
from app.http.runtime import Runtime
from app.lib.ids import new_id
from app.settings import Settings
from app.worker.background import run_in_background, run_until_closed
from app.worker.commands import Commands, DeletedServers, SupervisorClient
from app.worker.database import Connector, direct_url, reading_pool
from app.worker.syncs import GatewaySyncs, LostSyncs, PeriodicSyncs


async def start_gateway(
    settings: Settings, runtime: Runtime, stack: AsyncExitStack, check: SchemaCheck
) -> tuple[Gateway, AccessSnapshot]:
    """Build the gateway and run its loops until ``stack`` is closed; also return the access snapshot."""
    url, worker_id, clock, peppers = direct_url(settings), new_id(), runtime.clock, runtime.peppers
    rewinds = runtime.rewinds
    connector, sessions = Connector(url, worker_id, check, rewinds), runtime.sessions
    snapshot = AccessSnapshot(
        await reading_pool(url, stack, check, rewinds),
        sessions,
        peppers,
        runtime.sealer,
        runtime.client_tokens,
        clock,
        Rules(runtime.time_zone, runtime.permits_by_default),
        rewinds,
    )
    await snapshot.prepare()
    writer = AdmissionWriter(
        connector.named("admissions"), clock, worker_id, peppers.current_id, runtime.recorder_health, rewinds
    )
    ttl = settings.approval_ttl.total_seconds()
    settlements = connector.named("settlements")
    consuming = ConsumingWriter(
        settlements, clock, worker_id, peppers.current_id, ttl, runtime.consuming_recorder_health
    )
    shared = SharedState(sessions)
    table = InFlightTable(
        connector.named("watch"), clock, worker_id, snapshot.forget, shared.receivers(), rewinds
    )
    uses, refusals = CallUses(sessions, clock), Refusals(writer.write_later)
    clients = Clients(peppers.derive(KEY_PURPOSE))
    records = CallRecords(
        writer, consuming, clients, refusals, uses, peppers.derive("arguments"), runtime.sealer, rewinds
    )
    runtime.attempts.tell = records.count_sign_in
    syncs = GatewaySyncs(runtime)
    supervisor = None
    if runtime.supervisor is not None:
        supervisor = SupervisorClient(runtime.supervisor, worker_id, runtime.outbound)
    commands = Commands(supervisor, table, snapshot)
    runtime.warnings.append(commands.warnings)
    others = (syncs, LostSyncs(sessions), commands, DeletedServers(supervisor, sessions), shared)
    await run_in_background(stack, (writer, consuming), table, refusals, uses, others)
    store = PostgresStore(SnapshotReads(snapshot, commands), records, shared, table, syncs.request)
    gateway = shared.worker = _gateway(settings, runtime, store)
    stack.push_async_callback(gateway.aclose)
    run_until_closed(stack, PeriodicSyncs(runtime, settings.sync_interval))
    return gateway, snapshot


def _gateway(settings: Settings, runtime: Runtime, store: Store) -> Gateway:
    per_token = Allowance(settings.limit_calls, settings.limit_concurrent_calls, settings.limit_streams)
    per_identity = Allowance(
        settings.limit_calls_per_identity,
        settings.limit_concurrent_calls_per_identity,
        settings.limit_streams_per_identity,
    )
    return Gateway(
        store,
        runtime.outbound,
        session_keys=runtime.sealer.derive_all("mcp sessions"),
        public_url=settings.base_url,
        allowed_origins=settings.allowed_origins,
        trusted_proxies=settings.trusted_proxies,
        per_token=per_token.share(settings.workers),
        per_identity=per_identity.share(settings.workers),
        times=CallTimes.from_settings(
            settings.limit_call_idle_time, settings.limit_call_time, settings.limit_stream_time
        ),
    )
