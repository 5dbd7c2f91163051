"""An admission is as old as the statement that compared its versions, even if its answer is read later."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from app.admission.store import Admitted
from app.domain.access import Decision
from app.lib.clock import boot_time
from tests.admission.consuming import quota
from tests.admission.test_kept_arguments import Desk, opened

_COMPARES = """
SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'access_versions'::regclass
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    connection = await asyncpg.connect(database_url)
    async with opened(database_url, connection) as desk:
        yield desk
    await connection.close()


def counted(allowed: Decision) -> Decision:
    """The same decision with a quota."""
    return replace(allowed, quotas=(quota(10),), for_any_call=False)


@pytest.mark.parametrize("consumes", [False, True], ids=["plain", "consuming"])
async def test_an_admission_is_as_old_as_the_statement_that_wrote_it(desk: Desk, *, consumes: bool) -> None:
    decided = counted(desk.allowed) if consumes else desk.allowed
    # Admitted once before, since preparing the statement would wait for the lock too.
    assert isinstance((await desk.admit("off", decided))[1], Admitted)
    begun = boot_time()
    lock = desk.connection.transaction()
    await lock.start()
    # The statement is sent, and is answered only after this lock is released.
    await desk.connection.execute("LOCK TABLE access_versions IN ACCESS EXCLUSIVE MODE")
    admitting = asyncio.create_task(desk.admit("off", decided))
    async with asyncio.timeout(50):
        waits = 0
        while not waits:
            waits = await desk.connection.fetchval(_COMPARES)
    sent_by = boot_time()
    await lock.rollback()
    _, verdict = await admitting
    assert isinstance(verdict, Admitted)
    assert begun <= verdict.at <= sent_by
