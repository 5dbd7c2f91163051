"""A receipt on paper: all that it says and the signed text, and nothing of the frame around it."""

import pytest
from playwright.async_api import Browser

from tests.adapters.console.looking import LOOKS, Eye, sign_in
from tests.adapters.console.served import served
from tests.api import Account

DARK = LOOKS[1]
_LIGHT = "(one) => getComputedStyle(one).color.match(/\\d+/g).reduce((sum, part) => sum + Number(part), 0)"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_receipt_is_printed_whole_and_legible_without_its_frame(
    browser: Browser, database_url: str, owner: Account
) -> None:
    async with served(database_url, owner) as (service, _):
        ada = await service.post("/identities", {"kind": "person", "user_name": "ada"}, 201)
        left = await service.post(f"/identities/{ada['id']}/offboard", {"reason": "Left."}, 200)
        eye = await Eye.open(browser, DARK)
        await eye.page.goto(f"{service.url}/console/offboarding-receipts/{left['receipt_id']}")
        await sign_in(eye.page, "alice")
        await eye.page.evaluate("window.print = () => { window.printed = true; }")
        await eye.page.click("text=Print")
        assert await eye.page.evaluate("window.printed") is True
        await eye.page.emulate_media(media="print")
        for hidden in (".top", ".side", ".actions", "[data-copy]"):
            assert not await eye.page.locator(hidden).first.is_visible(), hidden
        for shown in ("#signed", "text=Offboarded", f"text={ada['id']}"):
            assert await eye.page.locator(shown).first.is_visible(), shown
        # Dark on paper, whatever the screen is.
        assert await eye.page.locator(".facts dt").first.evaluate(_LIGHT) < 3 * 128
        assert (await eye.page.pdf()).startswith(b"%PDF")
        await eye.context.close()
