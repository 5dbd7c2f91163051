"""I3: a gateway that was frozen between an admission and its call sends nothing after a revocation."""

import asyncio
import os
import signal
from uuid import uuid4

import pytest

from app.gateway.pipeline import ADMISSION_SECONDS
from tests.faults.harness import administration, count_calls, gateways, organize
from tests.faults.upstream import ECHO, upstream
from tests.faults.wire import Connection

BUILD = ("-m", "tests.faults.rig.serve", "serve")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def freezes_at(point: str) -> dict[str, str]:
    """The settings of a gateway that stops itself when the first call comes to this point."""
    return {"RIG_FAILPOINTS": f"{point}=stop:1"}


async def called_across_a_freeze(database_url: str, point: str, *, counted: bool, mutant: str = "") -> bool:
    """Whether a call was received that its gateway had admitted, stood still with, and thawed after a revocation."""
    with (
        gateways(database_url, 1) as [awake],
        gateways(database_url, 1, BUILD, **freezes_at(point), RIG_MUTANT=mutant) as [frozen],
    ):
        async with upstream() as server, administration(database_url, awake) as api:
            organization = await organize(api, server.url)
            if counted:
                await count_calls(api, organization)
            connection = await Connection.open(frozen.port)
            calling = asyncio.create_task(connection.exchange(organization.way.call(ECHO, uuid4().hex)))
            # It is our child, so the system tells when it stands still.
            await asyncio.to_thread(os.waitid, os.P_PID, frozen.pid, os.WSTOPPED)
            try:
                answer = await api.post(
                    f"/api/v1/tokens/{organization.token}/revoke", json={"reason": "laptop lost"}
                )
                assert answer.is_success, answer.text
                # What is shown is that time went by: there is no event to wait for.
                await asyncio.sleep(ADMISSION_SECONDS + 0.1)
            finally:
                os.kill(frozen.pid, signal.SIGCONT)
            answered = await calling
            connection.close()
            # 503 where the freeze outlasted the time that the call has for its admission.
            assert answered.status in ({200} if server.received else {401, 503})
            return bool(server.received)


@pytest.mark.parametrize(
    ("point", "counted"),
    [("after_admission", False), ("after_settlement", True)],
    ids=["admission", "consuming admission"],
)
async def test_a_call_that_was_admitted_before_a_freeze_is_not_sent_after_the_revocation(
    database_url: str, point: str, *, counted: bool
) -> None:
    assert not await called_across_a_freeze(database_url, point, counted=counted)


async def test_the_same_freeze_catches_a_time_that_is_taken_at_resume(database_url: str) -> None:
    assert await called_across_a_freeze(
        database_url, "after_admission", counted=False, mutant="admitted_at_resume"
    )
