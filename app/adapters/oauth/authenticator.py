"""Authentication of API requests: the one place that turns a request's credential into a caller."""

from collections.abc import Mapping

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Peppers
from app.domain.errors import Malformed
from app.features.service_accounts.authenticate import (
    authenticate_bearer,
    authenticate_secret,
    unauthenticated,
)
from app.http.authorization import BearerReader, Caller

_OURS = "sg"


class ApiAuthenticator:
    """Implements ``http.authorization.Authenticator`` for bearers in the ``Authorization`` header.

    Credentials in a query string, cookie or body are ignored. The form of a bearer selects its reader: ``ours`` maps
    the prefixes of Scopegate's credentials for the API to readers. Any other credential with the prefix ``sg``, such as
    a scoped token (``sgt_``), is refused like an unknown one. A text in the form of a JWT is an access token of an
    OpenID provider; none begins with ``sg``, since a JWT begins with an encoded ``{``.
    """

    def __init__(self, ours: Mapping[str, BearerReader], access_tokens: BearerReader) -> None:
        self._ours = ours
        self._access_tokens = access_tokens

    async def __call__(self, request: Request, session: AsyncSession) -> Caller:
        """The caller of this request. Raises ``Unauthenticated``, and ``Malformed`` for two headers."""
        text = bearer_text(request)
        if text.startswith(_OURS):
            reader = self._ours.get(text.partition("_")[0])
        else:
            reader = self._access_tokens if text.count(".") == 2 else None
        if reader is None:
            raise unauthenticated()
        return await reader(request, session, text)


class ServiceAccountBearers:
    """Implements ``http.authorization.BearerReader`` for the ``sgb_`` bearers of service accounts."""

    def __init__(self, peppers: Peppers) -> None:
        self._peppers = peppers

    async def __call__(self, request: Request, session: AsyncSession, bearer: str) -> Caller:
        """The service account of a bearer. Raises ``Unauthenticated``."""
        return await authenticate_bearer(session, self._peppers, bearer)


class ClientSecrets:
    """Implements ``http.authorization.BearerReader`` for the ``sgc_`` secrets of service accounts, for clients that can
    only store one static bearer."""

    def __init__(self, peppers: Peppers) -> None:
        self._peppers = peppers

    async def __call__(self, request: Request, session: AsyncSession, bearer: str) -> Caller:
        """The service account of a secret. Raises ``Unauthenticated``."""
        return await authenticate_secret(session, self._peppers, bearer)


def bearer_text(request: Request) -> str:
    """The text of the one bearer credential. Raises ``Unauthenticated``, and ``Malformed`` for two headers."""
    values = request.headers.getlist("authorization")
    if len(values) > 1:
        raise Malformed("Send one Authorization header.", code="multiple_credentials")
    scheme, _, text = (values[0] if values else "").partition(" ")
    if scheme.lower() != "bearer" or not text.isascii():
        raise unauthenticated()
    return text.strip(" ")
