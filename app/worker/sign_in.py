"""Who reads which bearer at the API, and the watch over the OpenID providers behind some of them."""

import asyncio
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters.oauth.authenticator import ApiAuthenticator, ClientSecrets, ServiceAccountBearers
from app.adapters.oidc.discovery import Publications
from app.adapters.oidc.verifier import AccessTokens
from app.admission.clients import Clients
from app.crypto.client_ids import KEY_PURPOSE
from app.crypto.jose.keys import ProviderKeys
from app.crypto.keys import Peppers
from app.db.engine import commit
from app.domain.errors import Conflict, Unavailable
from app.domain.token_format import API_BEARER, BREAK_GLASS, CLIENT_SECRET
from app.features.administrators.break_glass import BreakGlass
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers import queries, service
from app.features.identity_providers.schemas import IdentityProviderCreate
from app.http.authorization import BearerReader
from app.outbound.http import AddressPolicy, OutboundClient, origin_of
from app.settings import Settings

WATCH_EVERY_S = 5.0
# A database that is away is reported by others; a conflict is somebody registering the same issuer right now.
_AWAY = (SQLAlchemyError, Unavailable, Conflict, OSError)
_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


async def provider_keys(
    settings: Settings, outbound: OutboundClient, stack: AsyncExitStack
) -> tuple[ProviderKeys[str], Publications]:
    """The keys of providers, and what else these publish, fetched through the guarded client.

    The origin of the environment's issuer alone may be anywhere, on a private network too: whoever runs this service
    named it. A cloud's metadata address stays closed even then.
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
    settings: Settings,
    sessions: async_sessionmaker[AsyncSession],
    peppers: Peppers,
    stack: AsyncExitStack,
) -> BreakGlass:
    """Break-glass sign-in, which refuses everything where no password is configured."""
    clients, hashed = Clients(peppers.derive(KEY_PURPOSE)), settings.break_glass_password_hash
    made = BreakGlass(
        sessions,
        peppers,
        lambda address, user_agent: clients.name(address, user_agent, None, None),
        None if hashed is None else hashed.get_secret_value(),
        workers=settings.workers,
    )
    stack.callback(made.close)
    return made


def authenticators(
    sessions: async_sessionmaker[AsyncSession],
    peppers: Peppers,
    keys: ProviderKeys[str],
    break_glass: BreakGlass,
) -> tuple[ApiAuthenticator, ApiAuthenticator]:
    """What reads every bearer that opens the API, and what reads those of machines that provision."""
    bearers, access_tokens = ServiceAccountBearers(peppers), AccessTokens(sessions, keys, sign_in)
    ours: dict[str, BearerReader] = {API_BEARER: bearers, BREAK_GLASS: break_glass.read_bearer}
    machines: dict[str, BearerReader] = {API_BEARER: bearers, CLIENT_SECRET: ClientSecrets(peppers)}
    return ApiAuthenticator(ours, access_tokens), ApiAuthenticator(machines, access_tokens)


class ProviderWatch:
    """Keeps the environment's provider as a row, and the keys of all active ones fresh, so that no request waits."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        keys: ProviderKeys[str],
        configured: IdentityProviderCreate | None,
    ) -> None:
        self._sessions = sessions
        self._keys = keys
        self._configured = configured
        self._kept = False

    async def keep_environment(self) -> None:
        """Write down what the environment says, once.

        A database that cannot be written to now does not keep the service from starting: ``run`` tries again.
        """
        with suppress(*_AWAY):
            async with self._sessions() as session:
                await service.keep_environment(session, self._configured)
                await commit(session)
            self._kept = True

    async def run(self) -> None:
        """Look after the providers until cancelled."""
        while True:
            if not self._kept:
                await self.keep_environment()
            with suppress(*_AWAY):
                await self.look()
            await asyncio.sleep(WATCH_EVERY_S)

    async def look(self) -> None:
        """One round."""
        async with self._sessions() as session:
            issuers = await queries.active_issuers(session)
        await self._keys.keep_fresh(issuers)
