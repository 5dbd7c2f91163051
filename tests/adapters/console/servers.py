"""What tests of the pages of servers and tools share: the forms on a page, and a fleet that can be read."""

import re
from collections.abc import AsyncIterator
from html import unescape
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from app.main import Scopegate
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import CLIENT, SECRET, SigningProvider, sign_in
from tests.adapters.oidc.test_sign_in import settings_for, started

EVIL = '"><script>alert(1)</script>'


@pytest.fixture
async def app(database_url: str, provider: SigningProvider) -> AsyncIterator[Scopegate]:
    """The application, which may reach servers on this machine; auditors sign in too."""
    more: dict[str, Any] = {
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SecretStr(SECRET),
        "oidc_role_map": {"admins": "admin", "auditors": "auditor"},
        "upstream_allowed_networks": (ip_network("127.0.0.0/8"),),
    }
    async with started(settings_for(database_url, provider, **more)) as app:
        yield app


@pytest.fixture
async def admin(new_browser: NewBrowser, provider: SigningProvider) -> httpx2.AsyncClient:
    """The browser of an administrator."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="root", groups=["admins"])).status_code == 303
    return browser


@pytest.fixture
async def auditor(new_browser: NewBrowser, provider: SigningProvider) -> httpx2.AsyncClient:
    """The browser of somebody who reads and changes nothing."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="reader", groups=["auditors"])).status_code == 303
    return browser


def fields_of(page: httpx2.Response, action: str) -> dict[str, str]:
    """The hidden fields of the one form that is posted to ``action``, as a browser sends them."""
    opening = rf'<form\b(?=[^>]* method="post")[^>]* action="{re.escape(action)}"'
    (form,) = re.findall(rf"{opening}.*?</form>", page.text, re.DOTALL)
    hidden = re.findall(r'<input type="hidden" name="([\w.]+)" value="([^"]*)">', form)
    return {name: unescape(value) for name, value in hidden}


async def press(
    browser: httpx2.AsyncClient, page: str, action: str, **typed: str | list[str]
) -> httpx2.Response:
    """Open a page and send the form on it that goes to ``action``, with what is typed."""
    shown = await browser.get(page)
    assert shown.status_code == 200, shown.text
    return await browser.post(action, data={**fields_of(shown, action), **typed})


async def follow(browser: httpx2.AsyncClient, answer: httpx2.Response) -> httpx2.Response:
    """The page that a change leads to."""
    assert answer.status_code == 303, answer.text
    page = await browser.get(answer.headers["location"])
    assert page.status_code == 200, page.text
    return page
