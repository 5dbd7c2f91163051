"""The log survives its sending process: the real service, killed with SIGKILL between sending and recording."""

import pytest

from tests.faults.harness import administration, gateways
from tests.features.audit_sinks.conftest import World, ids_of
from tests.features.webhooks.receiver import receiver


@pytest.mark.slow
async def test_what_a_killed_process_was_sending_is_sent_by_the_next_and_nothing_is_lost(
    database_url: str, world: World
) -> None:
    with gateways(database_url, 1) as [gateway]:
        async with receiver(None) as endpoint, administration(database_url, gateway) as api:
            new = {"name": "siem", "url": endpoint.url}
            answer = await api.post("/api/v1/audit-sinks", json=new)
            assert answer.status_code == 201, answer.text
            # The event of its creation is the first one: accepted, perhaps, and never answered.
            await endpoint.until(lambda arrived: len(arrived) == 1)
            gateway.kill()
            written = await world.record(3)
            await world.make_due()
            await gateway.start()
            await endpoint.until(lambda arrived: set(written) <= set(ids_of(*arrived)))
            first, again, *rest = endpoint.arrived
            assert again.body == first.body
            assert again.headers["scopegate-batch-id"] == first.headers["scopegate-batch-id"]
            given = ids_of(again, *rest)
            everything = await world.in_order()
            start = everything.index(given[0])
            assert given == everything[start : start + len(given)]
            assert len(given) == len(set(given))
