"""Request and answer models of the check of a connection."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, SecretStr
from typing_extensions import TypeAliasType

from app.http.schemas import CleanSecret, Strict
from app.lib.ids import EventId, ServerId, TokenId

MOST_SERVERS = 8
"""So many servers are asked in one check."""

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
            description="What a step looked at: the `secret` that was given; the `token`, and those it was attenuated"
            " from; their `identity` and its owner; the `address` that the check was asked from; what the token has"
            " `access` to; one `server`; and the `last_denial` within a week."
        ),
    ],
)
CheckedServers = TypeAliasType(
    "CheckedServers",
    Annotated[
        list[ServerId],
        Field(
            max_length=MOST_SERVERS,
            description=f"The servers to ask; without, the first {MOST_SERVERS} in reach by slug.",
        ),
    ],
)


class ConnectionCheckRequest(Strict):
    """What to check of a token."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"secret": "sgt_...", "server_ids": [_SERVER]}]},
    )
    secret: Annotated[SecretStr, Field(min_length=1, max_length=512), CleanSecret] | None = Field(
        default=None,
        description="The secret that the client has, as it was pasted: whether it is one of this token, and still"
        " good. It is compared and forgotten.",
    )
    server_ids: CheckedServers = Field(default_factory=list)


class CheckStep(Strict):
    """One thing that was looked at, and how it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_STEP]})
    name: CheckedThing
    state: CheckState
    code: str = Field(
        description="How it is, stable, snake_case; `ok` where all is well.", examples=["unreachable"]
    )
    detail: str = Field(description="How it is, in words.", examples=["It cannot be reached."])
    remedy: str | None = Field(
        default=None, description="What to do about it.", examples=["Issue a new token."]
    )
    server_id: ServerId | None = Field(default=None, description="The server that the step is about.")
    server: str | None = Field(default=None, description="Its slug.", examples=["notes"])
    duration_ms: int | None = Field(
        default=None, ge=0, description="How long the server took to answer.", examples=[120]
    )
    event_id: EventId | None = Field(default=None, description="The audit event of the refusal.")


class ConnectionCheck(Strict):
    """Whether a token works now, step by step. Steps that depend on one that failed are left out."""

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
    at: datetime = Field(description="When it was looked at, by the database's clock.")
    state: CheckState = Field(description="The worst of the steps.")
    steps: list[CheckStep] = Field(description="In the order in which a call depends on them.")
    unchecked_servers: int = Field(
        ge=0, description="Servers in reach that were not asked: name them in `server_ids`.", examples=[0]
    )

    @classmethod
    def of(cls, token_id: UUID, at: datetime, steps: list[CheckStep], unasked: int) -> Self:
        """With the worst state of the steps."""
        states = {step.state for step in steps}
        state: Any = next((one for one in ("fail", "warn") if one in states), "ok")
        return cls(token_id=token_id, at=at, state=state, steps=steps, unchecked_servers=unasked)
