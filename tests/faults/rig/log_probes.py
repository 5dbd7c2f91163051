"""Probes of the audit log: what restores, and a role that writes more than it may, do to it.

As in ``probes``, each starts gateways of a mutant, or of the service as it is, and says which invariants did not hold.
"""

import asyncio
import time
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from app.db.migrations import upgrade
from tests import database
from tests.faults.harness import fetch, gateways
from tests.faults.replicas import Server, two_systems
from tests.faults.rig.probes import BUILD, events_left, in_thread, scopegate, verify

_KEPT = frozenset[str]()
_SEALED_WITHIN_S = 20.0
_ROWS = """
INSERT INTO audit_events (id, action, actor_type)
SELECT gen_random_uuid(), 'probe', 'system' FROM generate_series(1, 20)
"""

_ORIGIN = "INSERT INTO audit_clients (id, ip) VALUES (gen_random_uuid(), '192.0.2.7')"


async def moved_and_back(mutant: str) -> frozenset[str]:
    """A database is dumped, restored into another system, served there, and brought back."""
    async with in_thread(two_systems()) as (here, elsewhere):
        await upgrade(here.url)
        await _serve(here, mutant)
        for origin, target in ((here, elsewhere), (elsewhere, here)):
            await asyncio.to_thread(origin.move_to, target)
            await _serve(target, mutant)
        verified = await asyncio.to_thread(verify, here.url)
        is_sealed = not await events_left(here.url)
        return _KEPT if is_sealed and verified.returncode == 0 else frozenset({"I8"})


async def origin_rewritten(mutant: str) -> frozenset[str]:
    """The serving role rewrites the address that an event is attributed to."""
    role = f"serving_{uuid4().hex}"
    async with in_thread(database.temporary_database(migrated=False)) as owner:
        await fetch(owner, f'CREATE ROLE "{role}" LOGIN')
        try:
            serving = _as_role(owner, role)
            settings = {"DATABASE_URL": serving, "MIGRATION_DATABASE_URL": owner}
            migrated = await asyncio.to_thread(scopegate, "migrate", mutant=mutant, **settings)
            assert migrated.returncode == 0, migrated.stderr
            await fetch(serving, _ORIGIN)
            try:
                await fetch(serving, "UPDATE audit_clients SET ip = '198.51.100.9'")
            except asyncpg.InsufficientPrivilegeError:
                return _KEPT
            return frozenset({"I8"})
        finally:
            await fetch(owner, f'DROP OWNED BY "{role}"')
            await fetch(owner, f'DROP ROLE "{role}"')


def _as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


async def _serve(server: Server, mutant: str) -> None:
    """Have a gateway serve a database, and seal what is recorded there."""
    async with in_thread(gateways(server.url, 1, BUILD, RIG_MUTANT=mutant)):
        await fetch(server.url, _ROWS)
        until = time.monotonic() + _SEALED_WITHIN_S
        while await events_left(server.url) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
