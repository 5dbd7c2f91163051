"""Looking at a page in a browser for what a program can find wrong with it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, Response, ViewportSize

from tests.npm import install

HERE = Path(__file__).parent
_AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# All that is well of each element would take most of the time to tell.
_LOOK = """async (rules) => {
    const found = await axe.run(document, {runOnly: rules, resultTypes: ["violations"]});
    return {passes: found.passes.length, violations: found.violations};
}"""
_UNFOLD = """() => {
    for (const one of document.querySelectorAll("main details:not([open])")) {
        one.open = true;
        one.dataset.unfolded = "";
    }
}"""
_FOLD = """() => {
    for (const one of document.querySelectorAll("details[data-unfolded]")) {
        one.open = false;
        delete one.dataset.unfolded;
    }
}"""
_HTMX = """() => [...document.querySelectorAll("[hx-target]")]
    .filter((one) => one.getAttribute("hx-target").startsWith("#"))
    .filter((one) => !document.querySelector(one.getAttribute("hx-target")))
    .map((one) => one.outerHTML.slice(0, 200))"""
_INERT = """() => [...document.querySelectorAll("[hx-get], [hx-post], [hx-sse\\\\:connect]")]
    .filter((one) => !one.hasAttribute("hx-nonce") && !one.nonce)
    .map((one) => one.outerHTML.slice(0, 200))"""
_LINKS = """() => [...document.querySelectorAll("main a[href^='/']")]
    .map((one) => one.getAttribute("href"))
    .filter((href) => !/\\/(export|live)\\b/.test(href))"""
_TWICE = """() => {
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    return ids.filter((id, at) => ids.indexOf(id) !== at);
}"""

SUBMITS = {step: f"form:has(input[value={step}]) button[type=submit]" for step in ("login", "consent")}
"""The button of each step of signing in, at the provider of the tests."""


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody looks at a page."""

    name: str
    width: int
    height: int
    dark: bool = False

    @property
    def screen(self) -> ViewportSize:
        return ViewportSize(width=self.width, height=self.height)


LOOKS = (Look("light", 1280, 900), Look("dark", 1280, 900, dark=True), Look("narrow", 390, 844))


@dataclass
class Eye:
    """A browser's window, and what was complained of in it since it was last asked."""

    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    @classmethod
    async def open(cls, browser: Browser, look: Look = LOOKS[0], **options: Any) -> "Eye":
        install(HERE, "looking whether everybody can use the pages")
        scheme: Any = "dark" if look.dark else "light"
        context = await browser.new_context(viewport=look.screen, color_scheme=scheme, **options)
        eye = cls(context, await context.new_page())
        eye.page.on("console", lambda message: eye.complaints.append(message.text))
        eye.page.on("pageerror", lambda error: eye.complaints.append(str(error)))
        return eye

    async def go(self, address: str) -> Response:
        """Open a page, and wait until it stands there with its script."""
        self.complaints.clear()
        response = await self.page.goto(address)
        assert response is not None
        return response

    async def faults(self, response: Response, status: int = 200) -> list[str]:
        """What is wrong with the page that was opened: nothing on a good one."""
        page = self.page
        if response.status != status:
            return [f"answered {response.status}, and not {status}"]
        await page.wait_for_function("document.documentElement.classList.contains('has-script')")
        found = [f"the browser says: {text}" for text in self.complaints if not _of_status(text, status)]
        found += policy_faults(response.headers.get("content-security-policy", ""))
        if response.headers.get("cache-control") != "no-store":
            found.append("may be kept by caches")
        wide: float = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if wide > 0:
            found.append(f"is {wide} px wider than the screen")
        found += [f"a target is not there: {one}" for one in await page.evaluate(_HTMX)]
        found += [f"does nothing, without its nonce: {one}" for one in await page.evaluate(_INERT)]
        found += [f"two elements have the id {one}" for one in await page.evaluate(_TWICE)]
        return found + await axe_faults(page)

    async def links(self) -> set[str]:
        """Where the page leads within the service, parts of pages aside."""
        found: list[str] = await self.page.evaluate(_LINKS)
        return {link.partition("#")[0] for link in found}


def policy_faults(policy: str) -> list[str]:
    """What a content security policy lets in that it should not."""
    found = [f"its policy says {word}" for word in policy.split() if "unsafe" in word or word == "*"]
    wanted = (
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
    )
    return found + [f"its policy does not say {part}" for part in wanted if part not in policy]


async def axe_faults(page: Page) -> list[str]:
    """What keeps somebody from using the page, as far as a program can tell (WCAG 2.2 AA)."""
    # As a browser's own debugger does: the page's policy lets nothing in.
    session = await page.context.new_cdp_session(page)
    await session.send("Runtime.evaluate", {"expression": _AXE.read_text(encoding="utf-8")})
    await session.detach()
    # What is folded is looked at too.
    await page.evaluate(_UNFOLD)
    found = await page.evaluate(_LOOK, _RULES)
    await page.evaluate(_FOLD)
    assert found["passes"] > 10
    return [
        f"axe, {one['id']}: {node['html'][:300]} ({node['failureSummary'][:300]})"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def _of_status(complaint: str, status: int) -> bool:
    """Whether it is that the page itself is an error, as it should be, or that a form could not be taken."""
    return (status >= 400 and f"status of {status}" in complaint) or "status of 422" in complaint


async def sign_in(page: Page, person: str) -> None:
    """Through the provider's own pages, and back: the page that was asked for has loaded."""
    await page.fill("input[name=login]", person)
    provider = page.url
    await page.fill("input[name=password]", "any")
    await page.click(SUBMITS["login"])
    await page.click(SUBMITS["consent"])
    await page.wait_for_url(lambda url: not same_origin(url, provider))


def same_origin(url: str, other: str) -> bool:
    """Whether two addresses are of one scheme, host and port."""
    return urlsplit(url)[:2] == urlsplit(other)[:2]
