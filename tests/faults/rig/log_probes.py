"""Probes of the audit log: what restores, and a role that writes more than it may, do to it.

As in ``probes``, each starts gateways of a mutant, or of the service as it is, and says which invariants did not hold.
"""

import asyncio
import time
from contextlib import ExitStack

from app.kit.migrations import upgrade
from tests.faults.harness import fetch, gateways
from tests.faults.replicas import Server, two_systems
from tests.faults.rig.probes import BUILD, events_left, verify

_KEPT = frozenset[str]()
_SEALED_WITHIN_S = 20.0
_ROWS = """
INSERT INTO audit_events (id, action, actor_type)
SELECT gen_random_uuid(), 'probe', 'system' FROM generate_series(1, 20)
"""


async def moved_and_back(mutant: str) -> frozenset[str]:
    """A database is dumped, restored into another system, served there, and brought back."""
    with ExitStack() as stack:
        here, elsewhere = await asyncio.to_thread(stack.enter_context, two_systems())
        await upgrade(here.url)
        await _serve(here, mutant)
        for origin, target in ((here, elsewhere), (elsewhere, here)):
            await asyncio.to_thread(origin.move_to, target)
            await _serve(target, mutant)
        verified = await asyncio.to_thread(verify, here.url)
        is_sealed = not await events_left(here.url)
        return _KEPT if is_sealed and verified.returncode == 0 else frozenset({"I8"})


async def _serve(server: Server, mutant: str) -> None:
    """Have a gateway serve a database, and seal what is recorded there."""
    with ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, gateways(server.url, 1, BUILD, RIG_MUTANT=mutant))
        await fetch(server.url, _ROWS)
        until = time.monotonic() + _SEALED_WITHIN_S
        while await events_left(server.url) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
