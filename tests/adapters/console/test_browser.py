"""A real browser, a real OpenID provider, the whole service: a person signs in on a phone and decides a call."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright
from pydantic import SecretStr

from app.kit.ids import APPROVAL, format_id
from tests.adapters.console.test_approval_pages import BACKWARDS, EVIL, keep
from tests.api import Account
from tests.features.approvals.desk import Desk
from tests.features.tokens.world import World
from tests.npm import install
from tests.provider.openid import ADMINS, AUDIENCE, PAGES, PAGES_SECRET, OpenIdProvider, openid_provider
from tests.story.service import Service, whole_service

pytestmark = pytest.mark.slow
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HERE = Path(__file__).parent
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
PHONE = ViewportSize(width=390, height=844)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, as the machine has it."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("pages are tried in a browser: apt-get install chromium")
    install(HERE, "looking whether everybody can use the pages")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        await browser.close()


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


async def sign_in(page: Page, person: str) -> None:
    """Through the provider's own pages, and back."""
    await page.fill("input[name=login]", person)
    await page.fill("input[name=password]", "any")
    await page.click("button[type=submit]")
    await page.click("button[type=submit]")  # Consent.


async def check_for_everybody(page: Page) -> None:
    """Nothing on the page keeps anybody from using it, as far as a program can tell (WCAG 2.2 AA)."""
    # As a browser's own debugger does: the page's policy lets nothing in.
    session = await page.context.new_cdp_session(page)
    await session.send("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = await page.evaluate("(rules) => axe.run(document, {runOnly: rules})", rules)
    assert len(found["passes"]) > 10
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []


async def overflow(page: Page) -> float:
    """How much wider than the screen the page is; zero on one that can be read without scrolling to the side."""
    wide: float = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return wide


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
    await page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert await overflow(page) <= 0
    await check_for_everybody(page)
    assert await page.inner_text("pre .odd >> nth=0") == "U+202E"
    await page.fill("textarea", "Agreed on the phone.")
    await page.click("text=Approve this call once")
    assert page.url == address
    assert "approved" in await page.inner_text(".state")
    assert await desk.state(first) == "approved"
    await check_for_everybody(page)
    await page.goto(f"{service.url}/console/approvals")
    await check_for_everybody(page)
    assert complaints == []

    # Nothing of it is a script's work.
    plain = await (await browser.new_context(java_script_enabled=False)).new_page()
    await plain.goto(f"{service.url}/console/approvals")
    await sign_in(plain, "alice")
    await plain.screenshot(path=tmp_path / "list.png")
    await plain.click("text=refund")
    await take_picture(plain, tmp_path / "desktop.png", shows="text=Deny")
    await plain.click("text=Deny")
    assert "denied" in await plain.inner_text(".state")
    assert await desk.state(second) == "denied"

    # Out here and there; the provider tells of it, and sends the browser back.
    await plain.click("text=Sign out")
    await take_picture(plain, tmp_path / "out.png", shows="a >> text=sign out there too")
    await plain.click("a >> text=sign out there too")
    await plain.click("button[value=yes]")
    assert plain.url.startswith(f"{service.url}/signed-out")
    # Somebody who signs out at the provider alone is signed out here, before it answers them.
    await page.goto(f"{provider.issuer}/session/end")
    await page.click("button[value=yes]")
    await page.goto(address)
    assert page.url.startswith(provider.issuer)
