"""A real browser, a real OpenID provider, the whole service: a person signs in on a phone and decides a call."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect
from pydantic import SecretStr

from app.lib.ids import APPROVAL, format_id
from tests.adapters.console.looking import HERE, axe_faults, sign_in
from tests.adapters.console.test_approval_pages import BACKWARDS, EVIL, keep
from tests.api import Account
from tests.chromium import chromium
from tests.features.approvals.desk import Desk
from tests.features.tokens.world import World
from tests.npm import install
from tests.provider.openid import ADMINS, AUDIENCE, PAGES, PAGES_SECRET, OpenIdProvider, openid_provider
from tests.story.service import Service, whole_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PHONE = ViewportSize(width=390, height=844)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, as the machine has it."""
    async with chromium() as browser:
        install(HERE, "looking whether everybody can use the pages")
        yield browser


@pytest.fixture
async def served(database_url: str, owner: Account) -> AsyncIterator[tuple[Service, OpenIdProvider]]:
    """The service and the provider that it believes, which knows its pages."""
    with openid_provider() as provider:
        settings: dict[str, Any] = {
            "oidc_issuer": provider.issuer,
            "oidc_audience": (AUDIENCE,),
            "oidc_client_id": PAGES,
            "oidc_client_secret": SecretStr(PAGES_SECRET),
            "oidc_role_map": {ADMINS: "approver"},
        }
        async with whole_service(database_url, owner.bearer, **settings) as service:
            provider.serve_pages(service.url)
            yield service, provider


async def take_picture(page: Page, path: Path, *, shows: str) -> None:
    """Of a page that shows something: none can be taken while the browser is on its way to it."""
    await page.locator(shows).first.wait_for()
    await page.screenshot(path=path, full_page=True)


async def test_a_person_signs_in_at_the_provider_decides_and_is_signed_out_by_it(
    served: tuple[Service, OpenIdProvider], browser: Browser, sessions: Any, tmp_path: Path
) -> None:
    service, provider = served

    def nobody(caller: object) -> Any:
        raise AssertionError("people sign in with a browser here")

    desk = await Desk(World(service.api, sessions), nobody).furnish()
    first, second = await desk.asked(reason=BACKWARDS), await desk.asked()
    arguments = {"amount": 250, "to": EVIL, "note": BACKWARDS, "path": "x" * 400, "lines": ["a", "b"] * 3}
    await keep(desk, first, arguments)
    phone = await browser.new_context(viewport=PHONE, color_scheme="dark")
    page, complaints = await phone.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    address = f"{service.url}/console/approvals/{format_id(APPROVAL, first.id)}"
    await page.goto(address)
    assert page.url.startswith(provider.issuer)
    await sign_in(page, "alice")
    assert page.url == address
    complaints.clear()  # The provider's own pages may complain of what they like.
    await page.reload()
    await take_picture(page, tmp_path / "phone.png", shows="pre .odd")
    assert await page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert await axe_faults(page) == []
    assert await page.inner_text("pre .odd >> nth=0") == "U+202E"
    await page.fill("textarea", "Agreed on the phone.")
    await page.click("text=Approve call once")
    await expect(page.locator(".state").first).to_contain_text("approved")
    assert page.url == address
    assert await desk.state(first) == "approved"
    assert await axe_faults(page) == []
    await page.goto(f"{service.url}/console/approvals")
    assert await axe_faults(page) == []
    assert complaints == []

    # Nothing of it is a script's work.
    plain = await (await browser.new_context(java_script_enabled=False)).new_page()
    await plain.goto(f"{service.url}/console/approvals")
    await sign_in(plain, "alice")
    await take_picture(plain, tmp_path / "list.png", shows="text=refund")
    await plain.click("text=refund")
    await take_picture(plain, tmp_path / "desktop.png", shows="text=Deny")
    await plain.click("text=Deny")
    await expect(plain.locator(".state").first).to_contain_text("denied")
    assert await desk.state(second) == "denied"

    # Out here and there; the provider tells of it, and sends the browser back.
    await plain.click("text=Sign out")
    await take_picture(plain, tmp_path / "out.png", shows="a >> text=sign out there too")
    await plain.click("a >> text=sign out there too")
    await plain.click("button[value=yes]")
    await plain.wait_for_url(f"{service.url}/signed-out**")
    # Somebody who signs out at the provider alone is signed out here, before it answers them.
    await page.goto(f"{provider.issuer}/session/end")
    await page.click("button[value=yes]")
    await page.wait_for_url(f"{provider.issuer}/session/end/success**")
    await page.goto(address)
    assert page.url.startswith(provider.issuer)


async def test_whoever_is_not_let_in_comes_as_somebody_else_by_the_provider_that_would_let_them_straight_in_again(
    served: tuple[Service, OpenIdProvider], browser: Browser, tmp_path: Path
) -> None:
    service, _ = served
    address = f"{service.url}/console/approvals?tab=over"
    for way, has_script in (("Sign in with another account", True), ("sign out there first", False)):
        page = await (await browser.new_context(java_script_enabled=has_script)).new_page()
        await page.goto(address)
        await sign_in(page, "bob")
        refused = page.locator("text=you have no access to this service")
        await refused.wait_for()
        await take_picture(page, tmp_path / f"refused-{has_script}.png", shows="a >> text=another account")
        if has_script:
            assert await axe_faults(page) == []
        # Asked in the plain way, the provider brings the same person back, and asks them nothing.
        await page.goto(address)
        await refused.wait_for()
        await page.click(f"a >> text={way}")
        if not has_script:
            await page.click("button[value=yes]")
            await page.wait_for_url(f"{service.url}/signed-out?state=**")
            await page.click("a >> text=Sign in")
        await sign_in(page, "alice")
        assert page.url == address
