"""Data that published policies read can be changed only by callers who may grant, and by its directory."""

import asyncio

import httpx2
import pytest

from app.crypto.keys import Peppers
from app.lib.ids import IDENTITY, format_id
from app.main import Scopegate
from app.models.access import Policy
from tests.api import ApiAs, client_of, make_account
from tests.features.principals import Sessions, agent, fresh, person
from tests.features.tokens.world import World, in_days

PATH = "/api/v1/identities"
READS = 'forbid (principal, action, resource) unless { principal.hasTag("team") && principal.getTag("team") == "red" };'


async def publish(sessions: Sessions, *texts: str, status: str = "published") -> None:
    rows = [
        Policy(
            name=fresh("policy"),
            text=text,
            status=status,
            version=1,
            published_text=text,
            published_mode="enforce",
        )
        for text in texts
    ]
    async with sessions() as session:
        session.add_all(rows)
        await session.commit()


def refused(answer: httpx2.Response) -> bool:
    assert answer.status_code in {200, 201, 403}, answer.text
    if answer.status_code != 403:
        return False
    assert answer.json()["code"] == "forbidden"
    assert "grants.write" in answer.json()["detail"]
    return True


async def test_an_attribute_that_a_published_policy_reads_needs_the_permission_to_grant(
    sessions: Sessions, api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    hr, admin = await api_as("provisioner"), await api_as("admin")
    ada = await person(hr, attributes={"team": "blue", "site": "Bonn"})
    path = f"{PATH}/{ada['id']}"
    await publish(sessions, READS)
    for value in ("red", None):
        assert refused(await hr.patch(path, json={"attributes": {"team": value}}))
    new = {"kind": "person", "user_name": fresh("person"), "attributes": {"team": "red"}}
    assert refused(await hr.post(PATH, json=new))
    # They may set other attributes, and the same value.
    assert not refused(await hr.patch(path, json={"attributes": {"site": "Kiel", "team": "blue"}}))
    assert not refused(await hr.post(PATH, json={**new, "attributes": {"site": "Kiel"}}))
    assert not refused(await admin.patch(path, json={"attributes": {"team": "red"}}))
    assert (await api.get(path)).json()["attributes"] == {"team": "red", "site": "Kiel"}


@pytest.mark.parametrize(
    ("policy", "reads"),
    [
        (READS.replace("principal.getTag", "principal.owner.getTag"), True),
        ('forbid (principal, action, resource) when { (if true then principal else principal).hasTag("team") };', True),
        ("forbid (principal, action, resource) when { principal.hasTag(context.client.name) };", True),
        ('forbid (principal, action, resource) when { resource.hasTag("team") };', False),
        ('forbid (principal, action, resource) when { principal.hasTag("other") };', False),
        ('forbid (principal, action, resource) when { resource.name == "team" };', False),
    ],
)  # fmt: skip
async def test_an_attribute_counts_as_read_wherever_a_policy_may_read_it(
    sessions: Sessions, api_as: ApiAs, policy: str, reads: bool
) -> None:
    hr = await api_as("provisioner")
    ada = await person(hr)
    await publish(sessions, policy)
    assert refused(await hr.patch(f"{PATH}/{ada['id']}", json={"attributes": {"team": "red"}})) is reads


async def test_drafts_and_ended_policies_keep_no_one_from_it(sessions: Sessions, api_as: ApiAs) -> None:
    hr = await api_as("provisioner")
    ada = await person(hr)
    await publish(sessions, READS, status="draft")
    assert not refused(await hr.patch(f"{PATH}/{ada['id']}", json={"attributes": {"team": "red"}}))


async def test_handing_agents_over_needs_it_where_a_policy_reads_their_owner(
    sessions: Sessions, api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    hr = await api_as("provisioner")
    ada, eve = await person(hr), await person(hr)
    bot = await agent(hr, ada)
    await publish(sessions, 'forbid (principal, action, resource) unless { principal.owner.hasTag("team") };')
    assert refused(await hr.patch(f"{PATH}/{bot['id']}", json={"owner_id": eve["id"]}))
    leaves = {"reason": "left", "transfer_agents_to": eve["id"]}
    later = {**leaves, "effective_at": in_days(3)}
    for body in (leaves, later):
        assert refused(await hr.post(f"{PATH}/{ada['id']}/offboard", json=body))
    assert not refused(
        await (await api_as("admin")).patch(f"{PATH}/{bot['id']}", json={"owner_id": eve["id"]})
    )
    # Without an agent to transfer, nothing is granted.
    assert not refused(await hr.post(f"{PATH}/{ada['id']}/offboard", json=leaves))


async def test_no_one_hands_agents_to_themselves_without_the_permission_to_grant(
    app: Scopegate, sessions: Sessions, peppers: Peppers, api: httpx2.AsyncClient
) -> None:
    """Also if no policy reads an owner: the owner of an agent sees and ends its tokens."""
    theirs, robot = [await make_account(sessions, peppers, "provisioner") for _ in range(2)]
    admin = await make_account(sessions, peppers, "admin")
    me = format_id(IDENTITY, theirs.owner_id)
    await World(api, sessions).sql(
        "UPDATE identities SET kind = 'agent', owner_id = :owner WHERE id = :id",
        owner=theirs.owner_id, id=robot.owner_id,
    )  # fmt: skip
    ada, eve = await person(api), await person(api)
    bot = await agent(api, ada)
    leaves = {"reason": "left", "transfer_agents_to": me}
    for bearer in (theirs.bearer, robot.bearer):
        async with client_of(app, bearer) as hr:
            assert refused(await hr.patch(f"{PATH}/{bot['id']}", json={"owner_id": me}))
            for body in (leaves, {**leaves, "effective_at": in_days(3)}):
                assert refused(await hr.post(f"{PATH}/{ada['id']}/offboard", json=body))
    assert (await api.get(f"{PATH}/{bot['id']}")).json()["owner_id"] == ada["id"]
    async with client_of(app, theirs.bearer) as hr:
        # To another person, and for a new agent without access.
        assert not refused(await hr.patch(f"{PATH}/{bot['id']}", json={"owner_id": eve["id"]}))
        assert (await agent(hr, {"id": me}))["owner_id"] == me
    async with client_of(app, admin.bearer) as granting:
        own = {"owner_id": format_id(IDENTITY, admin.owner_id)}
        assert not refused(await granting.patch(f"{PATH}/{bot['id']}", json=own))


async def test_a_leaver_ends_when_the_time_has_come_though_a_policy_keeps_the_agents_from_being_handed_over(
    sessions: Sessions, api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    hr, world = await api_as("provisioner"), World(api, sessions)
    ada, eve = await person(hr), await person(hr)
    bot = await agent(hr, ada)
    later = {"reason": "left", "transfer_agents_to": eve["id"], "effective_at": in_days(3)}
    planned = (await hr.post(f"{PATH}/{ada['id']}/offboard", json=later)).json()["scheduled"]["id"]
    await publish(sessions, 'forbid (principal, action, resource) unless { principal.owner.hasTag("team") };')
    await world.sql("UPDATE scheduled_offboardings SET effective_at = now() - interval '1 hour' RETURNING id")
    scheduled = f"/api/v1/scheduled-offboardings/{planned}"
    async with asyncio.timeout(50):
        while (await api.get(scheduled)).json()["status"] == "pending":
            pass
    assert (await api.get(scheduled)).json()["status"] == "completed"
    assert (await api.get(f"{PATH}/{ada['id']}")).json()["status"] == "offboarded"
    left = (await api.get(f"{PATH}/{bot['id']}")).json()
    assert (left["owner_id"], left["status"]) == (ada["id"], "suspended")
    [receipt] = (await api.get("/api/v1/offboarding-receipts")).json()["items"]
    assert receipt["receipt"]["agents"]["heir_not_active"] == eve["id"]
