"""The console's whole story, in a real Chromium against the real service, provider, MCP server and MCP client.

Once with script, once without: the same buttons and links do the same. What people see is what is looked for.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pytest
from mcp import Client
from playwright.async_api import Browser, BrowserContext, Locator, Page

from tests.adapters.console.looking import SUBMITS, same_origin
from tests.adapters.console.served import served
from tests.api import Account
from tests.chromium import chromium
from tests.serving import listener
from tests.story.service import Service, notes_server, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ASKS = """@require_approval("Editors")
@reason("What is written stays.")
forbid (principal, action == Action::"call_tool", resource == Tool::"notes/write_note");"""
MAX_INTERACTIONS = 12
MAX_SECONDS = 60
SOON_MS = 60_000


@dataclass
class Hands:
    """A person at the browser. Clicks and typing are counted."""

    context: BrowserContext
    page: Page
    service: Service
    script: bool
    interactions: int = 0
    complaints: list[str] = field(default_factory=list)

    async def press(self, what: Locator | str) -> None:
        """Click a link or button, given by its text or locator."""
        self.interactions += 1
        await (self.control(what) if isinstance(what, str) else what).click()

    async def type(self, label: str, text: str) -> None:
        self.interactions += 1
        await self.page.get_by_label(label, exact=True).fill(text)

    async def choose(self, label: str) -> None:
        """Tick a box, or one of several options."""
        self.interactions += 1
        await self.page.locator("main").get_by_label(label).first.check()

    def control(self, words: str) -> Locator:
        """Find the element with this text on the page, else in the menu."""
        page = self.page
        name = re.compile(f"^{re.escape(words)}$")
        inside = page.locator("main").get_by_role("button", name=name)
        inside = inside.or_(page.locator("main").get_by_role("link", name=name))
        return inside.or_(page.locator("aside").get_by_role("link", name=name)).first

    async def sees(self, words: str, *, within: str = "main") -> None:
        """Wait for an element, whether a script adds it or not."""
        await self.page.locator(within).get_by_text(words).first.wait_for(timeout=SOON_MS)

    async def open(self, path: str) -> None:
        await self.page.goto(self.service.url + path)

    async def sign_in(self) -> None:
        """Sign in on the provider's pages: name, password and consent. Then wait for the console's page."""
        for name, text in (("login", "alice"), ("password", "any")):
            self.interactions += 1
            await self.page.fill(f"input[name={name}]", text)
        provider = self.page.url
        for button in SUBMITS.values():
            self.interactions += 1
            await self.page.click(button)
        await self.page.wait_for_url(lambda url: not same_origin(url, provider))


@asynccontextmanager
async def hands_at(browser: Browser, service: Service, *, script: bool) -> AsyncIterator[Hands]:
    context = await browser.new_context(java_script_enabled=script, viewport={"width": 1280, "height": 900})
    if script:
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
    hands = Hands(context, await context.new_page(), service, script)

    def watch(page: Page) -> None:
        def note(text: str) -> None:
            if page.url.startswith(service.url):
                hands.complaints.append(text)

        page.on("console", lambda message: note(message.text))
        page.on("pageerror", lambda error: note(str(error)))

    context.set_default_timeout(SOON_MS)
    watch(hands.page)
    yield hands
    await context.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """The installed Chromium."""
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def notes() -> AsyncIterator[str]:
    """The URL of a real MCP server."""
    with listener() as sock:
        async with serving(notes_server(), sock) as url:
            yield f"{url}/mcp"


@pytest.fixture
async def service(database_url: str, owner: Account) -> AsyncIterator[Service]:
    """The empty service and its provider."""
    async with served(database_url, owner) as (service, _):
        yield service


async def call(service: Service, secret: str, tool: str, **arguments: Any) -> str:
    """Call a tool with a real MCP client; returns the text."""
    async with service.connect("/mcp/notes", secret) as transport, Client(transport) as client:
        answer = await client.call_tool(tool, arguments)
        return str(getattr(answer.content[0], "text", ""))


async def register(hands: Hands, url: str) -> None:
    """Register and sync a server."""
    await hands.press("Servers")
    await hands.press("Register server")
    await hands.type("Name", "notes")
    await hands.type("URL", url)
    await hands.press("Register server")
    await hands.sees("3 tools")
    await hands.press("Sync tools")
    await hands.sees("The tools were synced.")
    await hands.sees("3 tools")


async def make_person(hands: Hands, name: str) -> str:
    """Create a person; returns the URL of their page."""
    await hands.press("Identities")
    await hands.press("Create person")
    await hands.type("User name", name)
    await hands.press("Create person")
    await hands.page.wait_for_url("**/console/identities/idn_*")
    return hands.page.url.partition("?")[0].removeprefix(hands.service.url)


async def give(hands: Hands, person: str) -> None:
    """Grant all of one server."""
    await hands.open(f"/console/grants/new?identity_id={person.rpartition('/')[2]}")
    await hands.choose("These servers")
    await hands.choose("notes")
    await hands.choose("Every tool")
    await hands.press("Review grant")
    await hands.press("Create grant")
    await hands.page.wait_for_url("**/console/grants/grant_*")


async def issue(hands: Hands, who: str, *, all_tools: bool) -> str:
    """Issue a token with the wizard; returns the copied secret."""
    await hands.press(hands.page.locator("main").get_by_role("link", name=re.compile("^Issue")).first)
    await hands.press(hands.page.locator("main .choice-list a").filter(has_text=who).first)
    await hands.type("Token name", "Claude Code")
    await hands.press("Continue")
    await hands.page.wait_for_url("**/tools")
    offers = hands.page.locator("main .offer-list button")
    await hands.press(offers.filter(has_text="All (" if all_tools else "Read-only").first)
    await hands.press("Continue")
    await hands.page.wait_for_url("**/limits")
    await hands.press("Continue")
    await hands.sees("can call")
    await hands.press("Issue token")
    await hands.sees("It is shown only this time")
    return (await hands.page.locator("#secret").inner_text()).strip()


async def copy_snippet(hands: Hands) -> None:
    """Check the connection settings of a client, which contain no secret."""
    shown = await hands.page.locator("#connect-claude_code").inner_text()
    if hands.script:
        await hands.press(hands.page.locator("[data-copy=connect-claude_code]"))
        await hands.page.locator("[data-copy=connect-claude_code] >> text=Copied").wait_for()
        copied = await hands.page.evaluate("navigator.clipboard.readText()")
        assert copied.split() == shown.split()
    assert f"{hands.service.url}/mcp" in shown
    assert "sgt_" not in shown


async def see_it_green(hands: Hands) -> str:
    """Wait for the notice of the first call; returns the URL of the token's page."""
    away = hands.page.locator("main").get_by_role("link", name="Show first use")
    token = str(await away.get_attribute("href")).partition("#")[0]
    if hands.script:
        await hands.sees("It works", within="#light")
    else:
        await hands.open(token)
        await hands.sees("It works")
    return token


async def approve_one(hands: Hands, secret: str) -> None:
    """A call needs an approval, appears in the inbox, is approved, and runs when it is repeated."""
    await hands.press("Approvals")
    await hands.sees("No pending approvals")
    answer = await call(hands.service, secret, "write_note", name="hello", text="you")
    assert "needs an approval" in answer
    assert f"{hands.service.url}/console/approvals/apr_" in answer
    if not hands.script:
        await hands.press("Approvals")
    await hands.sees("write_note")
    await hands.press(hands.page.locator("main .row-actions a").first)
    await hands.sees("What is written stays.")
    await hands.press(hands.page.locator("main").get_by_role("button", name=re.compile("^Approve")).first)
    await hands.sees("approved")
    assert await call(hands.service, secret, "write_note", name="hello", text="you") == "written"


async def find_it(hands: Hands, token: str) -> None:
    """Check the call in the audit log, and the reason of its first denial."""
    await hands.press("Audit log")
    await hands.page.wait_for_url("**/console/audit**")
    await hands.open(f"/console/audit?token_id={token.rpartition('/')[2]}")
    row = hands.page.locator("main tr").filter(has_text="write_note").filter(has_text="success").first
    await hands.press(row.get_by_role("link").first)
    await hands.sees("tool.call")
    await hands.sees("write_note")


async def offboard(hands: Hands, person: str, name: str) -> None:
    """Offboard the person, by typing the name."""
    await hands.open(person)
    await hands.press("Offboard person")
    await hands.type("Reason", "Left the company.")
    await hands.page.get_by_label(re.compile("^Type .* to confirm")).fill(name)
    hands.interactions += 1
    await hands.press("Offboard person")
    await hands.sees("Offboarding receipt", within="body")
    await hands.sees("Claude Code")


async def see_the_refusal(hands: Hands, token: str, secret: str) -> None:
    """Check that the client is refused, and that the token's page says why."""
    with pytest.raises(BaseException) as refused:  # noqa: PT011 - a group of transport errors
        await call(hands.service, secret, "read_note", name="hello")
    assert "401" in repr(refused.value) or "valid Scopegate token" in _words(refused.value)
    await hands.open(token)
    await hands.sees("revoked")
    await hands.open(f"{token}/check")
    await hands.press("Test connection")
    await hands.sees("The token was revoked.")


def _words(error: BaseException) -> str:
    """Return the texts of an exception and of nested ones."""
    inner = getattr(error, "exceptions", ())
    return " ".join([str(error), *map(_words, inner)])


@pytest.mark.parametrize("script", [True, False], ids=["with-script", "without-script"])
async def test_an_administrator_registers_grants_issues_approves_finds_and_offboards(
    browser: Browser, service: Service, notes: str, script: bool
) -> None:
    async with hands_at(browser, service, script=script) as hands:
        await hands.open("/console")
        await hands.sign_in()
        await register(hands, notes)
        person = await make_person(hands, "maria")
        await give(hands, person)
        await service.publish(ASKS)
        await hands.press("Tokens")
        secret = await issue(hands, "maria", all_tools=True)
        await copy_snippet(hands)
        assert await call(service, secret, "read_note", name="hello") == "world"
        token = await see_it_green(hands)
        await approve_one(hands, secret)
        await find_it(hands, token)
        await offboard(hands, person, "maria")
        await see_the_refusal(hands, token, secret)
    assert hands.complaints == []


@pytest.mark.parametrize("script", [True, False], ids=["with-script", "without-script"])
async def test_from_signing_in_to_a_working_token_takes_a_minute_and_twelve_interactions_at_most(
    browser: Browser, service: Service, notes: str, script: bool
) -> None:
    server = await service.register("notes", notes)
    maria = await service.post("/identities", {"kind": "person", "user_name": "maria"})
    rights = {"servers": {"kind": "ids", "ids": [server]}, "tools": {"kind": "all"}}
    await service.post("/grants", {"principal": {"type": "identity", "id": maria["id"]}, **rights})
    async with hands_at(browser, service, script=script) as hands:
        await hands.open("/console")
        begun = monotonic()
        await hands.sign_in()
        secret = await issue(hands, "maria", all_tools=False)
        taken = monotonic() - begun
        assert await call(service, secret, "read_note", name="hello") == "world"
        await see_it_green(hands)
    assert hands.interactions <= MAX_INTERACTIONS, hands.interactions
    assert taken <= MAX_SECONDS
