"""Request and response models of connection checks."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, SecretStr
from typing_extensions import TypeAliasType

from app.http.schemas import CleanSecret, Strict
from app.lib.ids import EventId, ServerId, TokenId

MAX_SERVERS = 8
"""Servers per check."""

_TOKEN, _SERVER = "tok_01jdpnwz00e008000000000000", "srv_01jdpnwz00e008000000000000"
_STEP: dict[str, Any] = {
    "name": "server", "state": "fail", "code": "unreachable", "detail": "notes: It cannot be reached.",
    "remedy": "Ask the operator of the server.", "server_id": _SERVER, "server": "notes",
    "duration_ms": 3000, "event_id": None,
}  # fmt: skip

CheckState = TypeAliasType(
    "CheckState",
    Annotated[
        Literal["ok", "warn", "fail"],
        Field(
            description="`ok`: as it should be; `warn`: it works, but look at it; `fail`: it does not work."
        ),
    ],
)
CheckedThing = TypeAliasType(
    "CheckedThing",
    Annotated[
        Literal["secret", "token", "identity", "address", "access", "server", "last_denial"],
        Field(
            description="The subject of a step: the given `secret`; the `token` and those it was attenuated "
            "from; their `identity` and its owner; the client `address` of the check; the "
            "`access` of the token; one `server`; or the `last_denial` within a week."
        ),
    ],
)
CheckedServers = TypeAliasType(
    "CheckedServers",
    Annotated[
        list[ServerId],
        Field(
            max_length=MAX_SERVERS,
            description=f"The servers to ask; by default the first {MAX_SERVERS} in reach by slug.",
        ),
    ],
)


class ConnectionCheckRequest(Strict):
    """The subject of the check."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"secret": "sgt_...", "server_ids": [_SERVER]}]},
    )
    secret: Annotated[SecretStr, Field(min_length=1, max_length=512), CleanSecret] | None = Field(
        default=None,
        description="The secret of the client, as it was pasted, to verify that it belongs to this token and "
        "is still valid. It is not stored.",
    )
    server_ids: CheckedServers = Field(default_factory=list)


class CheckStep(Strict):
    """One step of a check, with its result."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_STEP]})
    name: CheckedThing
    state: CheckState
    code: str = Field(
        description="The result, as a stable code, snake_case; `ok` for success.", examples=["unreachable"]
    )
    detail: str = Field(description="The result in words.", examples=["It cannot be reached."])
    remedy: str | None = Field(
        default=None, description="What to do about it.", examples=["Issue a new token."]
    )
    server_id: ServerId | None = Field(default=None, description="The server of the step.")
    server: str | None = Field(default=None, description="Its slug.", examples=["notes"])
    duration_ms: int | None = Field(
        default=None, ge=0, description="The response time of the server.", examples=[120]
    )
    event_id: EventId | None = Field(default=None, description="The audit event of the refusal.")


class ConnectionCheck(Strict):
    """Whether a token works now, step by step. Steps that depend on a failed one are left out."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "token_id": _TOKEN,
                    "at": "2026-11-25T12:00:00Z",
                    "state": "fail",
                    "steps": [_STEP],
                    "unchecked_servers": 0,
                }
            ]
        },
    )
    token_id: TokenId
    at: datetime = Field(description="The time of the check, by the database's clock.")
    state: CheckState = Field(description="The worst state of the steps.")
    steps: list[CheckStep] = Field(description="The steps, in the order in which a call depends on them.")
    unchecked_servers: int = Field(
        ge=0, description="Servers in reach that were not asked: name them in `server_ids`.", examples=[0]
    )

    @classmethod
    def of(cls, token_id: UUID, at: datetime, steps: list[CheckStep], unasked: int) -> Self:
        """Build the result, with the worst state of the steps."""
        states = {step.state for step in steps}
        state: Any = next((one for one in ("fail", "warn") if one in states), "ok")
        return cls(token_id=token_id, at=at, state=state, steps=steps, unchecked_servers=unasked)
