"""What an OpenID provider publishes: where its keys are and where people sign in, and the keys. Fetched guarded,
read strictly."""

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
    """Where people sign in and out at a provider, and how it wants to be asked."""

    authorization: str
    token: str
    end_session: str | None = None
    names_issuer: bool = False
    """Its answer to a browser says whose it is (RFC 9207)."""
    wants_secret_in_form: bool = False
    lets_choose_account: bool = False
    """It says that it can ask people which account they want."""


class Publications:
    """Fetches what providers publish, and redeems the codes that they give.

    Whoever registers a provider over the API names addresses that this service then connects to, so they are guarded
    like any upstream's. The provider of the environment is different: the operator of this service named it, often
    on a private network. ``own`` is a client that may go there, used for the origin ``own_origin`` and no other, and
    for an issuer of that origin: neither what that provider points to elsewhere nor another one that points there.
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
        """The keys that a provider signs with, those that we can use. Raises ``ProviderFault``."""
        return await ask_provider(self._keys_of(issuer))

    async def endpoints_of(self, issuer: str) -> Endpoints:
        """Where people sign in at a provider. Raises ``ProviderFault``."""
        return _endpoints(issuer, await ask_provider(self._document_of(issuer)))

    async def redeem(self, issuer: str, url: str, form: Mapping[str, str], basic: str | None) -> JsonObject:
        """What a token endpoint gives for a code; ``basic`` is the credential of the client. Raises ``ProviderFault``.

        Sent once: a code that came twice is taken for a stolen one.
        """
        return await ask_provider(self._redeem(issuer, url, form, basic))

    async def _keys_of(self, issuer: str) -> tuple[Key, ...]:
        published = await self._get(issuer, _keys_url(issuer, await self._document_of(issuer)))
        return usable_keys(published.get("keys"))

    async def _document_of(self, issuer: str) -> JsonObject:
        document = await self._get(issuer, issuer.rstrip("/") + DISCOVERY_PATH)
        # OpenID Connect Discovery section 4.3: or one provider could speak for another.
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
    # Keys over plain HTTP are whoever's is on the way; a provider on loopback may have them on itself.
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
