"""Whoever uses the keyboard goes on from where they were, when a part of a page is put in place of another."""

import pytest
from playwright.async_api import Page

from tests.adapters.console.looking import Eye, sign_in
from tests.adapters.console.test_every_page import organisation
from tests.api import Account
from tests.chromium import chromium

_STILL = "() => !document.querySelector('.htmx-request') && document.activeElement !== document.body"
_FOCUSED = "() => document.activeElement.id || document.activeElement.textContent.trim()"


async def _press(page: Page, where: str) -> str:
    """Press Enter on a control, and tell what has the focus once its answer is there."""
    control = await page.locator(where).first.element_handle()
    assert control is not None
    await control.focus()
    await page.keyboard.press("Enter")
    if "policies" not in page.url:
        await control.wait_for_element_state("hidden")
    else:
        await page.locator("#report .alert").wait_for()
    await page.wait_for_function(_STILL)
    return str(await page.evaluate(_FOCUSED))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_swap_leaves_the_focus_where_one_was_or_on_what_came_instead(
    database_url: str, owner: Account
) -> None:
    async with organisation(database_url, owner) as it, chromium() as browser:
        eye = await Eye.open(browser)
        page, console, ids = eye.page, f"{it.service.url}/console", it.ids
        await page.goto(f"{console}/approvals")
        await sign_in(page, "alice")
        await page.goto(f"{console}/tokens/new?identity_id={ids['bob']}")
        await page.get_by_label("Token name").fill("Claude Code")
        await page.click("main button >> text=Continue")
        await page.wait_for_url("**/tools")
        chosen = "li:has-text('billing') button:has-text('All')"
        assert await _press(page, chosen) == f"all-{ids['billing']}"
        assert await _press(page, ".basket button") == "basket-title"
        await page.goto(f"{console}/policies/{ids['policy']}")
        assert (
            await _press(page, "button:has-text('Check and test')")
            == "The text is valid. It has no tests yet."
        )
        await page.goto(f"{console}/servers/{ids['billing']}")
        await page.click("button:has-text('Sync tools')")
        await page.wait_for_url("**?done=synced")
        await page.wait_for_function(_STILL)
        assert await page.evaluate(_FOCUSED) == "The tools were synced."
