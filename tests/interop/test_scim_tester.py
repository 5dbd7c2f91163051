"""The SCIM conformance suite scim2-tester against the running service."""

import asyncio
from collections import Counter

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server
from scim2_tester.utils import CheckResult

from tests.api import Account
from tests.story.provisioning import Directory, make_directory
from tests.story.service import whole_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FINE = {Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE}


def checked(url: str, directory: Directory) -> list[CheckResult]:
    """What it finds. It makes, changes and deletes users and groups of its own."""
    headers = {"Authorization": f"Bearer {directory.secret}"}
    with httpx2.Client(base_url=f"{url}/scim/v2", headers=headers, timeout=60, trust_env=False) as client:
        return check_server(SyncSCIMClient(client))


async def test_every_check_passes(database_url: str, owner: Account) -> None:
    async with whole_service(database_url, owner.bearer) as service:
        directory = await make_directory(service.api, "https://sso.example.com")
        results = await asyncio.to_thread(checked, service.url, directory)
    failures = [f"{one.status.name} {one.title}: {one.reason}" for one in results if one.status not in FINE]
    assert not failures, "\n".join(failures)
    found = Counter((one.resource_type, one.title) for one in results)
    # Checks that the tester skips, because the service does not announce a feature, would be missing here.
    assert found["User", "object_creation"], found
    assert found["Group", "object_creation"], found
    assert len(results) > 100
