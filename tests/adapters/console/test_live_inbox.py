"""In a real browser: what waits comes into the inbox by itself, and whoever is at a row stays there."""

from typing import Any

import pytest
from playwright.async_api import Browser, expect

from app.lib.ids import APPROVAL, format_id
from tests.adapters.console.looking import Eye, sign_in
from tests.adapters.console.served import served
from tests.api import Account
from tests.features.approvals.desk import Desk
from tests.features.tokens.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_what_waits_comes_and_goes_on_the_page_by_itself(
    browser: Browser, database_url: str, owner: Account, sessions: Any
) -> None:
    async with served(database_url, owner) as (service, _):

        def nobody(caller: object) -> Any:
            raise AssertionError("people sign in with a browser here")

        desk = await Desk(World(service.api, sessions), nobody).furnish()
        first = await desk.asked()
        eye = await Eye.open(browser)
        page, inbox = eye.page, f"{service.url}/console/approvals"
        await page.goto(inbox)
        await sign_in(page, "alice")
        await eye.go(inbox)
        link = page.locator(f"#one-{format_id(APPROVAL, first.id)}")
        await link.focus()
        second = await desk.asked()
        # Rows that a test writes are on no record, by which pages hear of the rest.
        await service.post("/groups", {"name": "Anything that is on record"})
        row = page.locator(f"#one-{format_id(APPROVAL, second.id)}")
        await expect(row).to_be_visible()
        await expect(link).to_be_focused()
        await service.post(f"/approvals/{format_id(APPROVAL, second.id)}/deny", {}, 200)
        await expect(row).to_have_count(0)
        await expect(link).to_be_focused()
        # With another filter, another stream: what does not match stays away.
        await page.get_by_label("Kind").select_option("access")
        await expect(page.get_by_text("No approval matches")).to_be_visible()
        await service.post(f"/approvals/{format_id(APPROVAL, first.id)}/deny", {}, 200)
        third = await desk.asked()
        await service.post("/groups", {"name": "Something else on record"})
        await page.get_by_label("Kind").select_option("")
        await expect(page.locator(f"#one-{format_id(APPROVAL, third.id)}")).to_be_visible()
        assert eye.complaints == []
        await eye.context.close()
