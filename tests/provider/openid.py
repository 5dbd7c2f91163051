"""A real OpenID provider for tests (``provider.mjs``), and a sign-in through its pages without a browser.

It needs Node and npm; a test that starts one skips where they are missing.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2
from authlib.common.security import generate_token
from authlib.integrations.httpx_client import AsyncOAuth2Client

from tests.npm import install

API = "https://scopegate.test"
AUDIENCE = "scopegate"
OTHER_API = "https://wiki.test"
ADMINS = "scopegate-admins"
PAGES = "scopegate-pages"
PAGES_SECRET = "secret of: pages"

_HERE = Path(__file__).parent
_CLIENT_ID = AUDIENCE  # Some providers name an API by its client: then its ID tokens have that audience too.
_REDIRECT = (
    "http://127.0.0.1:53682/callback"  # Nothing listens there: the sign-in stops at the redirect to it.
)


@dataclass(frozen=True, slots=True)
class OpenIdProvider:
    """The running provider. People: ``alice`` (in ``ADMINS``) and ``bob`` (not)."""

    issuer: str
    _process: "subprocess.Popen[str]"

    @property
    def port(self) -> int:
        return int(self.issuer.rsplit(":", 1)[1])

    def rotate_keys(self) -> list[str]:
        """Sign with new keys and publish none of the old; the ids of the new ones."""
        kids: list[str] = self._order("rotate")
        return kids

    def sign_with(self, algorithm: str) -> None:
        """``RS256`` or ``ES256``."""
        self._order("algorithm", algorithm)

    def set_clock(self, seconds: int) -> None:
        """Let its clock differ from the true time, so that what it issues is old or not yet."""
        self._order("clock", seconds)

    def serve_pages(self, url: str) -> None:
        """Let people sign in to the pages of a service (client ``PAGES``), and tell it when they sign out."""
        self._order("pages", url)

    def set_groups(self, person: str, groups: list[str]) -> None:
        """What the next access tokens of this person say."""
        self._order("groups", {"person": person, "groups": groups})

    async def sign_in(self, person: str, api: str = API) -> dict[str, Any]:
        """Sign in at its pages (authorization code, PKCE) for access to an API: the answer of its token endpoint."""
        client = AsyncOAuth2Client(
            _CLIENT_ID,
            token_endpoint_auth_method="none",
            redirect_uri=_REDIRECT,
            scope="openid",
            code_challenge_method="S256",
            trust_env=False,
            timeout=60,
        )
        async with client, httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
            metadata = (await browser.get(f"{self.issuer}/.well-known/openid-configuration")).json()
            verifier = generate_token(48)
            start, state = client.create_authorization_url(
                metadata["authorization_endpoint"],
                code_verifier=verifier,
                resource=api,
                nonce=generate_token(24),
            )
            end = await _through_the_pages(browser, start, person)
            token: dict[str, Any] = await client.fetch_token(
                metadata["token_endpoint"],
                authorization_response=end,
                state=state,
                code_verifier=verifier,
                resource=api,
            )
        return token

    async def access_token(self, person: str, api: str = API) -> str:
        """A person's access token for an API."""
        return str((await self.sign_in(person, api))["access_token"])

    async def program_token(self, program: str, api: str = API) -> str:
        """An access token of ``deploy-pipeline`` or ``some-pipeline`` (client credentials)."""
        client = AsyncOAuth2Client(program, f"secret-of-{program}", trust_env=False, timeout=60)
        async with client:
            token = await client.fetch_token(
                f"{self.issuer}/token", grant_type="client_credentials", resource=api
            )
        return str(token["access_token"])

    def _order(self, order: str, value: Any = None) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({order: value}) + "\n")
        self._process.stdin.flush()
        return _answer(self._process)["done"]


@contextlib.contextmanager
def openid_provider(port: int = 0, *, token_seconds: int = 300) -> Iterator[OpenIdProvider]:
    """Run a provider with keys of its own; ``port`` is that of one which has stopped, to bring it back, or one that
    nobody gets by chance while it is away."""
    install(_HERE, "the OpenID provider")
    with subprocess.Popen(
        ["node", "provider.mjs"],
        cwd=_HERE,
        env=os.environ | {"PROVIDER_PORT": str(port), "PROVIDER_TOKEN_SECONDS": str(token_seconds)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield OpenIdProvider(_answer(process)["issuer"], process)
        finally:
            process.kill()


def _answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


async def _through_the_pages(browser: httpx2.AsyncClient, start: str, person: str) -> str:
    """Follow redirects, fill in each form on the way; the address that the provider sends the client to."""
    request = browser.build_request("GET", start)
    # Signing in and consent, with the redirects between.
    for _ in range(12):
        answer = await browser.send(request)
        if answer.is_redirect:
            target = urljoin(str(request.url), answer.headers["location"])
            if target.startswith(_REDIRECT):
                return target
            request = browser.build_request("GET", target)
            continue
        assert answer.is_success, answer.text
        form = _Form(answer.text)
        form.fields |= {"login": person, "password": "any"} if "login" in form.fields else {}
        request = browser.build_request("POST", urljoin(str(request.url), form.action), data=form.fields)
    raise AssertionError(f"the provider did not come to an end: {answer.text}")


class _Form(HTMLParser):
    """The form of a page: where it goes, and its fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = attributes["action"]
        if tag == "input" and "name" in attributes:
            self.fields[attributes["name"]] = attributes.get("value", "")
