"""``/break-glass``: sign in as the break-glass administrator."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import ConfigDict, Field, SecretStr, StringConstraints

from app.crypto.passwords import MAX_LENGTH
from app.features.administrators.break_glass import LIFETIME, BreakGlass, origin_of
from app.http.problems import problem_responses
from app.http.schemas import CleanSecret, CleanText, Strict
from app.http.transaction import TransactionalRoute

# Enough for a password and a reason, even with every character escaped in JSON.
MAX_BODY_BYTES = 32 * 1024


class SmallBodyRoute(TransactionalRoute):
    """Reject a large body unread: the client is not authenticated, and validating the body takes long."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            if len(await request.body()) > MAX_BODY_BYTES:
                raise HTTPException(413, f"The request body can have at most {MAX_BODY_BYTES} bytes")
            return await handle(request)

        return answer


router = APIRouter(prefix="/api/v1/break-glass", tags=["break-glass"], route_class=SmallBodyRoute)


async def _get_break_glass(request: Request) -> BreakGlass:
    break_glass: BreakGlass = request.app.state.break_glass
    return break_glass


class BreakGlassSignIn(Strict):
    """The break-glass password, and the reason for its use."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"password": "correct horse battery staple", "reason": "The provider is down."}]
        }
    )
    password: Annotated[SecretStr, Field(min_length=1, max_length=MAX_LENGTH), CleanSecret] = Field(
        description="The password whose hash is configured."
    )
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500), CleanText] = Field(
        description="Stored with the session as its reason."
    )


class BreakGlassToken(Strict):
    """A bearer token with the role owner. Each of its requests is recorded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"access_token": "sge_...", "token_type": "Bearer", "expires_in": 900}]
        }
    )
    access_token: str = Field(
        description="`sge_...`, shown once. A new password in the settings ends it.",
        json_schema_extra={"format": "password"},
    )
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = Field(description="Seconds.")


@router.post(
    "",
    operation_id="create_break_glass_token",
    responses=problem_responses(400, 401, 404, 422, 429, 503),
)
async def create_break_glass_token(
    body: BreakGlassSignIn, request: Request, break_glass: Annotated[BreakGlass, Depends(_get_break_glass)]
) -> BreakGlassToken:
    """Sign in as the break-glass administrator, if one is configured. Every attempt is recorded."""
    text = await break_glass.sign_in(body.password.get_secret_value(), body.reason, origin_of(request))
    return BreakGlassToken(access_token=text, expires_in=int(LIFETIME.total_seconds()))
