"""A message survives its sending process: the real service, killed with SIGKILL."""

import pytest

from tests.faults.harness import administration, gateways
from tests.features.webhooks.conftest import World
from tests.features.webhooks.receiver import receiver


@pytest.mark.slow
async def test_what_a_killed_process_was_sending_is_sent_by_the_next(database_url: str, world: World) -> None:
    with gateways(database_url, 1) as [gateway]:
        async with receiver(None) as endpoint, administration(database_url, gateway) as api:
            new = {"name": "hook", "url": endpoint.url, "events": ["approval.requested"]}
            secret = (await api.post("/api/v1/webhooks", json=new)).json()["secret"]
            await world.tell()
            await endpoint.until(lambda arrived: len(arrived) == 1)
            gateway.kill()
            [row] = await world.deliveries()
            assert (row.state, row.lease is not None) == ("pending", True)
            # The minute of its lease is over.
            await world.make_due()
            await gateway.start()
            await endpoint.until(lambda arrived: len(arrived) == 2)
            first, again = endpoint.arrived
            assert again.headers["webhook-id"] == first.headers["webhook-id"]
            assert again.verified(secret) == first.verified(secret)
