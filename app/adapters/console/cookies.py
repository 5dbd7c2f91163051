"""Cookies of the console: the session, the browser of a sign-in attempt, and the opened invitation.

Over TLS they have the ``__Host-`` prefix, so that other hosts and plain HTTP cannot set them. ``scopegate dev`` serves
plain HTTP on loopback, where some browsers refuse such cookies, so their names have no prefix there.
"""

from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request, Response

_SESSION = "scopegate-session"
_BROWSER = "scopegate-browser"
_INVITATION = "scopegate-invitation"


@dataclass(frozen=True, slots=True)
class Cookies:
    """Reads and sets cookies, ``secure`` if the service is reached over TLS."""

    secure: bool

    def session(self, request: Request) -> str | None:
        """The session secret."""
        return request.cookies.get(self._name(_SESSION))

    def browser(self, request: Request) -> str | None:
        """The secret of the browser that began a sign-in."""
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
        """Delete the invitation cookie."""
        self._set(response, _INVITATION, "", timedelta())

    def end_session(self, response: Response) -> None:
        """Delete the session cookie."""
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
