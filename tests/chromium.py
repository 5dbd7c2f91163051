"""The browser of tests that look at pages: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright, expect

_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOW_TO_GET_IT = "apt-get install chromium"
# As long as it waits for everything else.
expect.set_options(timeout=30_000)


def find_chromium() -> str | None:
    """Where Chromium is; ``None`` on a machine without."""
    return shutil.which("chromium")


def lacking() -> list[str]:
    """What keeps the browser tests from running on this machine, and how to get it, as the last lines of a run."""
    missing = []
    if find_chromium() is None:
        missing.append(f"  Chromium: {HOW_TO_GET_IT}")
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing.append("  Node and npm, for their OpenID provider: apt-get install nodejs npm")
    return ["The browser tests did not run, for want of", *missing] if missing else []


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser. Skips the test where the machine has none."""
    path = find_chromium()
    if path is None:
        pytest.skip(f"pages are tried in a browser: {HOW_TO_GET_IT}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        await browser.close()
