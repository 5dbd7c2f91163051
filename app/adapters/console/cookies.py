"""The cookies: who is signed in, which browser began to sign in, and which invitation it has opened.

Over TLS they have the prefix that keeps other hosts and plain HTTP from setting them. On loopback without TLS, where
``scopegate dev`` serves, not every browser takes such ones, and nobody is on the way: there they have plain names.
"""

from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request, Response

_SESSION = "scopegate-session"
_BROWSER = "scopegate-browser"
_INVITATION = "scopegate-invitation"


@dataclass(frozen=True, slots=True)
class Cookies:
    """The cookies of a service, ``secure`` where it is reached over TLS."""

    secure: bool

    def session(self, request: Request) -> str | None:
        """The text that says who is signed in."""
        return request.cookies.get(self._name(_SESSION))

    def browser(self, request: Request) -> str | None:
        """The text that says which browser began to sign in."""
        return request.cookies.get(self._name(_BROWSER))

    def invitation(self, request: Request) -> str | None:
        """The secret of the invitation whose link this browser has opened."""
        return request.cookies.get(self._name(_INVITATION)) or None

    def set_invitation(self, response: Response, text: str, life: timedelta) -> None:
        self._set(response, _INVITATION, text, life)

    def set_session(self, response: Response, text: str, life: timedelta) -> None:
        self._set(response, _SESSION, text, life)

    def set_browser(self, response: Response, text: str, life: timedelta) -> None:
        self._set(response, _BROWSER, text, life)

    def end_invitation(self, response: Response) -> None:
        """Have the browser forget an invitation that it has used."""
        self._set(response, _INVITATION, "", timedelta())

    def end_session(self, response: Response) -> None:
        """Have the browser forget who is signed in."""
        self._set(response, _SESSION, "", timedelta())

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self.secure else name

    def _set(self, response: Response, name: str, text: str, life: timedelta) -> None:
        response.set_cookie(
            self._name(name),
            text,
            max_age=int(life.total_seconds()),
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="lax",
        )
