"""What a directory does to people is told to webhooks, as it is when somebody does it by hand."""

import httpx2
from sqlalchemy import text

from app.db.webhook_events import WebhookEvent
from app.models.identities import IdentityLink
from app.models.webhooks import Webhook
from tests.adapters.scim.conftest import NewScim, patch, provider_of, user
from tests.features.principals import Sessions, person, plain


async def told(sessions: Sessions) -> list[tuple[str, str]]:
    """The messages since the last look, by type and identity."""
    async with sessions() as session:
        rows = await session.execute(text("DELETE FROM webhook_deliveries RETURNING type, data"))
        found = sorted((row.type, row.data["identity_id"]) for row in rows)
        await session.commit()
    return found


async def test_each_change_by_a_directory_is_told_once(
    new_scim: NewScim, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    scim = await new_scim(link_attribute="userName")
    async with sessions() as session:
        # Held back, so that nobody delivers what the test reads.
        session.add(Webhook(name="all", url="https://example.com", events=list(WebhookEvent)))
        await session.flush()
        await session.execute(text("UPDATE webhooks SET held_until = now() + interval '1 day'"))
        await session.commit()
    id = (await scim.post("Users", json=user("Ada"))).json()["id"]
    assert await told(sessions) == [("identity.created", id)]
    for body, said in (
        ({"displayName": "Ada L."}, "updated"),
        ({"displayName": "Ada L."}, None),
        ({"active": False}, "offboarded"),
        ({"active": False}, None),
        ({"active": True}, "reinstated"),
    ):
        answer = await scim.patch(f"Users/{id}", json=patch({"op": "replace", "value": body}))
        assert answer.is_success, answer.text
        assert await told(sessions) == ([] if said is None else [(f"identity.{said}", id)])
    assert (await scim.delete(f"Users/{id}")).status_code == 204
    assert await told(sessions) == [("identity.offboarded", id)]
    # Somebody who was here before becomes the directory's.
    grace = await person(api)
    async with sessions() as session:
        provider = plain({"id": provider_of(scim)})
        session.add(IdentityLink(identity_id=plain(grace), provider_id=provider, kind="oidc", value="Grace"))
        await session.commit()
    await told(sessions)
    adopted = await scim.post("Users", json=user("Grace"))
    assert (adopted.status_code, adopted.json()["id"]) == (201, grace["id"])
    assert await told(sessions) == [("identity.updated", grace["id"])]
