"""The pages that people sign in on: who is asked, by which keys their cookies are made, how long they last."""

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters.console.attempts import Attempts
from app.adapters.console.console import Console, SessionReader
from app.adapters.console.cookies import Cookies
from app.adapters.oidc.code_flow import CodeFlow
from app.adapters.oidc.discovery import Publications
from app.adapters.oidc.verifier import finder
from app.crypto.jose.keys import ProviderKeys
from app.crypto.keys import Peppers, Sealer
from app.features.administrators.browser_sessions import Lifetimes
from app.http.rate_limits import LimitedAuthenticator, Quota, SignInAttempts
from app.http.service_address import ServiceAddress
from app.settings import Settings


def pages(
    settings: Settings,
    sessions: async_sessionmaker[AsyncSession],
    keys: ProviderKeys[str],
    publications: Publications,
    attempts: SignInAttempts,
    requests: Quota,
) -> Console:
    """What the pages share. ``attempts`` and ``requests`` are the limits of the API: a caller has them once."""
    url, peppers = settings.base_url, Peppers(settings.keys("token_pepper"))
    cookies = Cookies(secure=url.startswith("https://"))
    lifetimes = Lifetimes(idle=settings.session_idle_timeout, most=settings.session_lifetime)
    sealer = Sealer(settings.keys("encryption_key"))
    return Console(
        address=ServiceAddress(url, settings.allowed_origins),
        cookies=cookies,
        flow=CodeFlow(publications, keys, finder(sessions), _secrets(settings)),
        attempts=Attempts(sealer.derived_keys("browser sign-ins"), url),
        authenticate=LimitedAuthenticator(
            SessionReader(peppers, cookies, lifetimes), attempts, requests, cookies.session
        ),
        lifetimes=lifetimes,
        sign_ins=Quota("sign-ins", settings.limit_failed_sign_ins, workers=settings.workers),
    )


def _secrets(settings: Settings) -> dict[str, str]:
    """The secret of our client at the environment's provider; those of the API have none."""
    issuer, secret = settings.oidc_issuer, settings.oidc_client_secret
    return {} if issuer is None or secret is None else {issuer: secret.get_secret_value()}
