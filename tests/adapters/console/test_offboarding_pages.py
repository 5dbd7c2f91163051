"""Offboarding on pages: the preview is the dry run's, nothing ends before the name is typed, a receipt proves it."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import httpx2
import pytest

from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.people import EVIL, admin, links_of, signed_in_as
from tests.adapters.console.provider import SigningProvider
from tests.adapters.console.servers import fields_of
from tests.features.principals import Json, agent, fresh, grant, group, person

__all__ = ["admin"]
ROOT = "/console/identities"
RECEIPTS = "/console/offboarding-receipts"
SCHEDULED = "/console/scheduled-offboardings"


async def status(api: httpx2.AsyncClient, one: Json) -> str:
    return str((await api.get(f"/api/v1/identities/{one['id']}")).json()["status"])


async def token_of(api: httpx2.AsyncClient, one: Json) -> Json:
    at = (datetime.now(UTC) + timedelta(days=5)).isoformat()
    body = {"identity_id": one["id"], "name": EVIL, "scope": {"kind": "grants"}, "expires_at": at}
    answer = await api.post("/api/v1/tokens", json=body)
    assert answer.status_code == 201, answer.text
    token: Json = answer.json()["token"]
    return token


def words(page: httpx2.Response) -> str:
    """The text of a page, on one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


async def test_the_preview_says_what_ends_and_who_could_have_the_agents(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    ada, bea = await person(api), await person(api, display_name="Bea Heir")
    bot = await agent(api, ada, display_name=EVIL)
    await grant(api, ada)
    await group(api, ada, name=fresh("Leads"))
    for one in (ada, bot):
        await token_of(api, one)
    path = f"{ROOT}/{ada['id']}/offboard"
    page = await admin.get(path)
    for said in (
        "2 tokens are revoked",
        "is suspended",
        "1 own grant ends",
        "leaves Leads",
        "0 calls were made",
    ):
        assert said in words(page), said
    assert "<script>alert" not in page.text
    search = await admin.get(path, params={"q": "Bea Heir"})
    (choose,) = links_of(search, rf"{path}\?transfer_agents_to={bea['id']}")
    given = await admin.get(choose)
    assert "1 token is revoked" in words(given)
    assert "goes to Bea Heir and stay" in words(given)
    assert fields_of(given, path)["transfer_agents_to"] == bea["id"]
    # Whoever leaves, and agents, cannot have them: said, beside what ends without.
    assert links_of(await admin.get(path, params={"q": ada["user_name"]}), r".*transfer_agents_to=.*") == []
    for unfit in (ada["id"], bot["id"], "nobody"):
        refused = await admin.get(path, params={"transfer_agents_to": unfit})
        assert refused.status_code == 422, unfit
        assert "2 tokens are revoked" in words(refused)
        assert fields_of(refused, path)["transfer_agents_to"] == ""
    assert await status(api, ada) == "active"


async def test_nothing_ends_before_the_name_is_typed_and_then_everything_with_a_receipt_to_keep(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    ada = await person(api)
    token, path = await token_of(api, ada), f"{ROOT}/{ada['id']}/offboard"
    hidden = fields_of(await admin.get(path), path) | {"reason": f"Left. {EVIL}", "when": "now"}
    for wrong in ({}, {"confirm": ada["user_name"][:-1]}, {"confirm": ada["user_name"].upper()}):
        refused = await admin.post(path, data=hidden | wrong)
        assert refused.status_code == 422
        assert "exactly as it is shown" in refused.text
        assert "Left. &#34;&gt;&lt;script&gt;" in refused.text
    named = {"confirm": ada["user_name"]}
    assert (await admin.post(path, data=hidden | named | {"reason": " "})).status_code == 422
    assert (await admin.post(path, data=hidden | named | {"revision": "9"})).status_code == 412
    assert (await admin.post(path, data=hidden | named | {"form_token": "0"})).status_code == 403
    assert await status(api, ada) == "active"
    done = await admin.post(path, data=hidden | named)
    assert done.status_code == 303
    assert re.fullmatch(rf"{RECEIPTS}/evt_\w+", done.headers["location"])
    assert await status(api, ada) == "offboarded"
    page = await admin.get(done.headers["location"])
    kept = (
        await api.get(f"/api/v1/offboarding-receipts/{done.headers['location'].rpartition('/')[2]}")
    ).json()
    assert f">{kept['signed']}</pre>" in page.text
    for shown in (
        token["id"],
        ada["id"],
        kept["key_id"],
        "data-print",
        "scopegate receipt verify",
        "jwks.json",
    ):
        assert shown in page.text, shown
    assert "<script>alert" not in page.text
    assert done.headers["location"] in links_of(await admin.get(RECEIPTS), r".*")
    assert links_of(await admin.get(f"{ROOT}/{ada['id']}"), rf"{RECEIPTS}/evt_\w+") == [
        done.headers["location"]
    ]
    # Once more leads to what there is.
    assert (await admin.get(path)).headers["location"] == done.headers["location"]
    assert (await admin.get(f"{RECEIPTS}/evt_01jdpnwz00e008000000000000")).status_code == 404


async def test_an_offboarding_for_later_ends_nothing_and_is_taken_back(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    ada = await person(api)
    path = f"{ROOT}/{ada['id']}/offboard"
    at = (datetime.now(UTC) + timedelta(days=9)).replace(second=0, microsecond=0)
    form = fields_of(await admin.get(path), path) | {
        "reason": "Leaves.", "when": "later", "confirm": ada["user_name"],
    }  # fmt: skip
    for wrong in ("", "tomorrow", (at + timedelta(days=900)).strftime("%Y-%m-%dT%H:%M")):
        refused = await admin.post(path, data=form | {"effective_at": wrong})
        assert refused.status_code == 422, wrong
    done = await admin.post(path, data=form | {"effective_at": at.strftime("%Y-%m-%dT%H:%M")})
    assert done.headers["location"] == f"{ROOT}/{ada['id']}?done=scheduled"
    assert await status(api, ada) == "active"
    (planned,) = (await api.get("/api/v1/scheduled-offboardings", params={"identity_id": ada["id"]})).json()[
        "items"
    ]
    assert datetime.fromisoformat(planned["effective_at"]) == at
    page = await admin.get(done.headers["location"])
    assert links_of(page, rf"{SCHEDULED}\?identity_id={ada['id']}")
    (cancel,) = links_of(
        await admin.get(SCHEDULED, params={"status": "pending"}), rf"{SCHEDULED}/off_\w+/cancel"
    )
    hidden = fields_of(await admin.get(cancel), cancel)
    assert (await admin.post(cancel, data=hidden | {"revision": "9"})).status_code == 412
    assert (await admin.post(cancel, data=hidden)).status_code == 303
    (planned,) = (await api.get("/api/v1/scheduled-offboardings", params={"identity_id": ada["id"]})).json()[
        "items"
    ]
    assert planned["status"] == "cancelled"
    assert "It is already" in (await admin.get(cancel)).text


async def test_a_name_that_nobody_can_type_is_confirmed_by_the_id(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    odd = await person(api, user_name=f"{fresh('odd')}\ue000x")
    path = f"{ROOT}/{odd['id']}/offboard"
    page = await admin.get(path)
    assert f"Type {odd['id']} to confirm" in page.text
    form = fields_of(page, path) | {"reason": "Left.", "when": "now"}
    assert (await admin.post(path, data=form | {"confirm": odd["user_name"]})).status_code == 422
    assert (await admin.post(path, data=form | {"confirm": odd["id"]})).status_code == 303


async def test_an_owner_erases_who_has_left_once_the_name_is_typed(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    ada = await person(api, display_name="Ada Gone")
    path = f"{ROOT}/{ada['id']}/erase"
    owner = await signed_in_as(new_browser, provider, "owners", "boss")
    assert "Not offboarded yet" in (await owner.get(path)).text
    left = await api.post(f"/api/v1/identities/{ada['id']}/offboard", json={"reason": "left"})
    assert left.status_code == 200
    refused = await admin.get(path)
    assert refused.status_code == 403
    assert "identities.erase" in refused.text
    hidden = fields_of(await owner.get(path), path)
    assert (await owner.post(path, data=hidden | {"confirm": "ada"})).status_code == 422
    assert "Ada Gone" in (await owner.get(f"{ROOT}/{ada['id']}")).text
    assert (await owner.post(path, data=hidden | {"confirm": ada["user_name"]})).status_code == 303
    page = await owner.get(f"{ROOT}/{ada['id']}")
    assert "Ada Gone" not in page.text
    assert "an erased identity" in page.text
    assert "Already erased" in (await owner.get(path)).text
    receipt = f"{RECEIPTS}/{left.json()['receipt_id']}"
    assert "Ada Gone" not in (await owner.get(receipt)).text


@pytest.mark.parametrize("path", [f"{RECEIPTS}/evt_x", f"{SCHEDULED}/off_01jdpnwz00e008000000000000/cancel"])
async def test_what_is_not_there_is_404(admin: httpx2.AsyncClient, path: str) -> None:
    assert (await admin.get(path)).status_code == 404
