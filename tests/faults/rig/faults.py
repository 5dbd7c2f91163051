"""The faults: each strikes a number of times during the load, and waits until service has resumed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import asyncpg

from tests.faults.database_proxy import Fault
from tests.faults.harness import fetch
from tests.faults.rig.kills import at_failpoint, failpoint_kills, gateway_kills
from tests.faults.rig.neighbors import NEIGHBORS, neighbor_fault
from tests.faults.rig.processes import RigGateway
from tests.faults.rig.proxies import THROTTLED_S, DatabaseWay, UpstreamWay
from tests.faults.rig.rewinds import database_rewinds
from tests.faults.rig.site import Site
from tests.faults.rig.soak import soak
from tests.faults.rig.steadiness import SOAK
from tests.faults.rig.withdrawals import revoke

Strike = Callable[[Site, int], Awaitable[None]]
_DATABASE_AWAY_S = 4.0
_LONG_S, _HELD_S = 14.0, 60.0
_BETWEEN_S = 1.0
_SLOT = "rig"


async def calm(here: Site, seconds: int) -> None:
    """Load without a fault for this many seconds."""
    await asyncio.sleep(seconds)


async def gateway_stops(here: Site, times: int) -> None:
    """SIGSTOP during revocations, then SIGCONT: waiting calls started after the answer, and admissions have expired."""
    for _ in range(times):
        gateway = here.random.choice(here.office.serving())
        frozen = _frozen(here, gateway)
        await revoke(here, during=frozen, lasting_s=_BETWEEN_S * 2, crowd_at=gateway)
        await here.resumed()


@asynccontextmanager
async def _frozen(here: Site, gateway: RigGateway) -> AsyncIterator[None]:
    with here.disturbance("gateway-stop", frozen=True, blind=True, gateways=[gateway]), gateway.away():
        await gateway.freeze_admitted()
        try:
            yield
        finally:
            gateway.thaw()


async def gateways_cut_off(here: Site, times: int) -> None:
    """Cut off one gateway from the database while others revoke; it ends its running calls."""
    for _ in range(times):
        gateway = here.random.choice(here.office.serving())
        await revoke(here, during=_cut_off(here, gateway), lasting_s=_LONG_S, held_s=_HELD_S)
        await here.resumed()


@asynccontextmanager
async def _cut_off(here: Site, gateway: RigGateway) -> AsyncIterator[None]:
    way = here.ways[gateway.port]
    await way.begin(Fault.BLACKHOLE)
    with here.disturbance("gateway-cut-off", calls="refused", blind=True, gateways=[gateway]), gateway.away():
        yield
        await way.end()


async def database_kills(here: Site, times: int) -> None:
    """SIGKILL of all PostgreSQL processes, then an immediate start."""
    for _ in range(times):
        await asyncio.sleep(here.random.uniform(0.2, _BETWEEN_S))
        with here.disturbance("database-kill", calls="mixed", blind=True):
            await asyncio.to_thread(here.cluster.kill)
            await asyncio.to_thread(here.cluster.bring_up)
        await here.resumed()


async def database_restarts(here: Site, times: int) -> None:
    """A regular restart, which ends every session."""
    for _ in range(times):
        with here.disturbance("database-restart", calls="mixed", blind=True):
            await asyncio.to_thread(here.cluster.restart)
        await here.resumed()
        await asyncio.sleep(_BETWEEN_S)


async def database_stops(here: Site, times: int) -> None:
    """SIGSTOP of PostgreSQL: connections stay open without answers."""
    for _ in range(times):
        await asyncio.to_thread(here.cluster.freeze)
        with here.disturbance("database-stop", calls="refused", blind=True):
            await asyncio.sleep(_DATABASE_AWAY_S)
            await asyncio.to_thread(here.cluster.thaw)
        await here.resumed()


def database_way(fault: Fault) -> Strike:
    """Return a fault of all database connections."""

    async def strike(here: Site, times: int) -> None:
        for _ in range(times):
            for way in here.ways.values():
                await way.begin(fault)
            with here.disturbance(f"database-{fault}", calls="refused", blind=True):
                await asyncio.sleep(_DATABASE_AWAY_S)
                for way in here.ways.values():
                    await way.end()
            await here.resumed()

    return strike


async def database_throttled(here: Site, times: int) -> None:
    """All data on database connections is delayed."""
    for _ in range(times):
        with here.disturbance("database-throttle", calls="slow"), _delayed([*here.ways.values()]):
            await asyncio.sleep(_DATABASE_AWAY_S)
        await here.resumed()


async def database_swallows(here: Site, times: int) -> None:
    """The answers to commits are lost."""
    ways = here.ways.values()
    for _ in range(times):
        before = sum(way.swallowed for way in ways)
        with here.disturbance("database-swallow", calls="mixed", blind=True):
            for way in ways:
                way.swallowing = True
            revoking = asyncio.create_task(revoke(here))
            await asyncio.sleep(_DATABASE_AWAY_S)
            for way in ways:
                way.swallowing = False
        await revoking
        here.struck["answers to COMMIT lost"] += sum(way.swallowed for way in ways) - before
        await here.resumed()


@contextmanager
def _delayed(ways: Sequence[DatabaseWay | UpstreamWay]) -> Iterator[None]:
    for way in ways:
        way.delay_s = THROTTLED_S
    try:
        yield
    finally:
        for way in ways:
            way.delay_s = 0.0


async def database_read_only(here: Site, times: int) -> None:
    """Every new transaction is read-only, as on a standby."""
    for _ in range(times):
        await _say(here, "ALTER SYSTEM SET default_transaction_read_only = on")
        # Sessions hear of it one by one, between two statements.
        with here.disturbance("database-read-only", calls="mixed", blind=True):
            await asyncio.sleep(_BETWEEN_S)
        with here.disturbance("database-read-only", calls="refused", blind=True):
            await asyncio.sleep(_DATABASE_AWAY_S)
        await _say(here, "ALTER SYSTEM RESET default_transaction_read_only")
        await here.resumed()


async def _say(here: Site, statement: str) -> None:
    settings = {"default_transaction_read_only": "off"}
    connection = await asyncpg.connect(here.cluster.url, server_settings=settings)
    try:
        await connection.execute(statement)
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


def disk_full(*, wal: bool) -> Strike:
    """A full disk for the data, or for the WAL."""
    kind = "wal-disk-full" if wal else "data-disk-full"

    async def strike(here: Site, times: int) -> None:
        if here.cluster.why_not_full:
            here.notes.append(f"{kind}: SKIPPED, {here.cluster.why_not_full}")
            return
        for _ in range(times):
            if wal:
                # Unfetched WAL is kept, so that new segments need space.
                await _say(here, f"SELECT pg_create_physical_replication_slot('{_SLOT}', true)")
            with here.disturbance(kind, calls="mixed", blind=True):
                with here.cluster.full(wal=wal):
                    await _for_a_while(here, wal=wal)
                # Without space for its WAL it stops for good. Start it again after freeing space.
                await asyncio.to_thread(here.cluster.bring_up)
            await here.resumed()
            if wal:
                await _say(here, f"SELECT pg_drop_replication_slot('{_SLOT}')")

    return strike


async def _for_a_while(here: Site, *, wal: bool) -> None:
    ends = time.monotonic() + 2 * _DATABASE_AWAY_S
    while time.monotonic() < ends:
        if wal:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await fetch(here.cluster.url, "SELECT pg_switch_wal()")
        await asyncio.sleep(0.1)


def upstream_way(fault: Fault) -> Strike:
    """Return a fault of upstream connections."""

    async def strike(here: Site, times: int) -> None:
        for _ in range(times):
            with here.disturbance(f"upstream-{fault}"):
                await here.upstream_way.begin(fault)
                await asyncio.sleep(_DATABASE_AWAY_S)
                await here.upstream_way.end()
            await here.resumed()

    return strike


async def upstream_throttled(here: Site, times: int) -> None:
    """All data on upstream connections is delayed."""
    for _ in range(times):
        with here.disturbance("upstream-throttle"), _delayed([here.upstream_way]):
            await asyncio.sleep(_DATABASE_AWAY_S)
        await here.resumed()


async def revocations(here: Site, times: int) -> None:
    """Withdraw access by all paths in turn, two at a time."""
    waiting = iter(range(times))

    async def go_on() -> None:
        for _ in waiting:
            await revoke(here)
            here.struck["revocation"] += 1

    await asyncio.gather(go_on(), go_on())


KINDS: dict[str, Strike] = {
    "calm": calm,
    "revocation": revocations,
    "gateway-kill": gateway_kills,
    "failpoint-kill": failpoint_kills,
    "database-kill": database_kills,
    "gateway-stop": gateway_stops,
    "gateway-cut-off": gateways_cut_off,
    "database-stop": database_stops,
    "database-restart": database_restarts,
    **{f"database-{fault}": database_way(fault) for fault in Fault},
    "database-throttle": database_throttled,
    "database-swallow": database_swallows,
    "database-read-only": database_read_only,
    "database-rewind": database_rewinds,
    "data-disk-full": disk_full(wal=False),
    "wal-disk-full": disk_full(wal=True),
    **{f"upstream-{fault}": upstream_way(fault) for fault in Fault},
    "upstream-throttle": upstream_throttled,
    **{f"neighbor-{how}": neighbor_fault(how) for how in NEIGHBORS},
}
"""The faults by name. The first three are no faults, or the most important ones."""


def strike_of(kind: str) -> Strike:
    """Return the fault of a name, such as ``failpoint-kill:NAME`` or ``soak``. Raises ``KeyError``."""
    if kind == SOAK:
        return soak
    name, _, failpoint = kind.partition(":")
    return at_failpoint(failpoint) if name == "failpoint-kill" and failpoint else KINDS[kind]
