"""``POST /oauth/token`` (RFC 6749 section 4.4), and the refusal of clients that try to register.

Authlib's server side is synchronous and brings grants of its own storage; one grant over an async session is
less code than its adapter would be, so the request is read here.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from app.adapters.oauth.form import OAuthError, read_client, read_form
from app.domain.errors import DomainError, TooManyRequests, Unauthenticated, Unavailable
from app.domain.token_format import TOKEN_NEEDED
from app.features.service_accounts.authenticate import sign_in
from app.http.openapi.operations import RATE_LIMIT, header
from app.http.runtime import CurrentRuntime
from app.http.schemas import Strict
from app.http.transaction import Session, TransactionalRoute

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthRoute(TransactionalRoute):
    """Answers every error in the form of RFC 6749 section 5.2, never as a problem document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except OAuthError as error:
                return _error(error.status, error.code, error.description)
            except Unauthenticated:
                return _error(401, "invalid_client", "The client is unknown or its secret is not valid.")
            except TooManyRequests as error:
                headers = {"Retry-After": str(error.retry_after_s)}
                return _error(429, "temporarily_unavailable", error.detail, headers)
            except Unavailable as error:
                headers = {"Retry-After": str(error.retry_after_s)}
                return _error(503, "temporarily_unavailable", error.detail, headers)
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
        description="What is wrong, and how to mend it.",
        examples=["The client is unknown or its secret is not valid."],
    )


_ERRORS: dict[int | str, list[str]] = {
    400: [],
    401: ["WWW-Authenticate"],
    429: ["Retry-After", *RATE_LIMIT],
    503: ["Retry-After"],
}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "const": "client_credentials"},
                        "client_id": {"type": "string", "description": "Here or in HTTP Basic, not both."},
                        "client_secret": {"type": "string", "format": "password"},
                    },
                }
            }
        },
    }
}


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
    """Trade a service account's client secret for a bearer (grant `client_credentials`)."""
    form = read_form(request, await request.body())
    client_id, client_secret = read_client(request, form)
    if "grant_type" not in form:
        raise OAuthError("invalid_request", "Say grant_type=client_credentials.")
    if form["grant_type"] != "client_credentials":
        raise OAuthError("unsupported_grant_type", "The only grant here is client_credentials.")
    if form.get("scope"):
        raise OAuthError("invalid_scope", "There are no scopes to ask for: the role of the account decides.")
    with runtime.attempts.attempt(request, client_secret):
        bearer = await sign_in(session, runtime.peppers, client_id, client_secret, request.state.request_id)
    response.headers.update(_NO_STORE)
    return AccessToken(access_token=bearer.text, expires_in=int(bearer.lifetime.total_seconds()))


@router.post("/register", include_in_schema=False)
async def refuse_registration() -> None:
    """Say what an MCP client needs when it guesses that it may register here.

    Without metadata the TypeScript SDK posts to ``/register`` (MCP 2025-03-26, "Fallbacks for servers without
    metadata discovery") and shows its user nothing but the description of this error.
    """
    raise OAuthError("access_denied", TOKEN_NEEDED, 403)
