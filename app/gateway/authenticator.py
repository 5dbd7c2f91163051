"""Bearer token authentication at the gateway. Every invalid token gets the same answer."""

from dataclasses import dataclass, field, replace
from typing import NoReturn

from app.admission.store import Store, TooManyLookups, View
from app.domain.access import liveness
from app.domain.token_format import SCOPED_TOKEN, TOKEN_NEEDED, Credential, parse_credential
from app.gateway.wire.exchange import Exchange, with_db_budget
from app.gateway.wire.refusals import INVALID_REQUEST, RETRY_SOON, Refused
from app.http.service_address import WRONG_HOST, ServiceAddress

# Permanent states, for which reading again is pointless.
_FINAL = frozenset({"token_revoked", "identity_offboarded"})
MAX_PARSED = 10_000
MAX_PARSED_BYTES = 128
"""Only shorter headers are cached. A token with its scheme fits, but a client may pad the header with blanks."""
_CHALLENGE = 'Bearer realm="scopegate"'

# Advertise no authorization server: clients would start a sign-in that cannot succeed, instead of showing what is
# wrong with the token.
_INVALID_TOKEN = f'{_CHALLENGE}, error="invalid_token", error_description="{TOKEN_NEEDED}"'


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Checks of host, origin and token, before a message is read."""

    store: Store
    address: ServiceAddress
    _parsed: dict[bytes, Credential] = field(default_factory=dict, repr=False)
    """Parsed Authorization headers of valid tokens."""

    def check_origin(self, exchange: Exchange) -> None:
        """Refuse requests of other sites through a browser (DNS rebinding). Raises ``Refused`` (400, 403)."""
        if b"host" in exchange.duplicated or not self.address.has_host(exchange.headers.get(b"host")):
            raise Refused(400, INVALID_REQUEST, WRONG_HOST)
        if b"origin" in exchange.headers and (
            b"origin" in exchange.duplicated or exchange.header(b"origin") not in self.address.origins
        ):
            raise Refused(403, INVALID_REQUEST, "Requests from this Origin are not accepted.")

    async def authenticate(self, exchange: Exchange) -> View:
        """Return the view of the caller's live token. Raises ``Refused`` (400, 401, 429), ``StoreUnavailable``."""
        # mutation: bearer_read
        raw = exchange.headers.get(b"authorization", b"")
        known = self._parsed.get(raw)
        credential = self._credential(exchange) if known is None or exchange.duplicated else known
        view = self.store.known_view(credential) or await self._resolve(exchange, credential)
        if view is None:
            self.store.count_unknown(exchange.client, exchange.request_id)
            raise unauthorized(sent=True)
        if known is None and len(raw) <= MAX_PARSED_BYTES:
            if len(self._parsed) >= MAX_PARSED:
                self._parsed.clear()
            # Reuse the id object of the snapshot, so that dict lookups compare by identity.
            self._parsed[raw] = replace(credential, id=view.token.id)
        stopped = liveness(view.token, self.store.now(), exchange.address)
        if stopped is not None:
            if stopped not in _FINAL:
                # The identity may be active again, and reactivation sends no notification.
                view = await self.refresh(exchange, view)
                stopped = liveness(view.token, self.store.now(), exchange.address)
            if stopped is not None:
                self.refuse_dead(exchange, view, stopped)
        return view

    async def _resolve(self, exchange: Exchange, credential: Credential) -> View | None:
        try:
            return await with_db_budget(exchange, self.store.resolve(credential))
        except TooManyLookups:
            raise Refused(
                429, INVALID_REQUEST, "Too many unknown tokens. Try again shortly.", headers=RETRY_SOON
            ) from None

    async def refresh(self, exchange: Exchange, view: View, slug: str | None = None) -> View:
        """Read the view again, including the server with this slug.

        Raises ``Refused`` (401) when the secret is no longer valid.
        """
        server = None if slug is None else view.servers.get(slug)
        about = () if server is None else (server.id,)
        fresh = await with_db_budget(exchange, self.store.refresh(view, about))
        if fresh is None:
            self.refuse_dead(exchange, view, "secret_rotated")
        return fresh

    def refuse_dead(self, exchange: Exchange, view: View, reason_code: str) -> NoReturn:
        """Count and refuse a known token that is not live. Raises ``Refused``."""
        exchange.recorded = True
        self.store.count_refused(view, reason_code, exchange.client, exchange.request_id)
        raise unauthorized(sent=True)

    def _credential(self, exchange: Exchange) -> Credential:
        if b"authorization" in exchange.duplicated:
            raise Refused(400, INVALID_REQUEST, "There is more than one Authorization header.")
        raw = exchange.headers.get(b"authorization")
        if raw is not None:
            scheme, _, token = raw.partition(b" ")
            credential = None
            if scheme.lower() == b"bearer" and token.isascii():
                credential = parse_credential(token.strip().decode("ascii"), SCOPED_TOKEN)
            if credential is not None:
                return credential
        self.store.count_unknown(exchange.client, exchange.request_id)
        raise unauthorized(sent=raw is not None)


def unauthorized(*, sent: bool) -> Refused:
    """The 401 of RFC 6750 section 3; ``invalid_token`` only when a token was sent."""
    challenge = _INVALID_TOKEN if sent else _CHALLENGE
    return Refused(
        401, INVALID_REQUEST, TOKEN_NEEDED, headers=((b"www-authenticate", challenge.encode("ascii")),)
    )
