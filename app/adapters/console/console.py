"""Services of the console, which the composition root puts on ``app.state.console``, and its cookies."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.attempts import Attempts
from app.crypto.keys import Peppers
from app.domain.errors import Malformed
from app.features.administrators.browser_sessions import BrowserFlow, Lifetimes, read_session
from app.features.service_accounts.authenticate import unauthenticated
from app.http.authorization import Authenticator, Caller
from app.http.live import is_open_stream
from app.http.rate_limits import Quota
from app.http.runtime import from_state
from app.http.service_address import ServiceAddress

SESSION = "scopegate-session"
BROWSER = "scopegate-browser"
"""The cookie with the secret of the browser that began a sign-in."""
INVITATION = "scopegate-invitation"
"""The cookie with the secret of the invitation whose link this browser has opened."""


@dataclass(frozen=True, slots=True)
class Cookies:
    """Reads and sets cookies, ``secure`` if the service is reached over TLS."""

    secure: bool

    def get(self, request: Request, name: str) -> str | None:
        """The text of a cookie."""
        return request.cookies.get(self._full(name))

    def set(self, response: Response, name: str, text: str, life: timedelta) -> None:
        """Set a cookie for a time; a time of zero deletes it."""
        age, full = int(life.total_seconds()), self._full(name)
        response.set_cookie(full, text, age, path="/", secure=self.secure, httponly=True, samesite="lax")

    def end(self, response: Response, name: str) -> None:
        """Delete a cookie."""
        self.set(response, name, "", timedelta())

    def session(self, request: Request) -> str | None:
        """The session secret."""
        return self.get(request, SESSION)

    def _full(self, name: str) -> str:
        return f"__Host-{name}" if self.secure else name


LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Console:
    """Shared, immutable services of the pages. Browsers use only the public URL."""

    address: ServiceAddress
    cookies: Cookies
    flow: BrowserFlow
    attempts: Attempts
    authenticate: Authenticator
    lifetimes: Lifetimes
    sign_ins: Quota

    @property
    def public_url(self) -> str:
        """The URL at which browsers reach the pages."""
        return self.address.public_url

    def is_public_host(self, host: str) -> bool:
        """Whether a ``Host`` header names the public URL (a defense against DNS rebinding)."""
        parts = urlsplit(self.public_url)
        default = _PORTS.get(parts.scheme)
        try:
            asked = urlsplit(f"//{host}")
            return (asked.hostname, asked.port or default) == (parts.hostname, parts.port or default)
        except ValueError:
            return False

    def check_safe(self) -> None:
        """Raise ``Malformed`` if cookies would travel over plain HTTP."""
        parts = urlsplit(self.public_url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            raise Malformed(
                "Sign-in requires https. The operator of this service sets SCOPEGATE_PUBLIC_URL to its "
                "https address."
            )


def is_live_request(request: Request) -> bool:
    """Whether a page's script asks for the live updates of a part.

    The ``Accept`` header cannot tell: the script accepts a stream for every part of a page.
    """
    return request.url.path.endswith("/live")


CurrentConsole = Annotated[Console, from_state("console")]


class SessionReader:
    """Implements ``http.authorization.Authenticator`` with the session cookie; no header opens a page."""

    def __init__(self, peppers: Peppers, cookies: Cookies, lifetimes: Lifetimes) -> None:
        self._peppers = peppers
        self._cookies = cookies
        self._lifetimes = lifetimes

    async def __call__(self, request: Request, session: AsyncSession) -> Caller:
        """Return the signed-in caller. Raises ``Unauthenticated``."""
        text = self._cookies.session(request)
        if text is None:
            raise unauthenticated()
        # Live updates reconnect by themselves, so they must not keep an unattended session from becoming idle.
        is_used = not (is_open_stream(request) or is_live_request(request))
        return await read_session(session, self._peppers, text, self._lifetimes.idle, is_used=is_used)
