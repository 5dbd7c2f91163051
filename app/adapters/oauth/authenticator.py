"""Authentication of API requests: the one place that turns a request's credential into a caller."""

from collections.abc import Mapping

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Peppers
from app.domain.errors import Malformed
from app.features.service_accounts.authenticate import authenticate, unauthenticated
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


def service_account_reader(prefix: str, peppers: Peppers) -> BearerReader:
    """The reader of one class of the service accounts' credentials, by its prefix."""

    async def read(request: Request, session: AsyncSession, bearer: str) -> Caller:  # noqa: ARG001
        return (await authenticate(session, peppers, bearer, prefix))[1]

    return read


def bearer_text(request: Request) -> str:
    """The text of the one bearer credential. Raises ``Unauthenticated``, and ``Malformed`` for two headers."""
    values = request.headers.getlist("authorization")
    if len(values) > 1:
        raise Malformed("Send one Authorization header.", code="multiple_credentials")
    scheme, _, text = (values[0] if values else "").partition(" ")
    if scheme.lower() != "bearer" or not text.isascii():
        raise unauthenticated()
    return text.strip(" ")
