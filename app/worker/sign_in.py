"""Authentication of bearers at the API, the watch over OpenID providers, and the parts of browser sign-in."""

from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters.console.attempts import Attempts
from app.adapters.console.console import Console, Cookies, SessionReader
from app.adapters.oauth.authenticator import ApiAuthenticator, service_account_reader
from app.adapters.oidc.code_flow import CodeFlow, Publications
from app.adapters.oidc.tokens import AccessTokens, finder
from app.admission.rows import Clients
from app.crypto.client_ids import KEY_PURPOSE
from app.crypto.jwt import ProviderKeys
from app.crypto.keys import Peppers, Sealer
from app.db.engine import DATABASE_FAULTS, commit
from app.db.jobs import Periodic
from app.domain.errors import Conflict
from app.domain.token_format import API_BEARER, BREAK_GLASS, CLIENT_SECRET
from app.features.administrators.break_glass import BreakGlass
from app.features.administrators.browser_sessions import Lifetimes
from app.features.identity_providers import queries, service
from app.features.identity_providers.schemas import IdentityProviderCreate
from app.http.authorization import BearerReader
from app.http.rate_limits import LimitedAuthenticator, Quota, SignInAttempts
from app.http.service_address import ServiceAddress
from app.outbound.http import AddressPolicy, OutboundClient, origin_of
from app.settings import Settings

# A conflict is a concurrent registration of the same issuer.
_AWAY = (Conflict, *DATABASE_FAULTS)
_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


async def provider_keys(
    settings: Settings, outbound: OutboundClient, stack: AsyncExitStack
) -> tuple[ProviderKeys[str], Publications]:
    """Fetch the keys and endpoints of providers with the guarded client.

    Only the origin of the environment's issuer may be on a private network, since the operator configured it. A cloud's
    metadata address is always blocked.
    """
    own = None
    if settings.oidc_issuer is not None:
        own = await stack.enter_async_context(OutboundClient(AddressPolicy(allowed_networks=_ANYWHERE)))
    origin = None if settings.oidc_issuer is None else origin_of(settings.oidc_issuer)
    publications = Publications(outbound, own, origin)
    keys = ProviderKeys(publications.keys_of)
    stack.push_async_callback(keys.aclose)
    return keys, publications


def local_administrator(
    settings: Settings, sessions: async_sessionmaker[AsyncSession], peppers: Peppers, stack: AsyncExitStack
) -> BreakGlass:
    """Break-glass sign-in, which refuses all requests unless a password is configured."""
    clients, hashed = Clients(peppers.derive(KEY_PURPOSE)), settings.break_glass_password_hash
    break_glass = BreakGlass(
        sessions,
        peppers,
        lambda address, user_agent: clients.name(address, user_agent, None, None),
        None if hashed is None else hashed.get_secret_value(),
        workers=settings.workers,
    )
    stack.callback(break_glass.close)
    return break_glass


def authenticators(
    sessions: async_sessionmaker[AsyncSession],
    peppers: Peppers,
    keys: ProviderKeys[str],
    break_glass: BreakGlass,
) -> tuple[ApiAuthenticator, ApiAuthenticator]:
    """The authenticators of the API, and of programs that provision."""
    bearers = service_account_reader(API_BEARER, peppers)
    # Some clients can only store one static bearer.
    secrets = service_account_reader(CLIENT_SECRET, peppers)
    access_tokens = AccessTokens(sessions, keys)
    ours: dict[str, BearerReader] = {API_BEARER: bearers, BREAK_GLASS: break_glass.read_bearer}
    machines: dict[str, BearerReader] = {API_BEARER: bearers, CLIENT_SECRET: secrets}
    return ApiAuthenticator(ours, access_tokens), ApiAuthenticator(machines, access_tokens)


class ProviderWatch(Periodic):
    """Stores the environment's provider, and refreshes the keys of active providers, so that no request waits."""

    name = "refreshing the keys of providers"
    every_s = 5.0
    first_s = 0

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        keys: ProviderKeys[str],
        configured: IdentityProviderCreate | None,
    ) -> None:
        super().__init__(sessions)
        self._keys = keys
        self._configured = configured
        self._kept = False

    async def keep_environment(self) -> None:
        """Store the provider of the environment, once.

        A database that cannot be written does not prevent the start: ``run`` tries again.
        """
        with suppress(*_AWAY):
            async with self._sessions() as session:
                await service.sync_environment(session, self._configured)
                await commit(session)
            self._kept = True

    async def round(self) -> None:
        if not self._kept:
            await self.keep_environment()
        await self.look()

    async def look(self) -> None:
        """Run one round."""
        async with self._sessions() as session:
            issuers = await queries.active_issuers(session)
        await self._keys.keep_fresh(issuers)


def pages(
    settings: Settings,
    sessions: async_sessionmaker[AsyncSession],
    keys: ProviderKeys[str],
    publications: Publications,
    attempts: SignInAttempts,
    requests: Quota,
) -> Console:
    """The shared parts of pages. ``attempts`` and ``requests`` are the API's limits, which callers share with it."""
    url, peppers = settings.base_url, Peppers(settings.keys("token_pepper"))
    cookies = Cookies(secure=url.startswith("https://"))
    lifetimes = Lifetimes(idle=settings.session_idle_timeout, most=settings.session_lifetime)
    sealer = Sealer(settings.keys("encryption_key"))
    issuer, secret = settings.oidc_issuer, settings.oidc_client_secret
    # Providers from the API have no client secret.
    secrets = {} if issuer is None or secret is None else {issuer: secret.get_secret_value()}
    return Console(
        address=ServiceAddress(url, settings.allowed_origins),
        cookies=cookies,
        flow=CodeFlow(publications, keys, finder(sessions), secrets),
        attempts=Attempts(sealer.derive_all("browser sign-ins"), url),
        authenticate=LimitedAuthenticator(
            SessionReader(peppers, cookies, lifetimes), attempts, requests, cookies.session
        ),
        lifetimes=lifetimes,
        sign_ins=Quota("sign-ins", settings.limit_failed_sign_ins, workers=settings.workers),
    )
