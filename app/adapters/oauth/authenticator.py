"""Who is calling the API: the one place that turns a request's credential into a caller."""

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Malformed
from app.features.service_accounts.authenticate import authenticate_bearer, refused
from app.kit.authorization import Caller
from app.kit.crypto import Peppers


class ApiAuthenticator:
    """Implements ``kit.authorization.Authenticator`` for bearers in the ``Authorization`` header alone.

    A credential in a query string, cookie or body is never looked at. Only ``sgb_`` bearers of service accounts
    open the API: a scoped token (``sgt_``) or a client secret (``sgc_``) is refused as if it were unknown. The
    access tokens of the organisation's OIDC provider are told apart by not starting with ``sg``.
    """

    def __init__(self, peppers: Peppers) -> None:
        self._peppers = peppers

    async def __call__(self, request: Request, session: AsyncSession) -> Caller:
        """The caller of this request. Raises ``Unauthenticated``, and ``Malformed`` for two headers."""
        return await authenticate_bearer(session, self._peppers, bearer_text(request))


def bearer_text(request: Request) -> str:
    """The text of the one bearer credential. Raises ``Unauthenticated``, and ``Malformed`` for two headers."""
    values = request.headers.getlist("authorization")
    if len(values) > 1:
        raise Malformed("Send one Authorization header.", code="several_credentials")
    scheme, _, text = (values[0] if values else "").partition(" ")
    if scheme.lower() != "bearer" or not text.isascii():
        raise refused()
    return text.strip(" ")
