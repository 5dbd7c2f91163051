"""The parts of one run: processes, proxies, fleet and callers."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from app.db.migrations import upgrade
from tests.adapters.ssf.transmitter import transmitter
from tests.faults.harness import owners_account
from tests.faults.rig.callers import Callers
from tests.faults.rig.cluster import Cluster
from tests.faults.rig.fleet import Cell, Fleet
from tests.faults.rig.fork_server import ForkServer
from tests.faults.rig.history import BY_ITSELF, THE_END, Disturbance, GatewayLife, Writer
from tests.faults.rig.office import Office
from tests.faults.rig.paths import World
from tests.faults.rig.plan import RunPlan
from tests.faults.rig.processes import RigGateway, UpstreamProcess
from tests.faults.rig.proxies import DatabaseWay, UpstreamWay
from tests.faults.rig.signals import Scim, Signals

_RESUMED_S = 30.0
_LOOK_EVERY_S = 0.02
_INSTANT_S = 0.001


@dataclass(slots=True)
class Site:
    """The parts of one run."""

    plan: RunPlan
    place: Path
    random: Random
    writer: Writer
    cluster: Cluster
    gateways: list[RigGateway]
    ways: dict[int, DatabaseWay]
    """By the port of the gateway."""
    upstream_way: UpstreamWay
    neighbor_way: UpstreamWay
    """To the same upstream, for the server of ``neighbor`` alone."""
    upstream: UpstreamProcess
    office: Office
    world: World
    callers: Callers
    neighbor: Cell = field(default_factory=Cell)
    """A cell whose server is difficult at times; it is called then alone."""
    struck: Counter[str] = field(default_factory=Counter)
    """How often each kind of fault has struck."""
    points: Counter[str] = field(default_factory=Counter)
    """How often a gateway died at each failpoint that was struck at."""
    notes: list[str] = field(default_factory=list)
    """Skipped faults, and why."""
    sealing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a task decides which gateway seals."""
    turn: int = 0
    """How many revocations there were: each takes the next path."""

    @property
    def fleet(self) -> Fleet:
        """The fleet of the run."""
        return self.world.fleet

    @property
    def ports(self) -> list[int]:
        """Of all gateways."""
        return [gateway.port for gateway in self.gateways]

    async def kill(self, gateway: RigGateway, how: str) -> None:
        """SIGKILL a gateway, and record its life."""
        gateway.kill()
        self.fallen(gateway, how)

    def fallen(self, gateway: RigGateway, how: str) -> None:
        """Record the life of a dead gateway."""
        down = time.monotonic()
        self.writer.write(GatewayLife(gateway.port, gateway.fell(), down, how))
        self.struck[how] += 1

    def over(self) -> None:
        """Record the lives of gateways that ran until the end."""
        for gateway in self.office.serving():
            assert gateway.up_at is not None
            self.writer.write(GatewayLife(gateway.port, gateway.up_at, time.monotonic(), THE_END))

    @contextmanager
    def disturbance(
        self, kind: str, *, calls: str = "free", blind: bool = False, frozen: bool = False,
        gateways: list[RigGateway] | None = None, servers: list[str] | None = None,
    ) -> Iterator[None]:  # fmt: skip
        """Record a fault for the duration of the block."""
        ports = [gateway.port for gateway in (self.gateways if gateways is None else gateways)]
        began = time.monotonic()
        try:
            yield
        finally:
            ended = time.monotonic()
            self.writer.write(Disturbance(kind, began, ended, ports, calls, blind, frozen, servers))
            self.struck[kind] += 1

    async def resumed(self, since: float | None = None) -> None:
        """Wait until every gateway that serves has let a call through that began after that time.

        The checker says whether it took too long; the run goes on when it took ever so long.
        """
        since = time.monotonic() if since is None else since
        deadline = time.monotonic() + _RESUMED_S
        await self.revive()
        while time.monotonic() < deadline:
            ports = [gateway.port for gateway in self.office.serving()]
            if all(self.callers.last_ran.get(port, 0.0) > since for port in ports):
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def revive(self) -> None:
        """Record gateways that ended by themselves, for the checker, and start them again."""
        for gateway in self.office.serving():
            if await gateway.gone(0):
                self.fallen(gateway, BY_ITSELF)
                await gateway.rise()

    async def answered(self, port: int, count: int, within_s: float) -> None:
        """Wait until a gateway has given so many more answers, or until the time is over."""
        wanted = self.callers.answers.get(port, 0) + count
        deadline = time.monotonic() + within_s
        # Looked at again and again: what is awaited is one of thousands.
        while self.callers.answers.get(port, 0) < wanted and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_INSTANT_S)


@asynccontextmanager
async def site(plan: RunPlan, place: Path, cluster: Cluster) -> AsyncIterator[Site]:
    """Start all parts and stop them at the end, except the cluster."""
    random = Random(plan.seed)
    writer = Writer(place / "history.jsonl")
    upstream, fork_server = UpstreamProcess(place), ForkServer(plan.mutant)
    ways: dict[int, DatabaseWay] = {}
    gateways: list[RigGateway] = []
    await upgrade(cluster.url)
    await asyncio.to_thread(upstream.start)
    upstream_way, neighbor_way = UpstreamWay(upstream.port), UpstreamWay(upstream.port)
    try:
        await upstream_way.listen()
        await neighbor_way.listen()
        for number in range(plan.gateways):
            socket = place / f"way{number}"
            socket.mkdir()
            way = DatabaseWay(cluster.url, socket)
            await way.listen()
            gateways.append(RigGateway(way.url, place, fork_server))
            ways[gateways[-1].port] = way
        await asyncio.gather(*(gateway.rise() for gateway in gateways))
        async with transmitter() as tells:
            account = await owners_account(cluster.url)
            office = Office(gateways, writer, random, account)
            fleet = Fleet(office, writer, upstream_way.url, secrets=office.secrets)
            signals = await Signals.make(fleet, cluster.url, tells)
            world = World(fleet, await Scim.make(fleet), signals)
            callers = Callers(fleet, writer, random)
            yield Site(
                plan,
                place,
                random,
                writer,
                cluster,
                gateways,
                ways,
                upstream_way,
                neighbor_way,
                upstream,
                office,
                world,
                callers,
            )
            await office.close()
    finally:
        for gateway in gateways:
            await asyncio.to_thread(gateway.stop)
        await asyncio.gather(*(way.close() for way in (*ways.values(), upstream_way, neighbor_way)))
        fork_server.close()
        upstream.stop()
        writer.close()


async def populate(here: Site, cells: int) -> None:
    """Make the cells: this many without a directory, and one of each other kind."""
    scim, signalled = Cell("scim"), Cell("signals")
    await here.world.scim.employ(scim)
    await here.world.signals.employ(signalled)
    plain = [Cell(counted=number % 3 == 1) for number in range(cells)]
    await here.fleet.make([*plain, scim, signalled, Cell(asking=True)])
    await replace(here.fleet, upstream_url=here.neighbor_way.url, cells=[]).make([here.neighbor])
