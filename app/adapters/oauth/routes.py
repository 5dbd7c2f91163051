"""``POST /oauth/token`` (RFC 6749 section 4.4), and the refusal of clients that try to register.

Authlib's server is synchronous and would need an adapter for its storage, which is more code than this one grant.
"""

import base64
import binascii
from collections.abc import Callable, Coroutine
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from app.domain.errors import DomainError, TooManyRequests, Unauthenticated, Unavailable
from app.domain.token_format import TOKEN_NEEDED
from app.features.service_accounts.authenticate import sign_in
from app.http.openapi import RATE_LIMIT, header
from app.http.runtime import CurrentRuntime
from app.http.schemas import Strict
from app.http.transaction import Session, TransactionalRoute

_MAX_FORM_BYTES = 16 * 1024
_FORM_TYPE = "application/x-www-form-urlencoded"
_PARAMETERS = {"grant_type", "client_id", "client_secret", "scope"}


class OAuthError(Exception):
    """An error response of RFC 6749 section 5.2. The description never repeats request data."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.description = description
        self.status = status


def read_form(request: Request, body: bytes) -> dict[str, str]:
    """Parse the parameters in the body, each at most once. Raises ``OAuthError`` (``invalid_request``)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise OAuthError("invalid_request", f"Send the parameters as {_FORM_TYPE}.")
    if len(body) > _MAX_FORM_BYTES:
        raise OAuthError("invalid_request", f"The form is larger than {_MAX_FORM_BYTES} bytes.")
    if _PARAMETERS & request.query_params.keys():
        raise OAuthError("invalid_request", "Send the parameters in the body, never in the URL.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict"
        )
    except ValueError:
        raise OAuthError("invalid_request", "The body is not a well-formed form in UTF-8.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "Each parameter may be given once.")
    if any("\x00" in text for pair in pairs for text in pair):
        raise OAuthError("invalid_request", "NUL characters are not accepted.")
    return form


def read_client(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """Read the client id and secret from HTTP Basic or from the body (RFC 6749 section 2.3.1).

    Raises ``OAuthError``: ``invalid_request`` for both, ``invalid_client`` (401) for neither.
    """
    headers = request.headers.getlist("authorization")
    if len(headers) > 1:
        raise OAuthError("invalid_request", "Send one Authorization header.")
    if headers:
        client_id, secret = _read_basic(headers[0])
        if "client_secret" in form or form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_request", "Name the client in HTTP Basic or in the body, not in both.")
        return client_id, secret
    if "client_id" not in form or "client_secret" not in form:
        raise OAuthError(
            "invalid_client", "Send client_id and client_secret, in HTTP Basic or the body.", 401
        )
    return form["client_id"], form["client_secret"]


def _read_basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    refused = OAuthError("invalid_client", "The Authorization header does not hold a valid client.", 401)
    if scheme.lower() != "basic":
        raise refused
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
        client_id, separator, secret = text.partition(":")
        if not separator:
            raise refused
        return unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except (binascii.Error, ValueError):
        raise refused from None


_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthRoute(TransactionalRoute):
    """Renders errors as in RFC 6749 section 5.2 instead of problem documents."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except OAuthError as error:
                return _error(error.status, error.code, error.description)
            except Unauthenticated:
                return _error(401, "invalid_client", "The client is unknown or its secret is not valid.")
            except (TooManyRequests, Unavailable) as error:
                status = 429 if isinstance(error, TooManyRequests) else 503
                headers = {"Retry-After": str(error.retry_after_s)}
                return _error(status, "temporarily_unavailable", error.detail, headers)
            except DomainError as error:
                return _error(400, "invalid_request", error.detail)

        return answer


def _error(status: int, code: str, description: str, headers: dict[str, str] | None = None) -> JSONResponse:
    sent = {**_NO_STORE, **(headers or {})}
    if status == 401:
        sent["WWW-Authenticate"] = 'Basic realm="scopegate", charset="UTF-8"'
    return JSONResponse({"error": code, "error_description": description}, status, sent)


router = APIRouter(tags=["oauth"], route_class=OAuthRoute)


class AccessToken(Strict):
    """A short-lived bearer for the API (RFC 6749 section 5.1)."""

    access_token: str = Field(
        examples=["sgb_..."],
        description="`sgb_...`; checked live, so revoking the credential ends it.",
        json_schema_extra={"format": "password"},
    )
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = Field(description="Seconds.", examples=[900])


class OAuthErrorBody(Strict):
    """RFC 6749 section 5.2."""

    model_config = ConfigDict(extra="forbid", title="OAuthError")

    error: str = Field(description="The error code of RFC 6749.", examples=["invalid_client"])
    error_description: str = Field(
        description="What is wrong, and how to correct it.",
        examples=["The client is unknown or its secret is not valid."],
    )


_ERRORS: dict[int | str, list[str]] = {
    400: [],
    401: ["WWW-Authenticate"],
    429: ["Retry-After", *RATE_LIMIT],
    503: ["Retry-After"],
}
_PROPERTIES = {
    "grant_type": {"type": "string", "const": "client_credentials"},
    "client_id": {"type": "string", "description": "Here or in HTTP Basic, not both."},
    "client_secret": {"type": "string", "format": "password"},
}
_SCHEMA = {"type": "object", "required": ["grant_type"], "properties": _PROPERTIES}
_FORM = {"requestBody": {"required": True, "content": {_FORM_TYPE: {"schema": _SCHEMA}}}}


@router.post(
    "/oauth/token",
    operation_id="create_access_token",
    openapi_extra=_FORM,
    responses={
        status: {"model": OAuthErrorBody, "headers": {name: header(name) for name in names}}
        for status, names in _ERRORS.items()
    },
)
async def create_access_token(
    request: Request, response: Response, session: Session, runtime: CurrentRuntime
) -> AccessToken:
    """Exchange a service account's client secret for a bearer (grant `client_credentials`)."""
    form = read_form(request, await request.body())
    client_id, client_secret = read_client(request, form)
    if "grant_type" not in form:
        raise OAuthError("invalid_request", "Send grant_type=client_credentials.")
    if form["grant_type"] != "client_credentials":
        raise OAuthError("unsupported_grant_type", "The only supported grant is client_credentials.")
    if form.get("scope"):
        raise OAuthError("invalid_scope", "Scopes are not supported: the account's role decides.")
    with runtime.attempts.attempt(request, client_secret):
        bearer = await sign_in(session, runtime.peppers, client_id, client_secret, request.state.request_id)
    response.headers.update(_NO_STORE)
    return AccessToken(access_token=bearer.text, expires_in=int(bearer.lifetime.total_seconds()))


@router.post("/register", include_in_schema=False)
async def refuse_registration() -> None:
    """Explain to an MCP client how to get a token, instead of registering it.

    Without metadata the TypeScript SDK posts to ``/register`` (MCP 2025-03-26, "Fallbacks for servers without
    metadata discovery") and shows its user nothing but the description of this error.
    """
    raise OAuthError("access_denied", TOKEN_NEEDED, 403)
