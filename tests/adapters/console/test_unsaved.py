"""A policy that was typed and not saved is not left without a question."""

import pytest
from playwright.async_api import Dialog

from tests.adapters.console.looking import Eye, sign_in
from tests.adapters.console.test_every_page import organisation
from tests.api import Account
from tests.chromium import chromium


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_text_that_was_not_saved_is_asked_about_before_the_page_is_left(
    database_url: str, owner: Account
) -> None:
    async with organisation(database_url, owner) as it, chromium() as browser:
        eye = await Eye.open(browser)
        page, console = eye.page, f"{it.service.url}/console"
        asked: list[str] = []

        async def stay(dialog: Dialog) -> None:
            asked.append(dialog.type)
            await dialog.dismiss()

        page.on("dialog", stay)
        await page.goto(f"{console}/approvals")
        await sign_in(page, "alice")
        editor = f"{console}/policies/{it.ids['policy']}"
        await page.goto(editor)
        # Nothing was typed, so nothing is asked.
        await page.click("nav[aria-label=Pages] a:has-text('Groups')")
        await page.wait_for_url("**/groups")
        await page.goto(editor)
        await page.locator("#f-description").press_sequentially("x")
        async with page.expect_event("dialog"):
            await page.click("nav[aria-label=Pages] a:has-text('Groups')", no_wait_after=True)
        assert asked == ["beforeunload"]
        assert page.url == editor
        assert (await page.input_value("#f-description")).endswith("x")
        await page.click("button:has-text('Save draft')")
        await page.wait_for_url("**?done=saved")
        assert asked == ["beforeunload"]
