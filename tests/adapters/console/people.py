"""Browsers of people with roles, and reading the forms and links of a page as a browser does."""

import re
from html import unescape

import httpx2
import pytest

from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in

EVIL = '"><script>alert(1)</script>'


def links_of(page: httpx2.Response, pattern: str) -> list[str]:
    """The addresses that a page leads to and that are whole what the pattern says."""
    found = map(unescape, re.findall(r'href="([^"]+)"', page.text))
    return [one for one in found if re.fullmatch(pattern, one)]


async def signed_in_as(
    new_browser: NewBrowser, provider: SigningProvider, group: str, name: str
) -> httpx2.AsyncClient:
    """The browser of somebody whose provider puts them into this group."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub=name, groups=[group])).status_code == 303
    return browser


@pytest.fixture
async def admin(new_browser: NewBrowser, provider: SigningProvider) -> httpx2.AsyncClient:
    """The browser of an administrator."""
    return await signed_in_as(new_browser, provider, "admins", "root")


async def provider_id(api: httpx2.AsyncClient) -> str:
    """The provider that people sign in at."""
    return str((await api.get("/api/v1/identity-providers")).json()["items"][0]["id"])
