"""Discovery documents and keys of OpenID providers, fetched with the outbound guard and parsed strictly."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from app.crypto.jose.keys import Key, ProviderFault
from app.lib.strict_json import JsonObject
from app.outbound.http import Origin, OutboundClient, origin_of
from app.outbound.jwks import TIMEOUTS, ask_provider, is_safe, read_object, usable_keys

DISCOVERY_PATH = "/.well-known/openid-configuration"
_FORM = b"application/x-www-form-urlencoded"


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
        self,
        guarded: OutboundClient,
        own: OutboundClient | None = None,
        own_origin: Origin | None = None,
    ) -> None:
        self._guarded = guarded
        self._own = own
        self._own_origin = own_origin

    async def keys_of(self, issuer: str) -> tuple[Key, ...]:
        """Fetch the supported signing keys of a provider. Raises ``ProviderFault``."""
        return await ask_provider(self._keys_of(issuer))

    async def endpoints_of(self, issuer: str) -> Endpoints:
        """Fetch the endpoints of a provider. Raises ``ProviderFault``."""
        return _endpoints(issuer, await ask_provider(self._document_of(issuer)))

    async def redeem(self, issuer: str, url: str, form: Mapping[str, str], basic: str | None) -> JsonObject:
        """Redeem a code; ``basic`` is the client's credential. Raises ``ProviderFault``.

        Never repeated: providers treat a second use of a code as theft.
        """
        return await ask_provider(self._redeem(issuer, url, form, basic))

    async def _keys_of(self, issuer: str) -> tuple[Key, ...]:
        published = await self._get(issuer, _keys_url(issuer, await self._document_of(issuer)))
        return usable_keys(published.get("keys"))

    async def _document_of(self, issuer: str) -> JsonObject:
        document = await self._get(issuer, issuer.rstrip("/") + DISCOVERY_PATH)
        # OpenID Connect Discovery section 4.3: otherwise one provider could impersonate another.
        if document.get("issuer") != issuer:
            raise ProviderFault("its discovery document names another issuer")
        return document

    async def _redeem(self, issuer: str, url: str, form: Mapping[str, str], basic: str | None) -> JsonObject:
        headers = [(b"accept", b"application/json"), (b"content-type", _FORM)]
        if basic is not None:
            headers.append((b"authorization", b"Basic " + basic.encode("ascii")))
        body = urlencode(form).encode("ascii")
        response = await self._client_of(issuer, url).request("POST", url, headers, body, timeouts=TIMEOUTS)
        return await read_object(response)

    async def _get(self, issuer: str, url: str) -> JsonObject:
        headers = [(b"accept", b"application/json")]
        return await read_object(
            await self._client_of(issuer, url).request("GET", url, headers, timeouts=TIMEOUTS)
        )

    def _client_of(self, issuer: str, url: str) -> OutboundClient:
        own = self._own if origin_of(url) == origin_of(issuer) == self._own_origin else None
        return own or self._guarded


def _keys_url(issuer: str, document: JsonObject) -> str:
    url = document.get("jwks_uri")
    if not isinstance(url, str):
        raise ProviderFault("its discovery document names no keys")
    # Plain HTTP would let an attacker on the path replace the keys; a provider on loopback may use it.
    if not is_safe(issuer, url):
        raise ProviderFault("its keys are not at an https address")
    return url


def _endpoints(issuer: str, document: JsonObject) -> Endpoints:
    found: dict[str, str | None] = {}
    for name in ("authorization_endpoint", "token_endpoint", "end_session_endpoint"):
        url = document.get(name)
        if url is not None and not (isinstance(url, str) and is_safe(issuer, url)):
            raise ProviderFault(f"its {name} is not at an https address")
        found[name] = url
    authorization, token = found["authorization_endpoint"], found["token_endpoint"]
    if authorization is None or token is None:
        raise ProviderFault("its discovery document does not say where people sign in")
    methods = document.get("token_endpoint_auth_methods_supported")
    prompts = document.get("prompt_values_supported")
    return Endpoints(
        authorization,
        token,
        found["end_session_endpoint"],
        names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        wants_secret_in_form=isinstance(methods, list)
        and "client_secret_basic" not in methods
        and "client_secret_post" in methods,
        lets_choose_account=isinstance(prompts, list) and "select_account" in prompts,
    )
