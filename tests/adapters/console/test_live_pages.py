"""In a real browser: the audit trail grows on the page, without a reload, until it is paused or the right has ended."""

from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.adapters.console.looking import Eye, sign_in
from tests.adapters.console.served import served
from tests.adapters.console.test_audit_pages import commit
from tests.api import Account

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_events_come_into_the_page_and_not_while_it_is_paused(
    browser: Browser, database_url: str, owner: Account, sessions: Any
) -> None:
    async with served(database_url, owner) as (service, provider):
        eye = await Eye.open(browser, timezone_id="Asia/Tokyo")
        page = eye.page
        await page.goto(f"{service.url}/console/audit?decision=deny")
        await sign_in(page, "alice")
        await eye.go(f"{service.url}/console/audit?decision=deny")
        await expect(page.locator(".empty")).to_be_visible()
        first = await commit(sessions, decision="deny", reason_code="no_grant")
        await expect(page.locator(f"#{first}")).to_be_visible()
        await expect(page.locator(".empty")).to_be_hidden()
        link = page.locator(f"#{first} td:first-child a")
        await link.focus()
        second = await commit(sessions, decision="deny", reason_code="no_grant")
        await expect(page.locator(f"#{second}.is-fresh")).to_be_visible()
        # Whoever is at a row stays there, and reads times in their own zone.
        await expect(link).to_be_focused()
        await expect(page.locator("#events time:not([data-local])")).to_have_count(0)
        await page.get_by_role("link", name="Pause").click()
        await expect(page.locator("#live")).to_have_count(0)
        await commit(sessions, decision="deny", reason_code="no_grant")
        await page.get_by_role("link", name="Resume").click()
        await expect(page.locator("#events tbody tr")).to_have_count(3)
        assert eye.complaints == []
        asked = list[str]()
        page.on("request", lambda request: asked.append(request.url))
        other = await eye.context.new_page()
        await other.goto(f"{service.url}/console/audit?live=off")
        await other.get_by_role("button", name="Sign out").click()
        # That the session has ended is an event too. The provider, which was not asked twice, lets them in again.
        await page.wait_for_url("**live=off")
        assert [url for url in asked if url.startswith(provider.issuer)]
        await eye.context.close()
