"""Browser sign-in: discovery, and the authorization code flow with PKCE, state and nonce (RFC 9700 section 2.1)."""

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from app.adapters.oidc import tokens
from app.crypto.jwt import Key, ProviderFault, ProviderKeys, Refused, read_token
from app.domain.errors import Malformed, Unavailable
from app.features.administrators.browser_sessions import Attempt, SignedIn, SignedOut
from app.features.identity_providers.schemas import Provider
from app.lib.logs import ThrottledReasons
from app.lib.strict_json import JsonObject
from app.outbound.http import Origin, OutboundClient, origin_of
from app.outbound.jwks import ask_provider, request_object, safe_url, usable_keys

DISCOVERY_PATH = "/.well-known/openid-configuration"
ENDPOINTS_TTL_S = 300.0
_FORM = b"application/x-www-form-urlencoded"
_RETRY_AFTER_S = 5.0
_MAX_TOKEN_LENGTH = 16 * 1024


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints of a provider for browser sign-in, and what it supports."""

    authorization: str
    token: str
    end_session: str | None = None
    names_issuer: bool = False
    """Whether its authorization response names the issuer (RFC 9207)."""
    wants_secret_in_form: bool = False
    lets_choose_account: bool = False
    """Whether it supports the prompt ``select_account``."""


class Publications:
    """Fetches discovery documents and keys, and redeems codes.

    The addresses of providers that are registered over the API are guarded like those of upstreams. The provider of
    the environment was configured by the operator, often on a private network: ``own`` is a client that may connect
    there. It is only used for the origin ``own_origin`` and an issuer of that origin, not for what another provider
    points to.
    """

    def __init__(
        self, guarded: OutboundClient, own: OutboundClient | None = None, own_origin: Origin | None = None
    ) -> None:
        self._guarded = guarded
        self._own = own
        self._own_origin = own_origin

    async def keys_of(self, issuer: str) -> tuple[Key, ...]:
        """Fetch the supported signing keys of a provider. Raises ``ProviderFault``."""
        return await ask_provider(self._keys_of(issuer))

    async def endpoints_of(self, issuer: str) -> Endpoints:
        """Fetch the endpoints of a provider. Raises ``ProviderFault``."""
        document = await ask_provider(self._document_of(issuer))
        authorization, token, end_session = (
            safe_url(issuer, document, f"{name}_endpoint")
            for name in ("authorization", "token", "end_session")
        )
        if authorization is None or token is None:
            raise ProviderFault("its discovery document does not say where people sign in")
        methods = document.get("token_endpoint_auth_methods_supported")
        prompts = document.get("prompt_values_supported")
        return Endpoints(
            authorization,
            token,
            end_session,
            names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            wants_secret_in_form=isinstance(methods, list)
            and "client_secret_basic" not in methods
            and "client_secret_post" in methods,
            lets_choose_account=isinstance(prompts, list) and "select_account" in prompts,
        )

    async def redeem(self, issuer: str, url: str, form: Mapping[str, str], basic: str | None) -> JsonObject:
        """Redeem a code; ``basic`` is the client's credential. Raises ``ProviderFault``.

        Never repeated: providers treat a second use of a code as theft.
        """
        headers = [(b"content-type", _FORM)]
        if basic is not None:
            headers.append((b"authorization", b"Basic " + basic.encode("ascii")))
        return await ask_provider(
            self._request(issuer, "POST", url, headers, urlencode(form).encode("ascii"))
        )

    async def _keys_of(self, issuer: str) -> tuple[Key, ...]:
        url = safe_url(issuer, await self._document_of(issuer), "jwks_uri")
        if url is None:
            raise ProviderFault("its discovery document names no keys")
        return usable_keys((await self._request(issuer, "GET", url)).get("keys"))

    async def _document_of(self, issuer: str) -> JsonObject:
        document = await self._request(issuer, "GET", issuer.rstrip("/") + DISCOVERY_PATH)
        # OpenID Connect Discovery section 4.3: otherwise one provider could impersonate another.
        if document.get("issuer") != issuer:
            raise ProviderFault("its discovery document names another issuer")
        return document

    async def _request(
        self,
        issuer: str,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
    ) -> JsonObject:
        own = self._own if origin_of(url) == origin_of(issuer) == self._own_origin else None
        return await request_object(own or self._guarded, method, url, headers, body)


@dataclass(slots=True)
class _CachedEndpoints:
    """The cached endpoints of an issuer; the lock makes concurrent requests share one fetch."""

    endpoints: Endpoints | None = None
    asked_at: float | None = None
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class CodeFlow:
    """Implements ``BrowserFlow``: builds the authorization request and redeems its answer."""

    def __init__(
        self,
        publications: Publications,
        keys: ProviderKeys[str],
        find_provider: tokens.FindProvider,
        secrets: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``secrets`` are client secrets by issuer; a client without one only uses PKCE."""
        self._publications = publications
        self._keys = keys
        self._access_tokens = tokens.Verifier(find_provider, keys)
        self._secrets = secrets
        self._clock = clock
        self._cache: dict[str, _CachedEndpoints] = {}
        self._reasons = ThrottledReasons("a sign-in with a browser")

    async def start(self, provider: Provider, attempt: Attempt, *, another_account: bool = False) -> str:
        """Build the address of the authorization request. Raises ``Unavailable``."""
        challenge = hashlib.sha256(attempt.verifier.encode("ascii")).digest()
        endpoints = await self._endpoints(provider.issuer)
        query = {
            "response_type": "code",
            "client_id": provider.client_id or "",
            "redirect_uri": attempt.redirect_uri,
            "scope": " ".join(provider.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        if another_account:
            # Some providers refuse prompt values that they do not announce; all must support "login".
            query["prompt"] = "select_account" if endpoints.lets_choose_account else "login"
        return _with_query(endpoints.authorization, query)

    async def finish(
        self,
        provider: Provider,
        attempt: Attempt,
        *,
        code: str,
        issuer: str | None,
        now: float,
        request_id: str | None,
    ) -> SignedIn:
        """Redeem the code and return who signed in. Raises ``Malformed`` and ``Unavailable``."""
        try:
            return await self._finish(provider, attempt, code, issuer, now)
        except Refused as refusal:
            self._reasons.say(refusal.reason, request_id)
            raise Malformed("Your provider's answer is not valid for this sign-in. Try again.") from None

    async def read_logout(self, text: str, request_id: str | None) -> SignedOut:
        """Verify a logout token. Raises ``Malformed`` and ``Unavailable``."""
        try:
            token = read_token(text)
            provider, now = await self._access_tokens.provider_of(token)
            signed_out = tokens.check_logout_token(token, provider, now)
            await tokens.check_signed(token, provider, self._keys)
            return signed_out
        except Refused as refusal:
            self._reasons.say(refusal.reason, request_id)
            raise Malformed("This is not a logout token for this service.") from None

    async def sign_out_address(
        self, provider: Provider, id_token: str, back: str, state: str | None = None
    ) -> str | None:
        """Build the sign-out address at the provider (RP-Initiated Logout 1.0); None if it has none.

        An address, since not every provider accepts a form. The ID token in it grants no access.
        """
        try:
            endpoint = (await self._endpoints(provider.issuer)).end_session
        except Unavailable:
            return None
        query = {
            "id_token_hint": id_token,
            "client_id": provider.client_id or "",
            "post_logout_redirect_uri": back,
        }
        if state is not None:
            query["state"] = state
        return None if endpoint is None else _with_query(endpoint, query)

    async def _finish(
        self, provider: Provider, attempt: Attempt, code: str, issuer: str | None, now: float
    ) -> SignedIn:
        """The claims of the access token if it is valid for the API, so that access in a browser is the same; otherwise
        those of the ID token."""
        endpoints = await self._endpoints(provider.issuer)
        if issuer != provider.issuer and (issuer is not None or endpoints.names_issuer):
            raise Refused("the answer is another provider's")
        answer = await self._redeem(provider, endpoints, attempt, code)
        text = answer.get("id_token")
        if not isinstance(text, str):
            raise Refused("the provider gave no ID token")
        token = read_token(text)
        tokens.check_id_token(token, provider, attempt.nonce, now)
        await tokens.check_signed(token, provider, self._keys)
        claims = token.claims
        access_token = answer.get("access_token")
        if isinstance(access_token, str) and len(access_token) <= _MAX_TOKEN_LENGTH:
            api_claims = None
            with suppress(Refused):
                issuing, held = await self._access_tokens.verify(access_token)
                api_claims = held if issuing.id == provider.id else None
            tokens.check_belongs(
                token, access_token, token.claims["sub"] if api_claims is None else api_claims.get("sub")
            )
            claims = token.claims if api_claims is None else dict(api_claims)
        return SignedIn(
            provider, claims, str(token.claims["sub"]), tokens.text_of(token, "sid"), text, token.claims
        )

    async def _redeem(
        self, provider: Provider, endpoints: Endpoints, attempt: Attempt, code: str
    ) -> Mapping[str, Any]:
        client_id = provider.client_id or ""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        secret, basic = self._secrets.get(provider.issuer), None
        if secret is None or endpoints.wants_secret_in_form:
            form["client_id"] = client_id
            form |= {} if secret is None else {"client_secret": secret}
        else:
            # RFC 6749 section 2.3.1: both are form-encoded first.
            pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
            basic = base64.b64encode(pair.encode("ascii")).decode()
        try:
            return await self._publications.redeem(provider.issuer, endpoints.token, form, basic)
        except ProviderFault as fault:
            raise Refused(f"the provider did not take the code: {fault.reason}") from None

    async def _endpoints(self, issuer: str) -> Endpoints:
        """The endpoints, fetched again after five minutes, or after five seconds if there are none."""
        known = self._cache.setdefault(issuer, _CachedEndpoints())
        async with known.asking:
            fresh = _RETRY_AFTER_S if known.endpoints is None else ENDPOINTS_TTL_S
            if known.asked_at is None or self._clock() - known.asked_at >= fresh:
                known.asked_at = self._clock()
                # If the fetch fails, the previous endpoints most likely still work.
                with suppress(ProviderFault):
                    known.endpoints = await self._publications.endpoints_of(issuer)
        if known.endpoints is None:
            raise Unavailable(
                "Your OpenID provider cannot be reached. Try again shortly.",
                retry_after_s=int(_RETRY_AFTER_S),
                code="provider_unavailable",
            )
        return known.endpoints


def _with_query(endpoint: str, query: Mapping[str, str]) -> str:
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"
