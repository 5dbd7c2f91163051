"""An OpenID provider's side of a sign-in, scripted: it gives for a code whatever a test says, and keeps what it got."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2

from tests.adapters.oidc.publisher import Publisher
from tests.adapters.oidc.tokens import AUDIENCE, KEY, AnyKey, header, public, token

Json = dict[str, Any]
CLIENT = "scopegate-pages"
SECRET = "client secret: of pages"  # Both have to be written as in a form first.
LOGOUT: dict[str, Json] = {"http://schemas.openid.net/event/backchannel-logout": {}}


class SigningProvider(Publisher):
    """Publishes keys and endpoints, and answers at ``/token`` with ``answer``."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Json = {}
        self.status = 200
        self.redeemed: list[tuple[dict[str, str], Json]] = []
        """The headers and the form of each request for a token."""

    def publish_all(self, **changed: Any) -> None:
        endpoints = {
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "end_session_endpoint": f"{self.issuer}/end",
            "authorization_response_iss_parameter_supported": True,
        }
        self.publish(public(KEY), **(endpoints | changed))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = first.split(" ")[1]
        status, answer = self.documents.get(path, (404, b""))
        if path == "/token":
            self.redeemed.append((headers, dict(parse_qsl(body.decode()))))
            status, answer = self.status, json.dumps(self.answer).encode()
        writer.write(
            b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(answer), answer)
        )
        await writer.drain()
        writer.close()

    def id_token(self, nonce: Any, key: AnyKey = KEY, *, typ: str = "JWT", **changed: Any) -> str:
        """An ID token of now for our client, with some claims changed; one that is ``...`` is left out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "grace",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
        }
        held = {name: value for name, value in (claims | changed).items() if value is not ...}
        return token(header(typ=typ), held, key)

    def access_token(self, **changed: Any) -> str:
        """An access token for the API."""
        claims: Json = {"aud": AUDIENCE, **changed}
        return self.id_token(..., typ="at+jwt", **claims)

    def logout_token(self, **changed: Any) -> str:
        """What says that somebody is signed out."""
        claims: Json = {"events": LOGOUT, "jti": "1", "nonce": ..., **changed}
        return self.id_token(claims.pop("nonce"), typ="logout+jwt", **claims)


def half_hash(text: str) -> str:
    """What an ID token that is signed by ES256 says of an access token."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).rstrip(b"=").decode()


@asynccontextmanager
async def signing_provider() -> AsyncIterator[SigningProvider]:
    it = SigningProvider()
    await it.start()
    it.publish_all()
    try:
        yield it
    finally:
        await it.stop()


def asked(response: httpx2.Response) -> dict[str, str]:
    """What the browser is sent to the provider with."""
    assert response.status_code == 302, response.text
    return {
        name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()
    }


async def begin(browser: httpx2.AsyncClient, target: str = "/console/approvals") -> dict[str, str]:
    """Begin to sign in: what the provider is asked."""
    return asked(await browser.get("/login", params={"next": target}))


async def come_back(
    browser: httpx2.AsyncClient, provider: SigningProvider, began: dict[str, str], **changed: str
) -> httpx2.Response:
    """Come back from the provider with a code."""
    query = {"state": began["state"], "code": "the code", "iss": provider.issuer} | changed
    return await browser.get("/login/callback", params=query)


async def sign_in(
    browser: httpx2.AsyncClient, provider: SigningProvider, target: str = "/console/approvals", **claims: Any
) -> httpx2.Response:
    """The whole way; the answer is the one to the browser that came back."""
    began = await begin(browser, target)
    provider.answer = {"id_token": provider.id_token(began["nonce"], **claims)}
    return await come_back(browser, provider, began)
