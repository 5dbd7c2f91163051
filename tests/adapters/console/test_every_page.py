"""Every page in a real browser: light, dark, on a phone; nothing is found wrong, and the browser has no complaint.

With ``SCREENSHOTS`` naming a folder, a picture of each is left there: ``make screenshots``. ``PAGES`` keeps to those
whose names begin with it.
"""

import os
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts
from playwright.async_api import Browser
from playwright.async_api import Error as PlaywrightError

from app.db.engine import make_engine, make_sessions
from app.lib.ids import TOKEN_DRAFT
from app.main import Scopegate
from tests.adapters.console.every_page import CASES, Case
from tests.adapters.console.looking import LOOKS, Eye, Look, sign_in
from tests.adapters.console.organisation import Organisation
from tests.adapters.console.served import served
from tests.api import Account
from tests.features.access.aging import age, use
from tests.serving import listener
from tests.story.service import Service, notes_server, serving

_PICTURES = os.environ.get("SCREENSHOTS")
_ONLY = os.environ.get("PAGES", "")
_NO_PAGES = re.compile(r"/console/(assets/|theme$|\{path:path\}$)|/live$|/stream$|/export$")
"""What is at a path of the console and is no page: files, streams, the answer where there is nothing."""


@asynccontextmanager
async def organisation(database_url: str, owner: Account) -> AsyncIterator[Organisation]:
    """The service with something of everything."""
    with listener() as sock:
        async with (
            serving(notes_server(), sock) as upstream,
            served(database_url, owner) as (service, provider),
        ):
            it = await Organisation(service, provider, f"{upstream}/mcp").furnish()
            await _grow_old(database_url, it.ids)
            yield it


async def _grow_old(database_url: str, ids: Mapping[str, str]) -> None:
    """Everything was made long ago, and of one grant something was used of late."""
    engine = make_engine(database_url, pool_size=1, name="test")
    sessions = make_sessions(engine)
    await age(sessions, 100)
    who, what, where = ({"id": ids[name]} for name in ("bob", "grant", "notes"))
    await use(sessions, what, where, "read_note", who, days=5)
    await engine.dispose()


async def look_at_all(
    browser: Browser,
    service: Service,
    look: Look,
    cases: list[Case],
    ids: Mapping[str, str],
    prefix: str = "",
) -> list[str]:
    """What is wrong with these pages, each by its name."""
    found = []
    for who in sorted({case.who for case in cases}):
        eye, links = await Eye.open(browser, look), set[str]()
        await eye.page.goto(f"{service.url}/console/approvals")
        await sign_in(eye.page, who)
        if who == "alice" and "bob" in ids:
            ids = {**ids, "draft": await _draft(eye, service, ids["bob"])}
        for case in (one for one in cases if one.who == who and one.name.startswith(_ONLY)):
            response = await eye.go(service.url + case.path.format(**ids))
            faults = await _sent(eye, case) or await eye.faults(response, case.status)
            found += [f"{case.name}: {fault}" for fault in faults]
            links |= await eye.links()
            if _PICTURES:
                path = Path(_PICTURES) / f"{prefix}{case.name}-{look.name}.png"
                await eye.page.screenshot(path=path, full_page=True)
        if look is LOOKS[0]:
            found += await _dead_ends(eye, service, links)
        await eye.context.close()
    return found


async def _dead_ends(eye: Eye, service: Service, links: set[str]) -> list[str]:
    """Links that lead nowhere, of each kind two: kinds differ by more than the ids in them.

    The token that was being issued is issued by now, so that its steps are no more.
    """
    kinds = defaultdict[str, list[str]](list)
    for link in sorted(link for link in links if f"/{TOKEN_DRAFT}_" not in link):
        kinds[re.sub(r"[a-z]+_[0-9a-z]{26}|=[^&]*", "*", link)].append(link)
    found = []
    for link in (link for kind in kinds.values() for link in kind[:2]):
        answer = await eye.context.request.get(service.url + link)
        if not answer.ok:
            found.append(f"a link leads to {link}, which answers {answer.status}")
    return found


async def _draft(eye: Eye, service: Service, identity_id: str) -> str:
    """The id of a token that is being issued, with some tools chosen and its limits set."""
    page = eye.page
    await page.goto(f"{service.url}/console/tokens/new?identity_id={identity_id}")
    await page.get_by_label("Token name").fill("Claude Code")
    await page.click("main button >> text=Continue")
    await page.wait_for_url("**/tools")
    for name in ("notes", "billing"):
        await page.click(f"main .offer-list li:has-text('{name}') button >> text=Read-only")
        await page.locator(".basket").get_by_text(name).first.wait_for()
    await page.click(".basket >> text=Continue")
    await page.wait_for_url("**/limits")
    await page.click("main button >> text=Continue")
    await page.wait_for_url("**/summary")
    return page.url.split("/")[-2]


async def _sent(eye: Eye, case: Case) -> list[str]:
    """Send the form of the page, where there is one to be sent."""
    if not case.press:
        return []
    try:
        await eye.page.click(f"main button >> text={case.press}", timeout=30_000)
        await eye.page.locator(case.shows).first.wait_for(timeout=30_000)
    except PlaywrightError as error:
        return [f"shows no {case.shows} after {case.press}: {error.message.splitlines()[0]}"]
    return []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
async def test_nothing_is_wrong_with_any_page(
    browser: Browser, database_url: str, owner: Account, look: Look
) -> None:
    async with organisation(database_url, owner) as it:
        found = await look_at_all(browser, it.service, look, list(CASES), it.ids)
    assert found == [], "\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nor_with_those_that_have_nothing_to_show_yet(
    browser: Browser, database_url: str, owner: Account
) -> None:
    cases = [case for case in CASES if case.bare]
    async with served(database_url, owner) as (service, _):
        found = [
            fault
            for look in LOOKS[:: len(LOOKS) - 1]
            for fault in await look_at_all(browser, service, look, cases, {}, "bare-")
        ]
    assert found == [], "\n".join(found)


def test_every_page_is_looked_at(app: Scopegate) -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names), "two pictures of one name"
    pages = {
        str(route.path)
        for route in iter_route_contexts(app.api.routes)
        if str(route.path).startswith("/console")
        and "GET" in (route.methods or ())
        and not _NO_PAGES.search(str(route.path))
    }
    looked_at = [re.sub(r"\?.*", "", case.path) for case in CASES if case.status not in (403, 404)]
    forms = {page: re.compile(re.sub(r"\{[^}]*\}", "[^/]+", page)) for page in pages}
    missed = {page for page, form in forms.items() if not any(form.fullmatch(path) for path in looked_at)}
    assert missed == set(), "add them to every_page.py"
