"""Request and response models of tokens, pickup links and connection checks, and settings for MCP clients.

The settings contain no secret: clients read it from the environment or ask for it, so that a shared or committed file
reveals nothing.
"""

import json
import shlex
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, StrictInt
from typing_extensions import TypeAliasType

from app.features.tools.queries import Reaches, SelectorWarning
from app.http.idempotency import Revealed
from app.http.pagination import ORDER, ListQuery
from app.http.schemas import CleanSecret, Name, Patch, ShortText, Strict, Time, absent, example
from app.http.selectors import TokenScopeModel, show_scope
from app.lib.ids import PICKUP, EventId, GroupId, IdentityId, PickupId, ServerId, TokenId, format_id

if TYPE_CHECKING:
    from app.features.tokens.queries import PickupReading, TokenReading


NAME = "scopegate"
VARIABLE = "SCOPEGATE_TOKEN"
MAX_OVERLAP_S = 86_400
MAX_SERVERS = 8
"""Servers per check."""
PAGE = "/console/pickups"
"""The path of the page to pick up secrets, below the public URL."""
_TOKEN = "tok_01jdpnwz00e008000000000000"
_IDENTITY = "idn_01jdpnwz00e008000000000000"
_SERVER = "srv_01jdpnwz00e008000000000000"
_READ_ONLY = {
    "kind": "listed",
    "entries": [{"servers": {"kind": "ids", "ids": [_SERVER]}, "tools": {"kind": "risk", "risk": ["read"]}}],
}
_STEP: dict[str, Any] = {
    "name": "server", "state": "fail", "code": "unreachable", "detail": "notes: It cannot be reached.",
    "remedy": "Ask the operator of the server.", "server_id": _SERVER, "server": "notes",
    "duration_ms": 3000, "event_id": None,
}  # fmt: skip


def _network(value: str) -> str:
    if "%" in value:
        raise ValueError("an address range has no zone")
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError(
            "expected an address or a CIDR range without host bits, as 203.0.113.0/24 or 2001:db8::/32"
        ) from None


Network = Annotated[str, Field(max_length=64, examples=["203.0.113.0/24"]), AfterValidator(_network)]
Overlap = Annotated[StrictInt, Field(ge=0, le=MAX_OVERLAP_S)]
Reason = Annotated[ShortText, Field(min_length=1, examples=["laptop lost"])]
PickupState = TypeAliasType(
    "PickupState",
    Annotated[
        Literal["pending", "picked_up", "expired", "cancelled"],
        Field(
            description="`cancelled`: it was withdrawn or replaced by another link or secret, the token "
            "ended, or its recipient does not own the token's identity any more."
        ),
    ],
)
TokenDelivery = TypeAliasType(
    "TokenDelivery",
    Annotated[
        Literal["reveal", "pickup"],
        Field(
            description="How the secret reaches its recipient. `reveal`: in the response. `pickup`: it is "
            "created when its recipient signs in and uses a link."
        ),
    ],
)
TokenOrder = TypeAliasType(
    "TokenOrder",
    Annotated[Literal["-created_at", "created_at", "-name", "name", "-expires_at", "expires_at"], ORDER],
)
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


class TokenStatus(StrEnum):
    """`suspended`: its identity, or that identity's owner, is not active."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    REVOKED = "revoked"


class TokenQuery(ListQuery):
    """Filters of the list of tokens; each can be repeated, and then any of its values matches."""

    identity_id: list[IdentityId] = Field(default_factory=list)
    parent_id: list[TokenId] = Field(default_factory=list)
    server_id: ServerId | None = Field(default=None, description="Tokens whose scope can reach this server.")
    status: list[TokenStatus] = Field(default_factory=list)
    expires_after: Time | None = Field(default=None, description="Only those that expire after this time.")
    expires_before: Time | None = Field(default=None, description="Only those that expire before this time.")
    q: ShortText | None = Field(default=None, description="Text in the name.")
    sort: TokenOrder = Field(default="-created_at", description="The sort order of the list.")


class TokenCreate(Strict):
    """A new scoped token. It never allows more than its identity's live grants."""

    model_config = example(
        {
            "identity_id": _IDENTITY,
            "name": "laptop",
            "scope": _READ_ONLY,
            "expires_at": "2099-01-01T00:00:00Z",
        }
    )
    identity_id: IdentityId
    name: Name
    scope: TokenScopeModel
    expires_at: Time = Field(description="In the future, and at most the configured maximum away.")
    ip_allow: list[Network] = Field(
        default_factory=list,
        max_length=100,
        description="Address ranges the token may be used from; empty: any.",
    )
    parent_id: TokenId | None = Field(
        default=None,
        description="Attenuate this token: for its identity or an agent that its identity owns, with no wider "
        "scope and no later expiry.",
    )
    delivery: TokenDelivery = "reveal"


class TokenUpdate(Patch):
    """A merge patch. The scope may only get smaller and the expiry earlier."""

    model_config = example({"expires_at": "2098-12-31T12:00:00Z"})
    name: Name = absent()
    scope: TokenScopeModel = absent()
    expires_at: Time = absent("An earlier expiry.")


class TokenRotate(Strict):
    """How long the old secrets still work after the new one is created."""

    model_config = example({"overlap_s": 3600})
    overlap_s: Overlap = Field(default=0, description="Seconds that earlier secrets still work.")


class TokenRevoke(Strict):
    """The reason of a revocation."""

    model_config = example({"reason": "laptop lost"})
    reason: Reason = Field(description="The reason, stored with the revoked tokens, not in the audit log.")


class TokensRevokeFilter(Strict):
    """Conditions that a token must all meet. At least one is required; descendants are revoked too."""

    model_config = example({"identity_id": _IDENTITY}, title="TokenBulkRevokeFilter")
    token_ids: list[TokenId] | None = Field(default=None, max_length=1000, description="These tokens.")
    identity_id: IdentityId | None = Field(default=None, description="Tokens of this identity.")
    group_id: GroupId | None = Field(default=None, description="Tokens of the group's members.")
    server_id: ServerId | None = Field(default=None, description="Tokens whose scope can reach this server.")
    parent_id: TokenId | None = Field(default=None, description="Tokens attenuated from this one.")
    created_before: Time | None = Field(default=None, description="Tokens created before this time.")


class TokensRevoke(Strict):
    """The tokens to revoke, and the reason."""

    model_config = example(
        {"filter": {"server_id": _SERVER}, "reason": "server compromised"}, title="TokenBulkRevoke"
    )
    filter: TokensRevokeFilter
    reason: Reason = Field(description="The reason, stored with the revoked tokens, not in the audit log.")


class TokenView(Strict):
    """A scoped token, without any secret."""

    id: TokenId
    identity_id: IdentityId = Field(description="The identity that it was issued to.")
    parent_id: TokenId | None = Field(description="The token that it was attenuated from.")
    depth: int = Field(description="Number of ancestor tokens.")
    name: str = Field(description="Its display name.", examples=["laptop"])
    scope: TokenScopeModel
    expires_at: datetime = Field(description="When it expires.")
    ip_allow: list[str] = Field(
        description="Address ranges that it may be used from; empty: any.", examples=[["203.0.113.0/24"]]
    )
    status: TokenStatus
    last_used_at: datetime | None = Field(description="The last use, updated at most once a minute.")
    overlap_until: datetime | None = Field(description="When the secrets from before a rotation expire.")
    revoked_at: datetime | None = Field(description="When it was revoked; null while it has not been.")
    revoke_reason: str | None = Field(description="Why it was revoked.", examples=["laptop lost"])
    reaches: Reaches | None = Field(
        description="How much its scope reaches now within the identity's live grants, without policies. "
        "Present in responses to creating, reading and changing one token; null in others, and "
        "when the identity has more than 200 live grants."
    )
    warnings: list[SelectorWarning] | None = Field(
        description="Parts of its scope that match nothing now; null when `reaches` is."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_reading(cls, reading: "TokenReading") -> Self:
        """Build the view of a token."""
        row = reading.row
        return cls(
            **row.model_dump(exclude={"scope"}),
            scope=show_scope(row.scope),
            status=TokenStatus(reading.status),
            last_used_at=reading.last_used_at,
            overlap_until=reading.overlap_until,
            reaches=None,
            warnings=None,
        )


class PickupView(Strict):
    """A link by which one person picks up a new secret of a token, once. It has no secret and works only for that
    person."""

    model_config = ConfigDict(title="TokenPickup")
    id: PickupId
    token_id: TokenId
    recipient_id: IdentityId = Field(
        description="The recipient: the token's person, or the owner of its agent."
    )
    state: PickupState
    overlap_s: int = Field(
        description="Seconds that earlier secrets still work after the pickup.", examples=[0]
    )
    url: str = Field(
        description="The page for the pickup. Send it by any channel: it works only for the recipient.",
        examples=["https://gate.example.com/console/pickups/pku_01jdpnwz00e008000000000000"],
    )
    expires_at: datetime = Field(description="When it expires.")
    picked_up_at: datetime | None = Field(description="When its recipient used it.")
    reopened_at: datetime | None = Field(
        description="When its recipient opened it again after that, reported at most once an hour. If the "
        "recipient did not use it, revoke the token."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_reading(cls, reading: "PickupReading", public_url: str) -> Self:
        """Build the view of a link."""
        url = f"{public_url}{PAGE}/{format_id(PICKUP, reading.row.id)}"
        computed = {"state": reading.state, "expires_at": reading.expires_at, "url": url}
        return cls.model_validate(reading.row.model_dump() | computed)


class PickupCreate(Strict):
    """A new link for an existing token. It cancels a pending one."""

    model_config = example({"overlap_s": 3600}, title="TokenPickupCreate")
    overlap_s: Overlap = Field(
        default=0,
        description="Seconds that earlier secrets still work after the pickup; until then they all work.",
    )


class PickupQuery(ListQuery):
    """Pagination of a list of links."""


class OwnPickupView(Strict):
    """A pickup link as its recipient sees it, with its token."""

    model_config = ConfigDict(title="OwnTokenPickup")
    REVISED: ClassVar = "pickup"
    pickup: PickupView
    token: TokenView = Field(description="The token of the secret.")


class Snippet(Strict):
    """Text to paste, and its destination."""

    model_config = ConfigDict(title="ConnectSnippet")
    format: str = Field(description="`shell`, `json` or `toml`.", examples=["json"])
    where: str = Field(description="The file to put it in, or the terminal.", examples=["~/.cursor/mcp.json"])
    text: str = Field(description="The text.", examples=["export ..."])


class Connect(Strict):
    """How to connect with this token: set `variable` to the secret, then use the snippet for your client."""

    model_config = ConfigDict(title="ConnectSettings")
    url: str = Field(description="The endpoint of the whole fleet.", examples=["https://mcp.example.com/mcp"])
    variable: str = Field(description="The environment variable that the snippets read.", examples=[VARIABLE])
    claude_code: Snippet
    cursor: Snippet
    vscode: Snippet
    codex: Snippet
    claude_desktop: Snippet
    inspector: Snippet


class TokenSecretView(Revealed):
    """A token with its new secret, which is shown only once."""

    model_config = ConfigDict(title="IssuedToken")
    secret: str | None = Field(
        description="The scoped token itself. Store it; it is never shown again. Null in the response to a "
        "repeat, or when it must be picked up.",
        json_schema_extra={"format": "password"},
    )
    token: TokenView
    connect: Connect
    pickup: PickupView | None = Field(
        default=None, description="With `delivery: pickup`: the link for its recipient."
    )


class RevokedTokens(Strict):
    """What was revoked, or would be under `dry_run`."""

    model_config = example({"tokens": [_TOKEN], "in_flight": 1})
    tokens: list[TokenId] = Field(description="The tokens.")
    in_flight: int = Field(
        description="Running calls of these tokens, which are cut. Counted among the newest 2,000."
    )


class RevocationView(Strict):
    """The revocation of one token. `changed` is false when it had ended before."""

    model_config = ConfigDict(title="TokenRevocation")
    changed: bool = Field(description="Whether this request revoked it.")
    token: TokenView
    revoked: RevokedTokens


class BulkRevocationView(Strict):
    """The revocation of many tokens."""

    model_config = ConfigDict(title="TokenBulkRevocation")
    changed: bool = Field(description="Whether this request revoked any.")
    revoked: RevokedTokens


class ConnectionCheckRequest(Strict):
    """The subject of the check."""

    model_config = example({"secret": "sgt_...", "server_ids": [_SERVER]})
    secret: Annotated[SecretStr, Field(min_length=1, max_length=512), CleanSecret] | None = Field(
        default=None,
        description="The secret of the client, as it was pasted, to verify that it belongs to this token and "
        "is still valid. It is not stored.",
    )
    server_ids: CheckedServers = Field(default_factory=list)


class CheckStep(Strict):
    """One step of a check, with its result."""

    model_config = example(_STEP)
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

    model_config = example(
        {
            "token_id": _TOKEN, "at": "2026-11-25T12:00:00Z", "state": "fail", "steps": [_STEP],
            "unchecked_servers": 0
        }
    )  # fmt: skip
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


def _json(where: str, value: dict[str, Any]) -> Snippet:
    return Snippet(format="json", where=where, text=json.dumps(value, indent=2))


def _vscode(url: str) -> dict[str, Any]:
    ask = {"type": "promptString", "id": VARIABLE, "description": "Scopegate token", "password": True}
    headers = {"Authorization": f"Bearer ${{input:{VARIABLE}}}"}
    return {"inputs": [ask], "servers": {NAME: {"type": "http", "url": url, "headers": headers}}}


def _claude_desktop(url: str) -> dict[str, Any]:
    # The environment has the whole header value: some builds split arguments at the space after "Bearer".
    arguments = ["-y", "mcp-remote", url, "--header", "Authorization:${SCOPEGATE_AUTHORIZATION}"]
    if url.startswith("http://"):
        arguments.append("--allow-http")
    environment = {"SCOPEGATE_AUTHORIZATION": "Bearer <the token>"}
    return {"mcpServers": {NAME: {"command": "npx", "args": arguments, "env": environment}}}


@lru_cache(maxsize=4)
def connect_settings(public_url: str) -> Connect:
    """The settings for the whole fleet's endpoint, ``<public_url>/mcp``."""
    url = public_url.rstrip("/") + "/mcp"
    quoted = shlex.quote(url)
    header = f'--header "Authorization: Bearer ${VARIABLE}"'
    cursor = {"url": url, "headers": {"Authorization": f"Bearer ${{env:{VARIABLE}}}"}}
    # A JSON string is a valid TOML basic string.
    codex = f'[mcp_servers.{NAME}]\nurl = {json.dumps(url)}\nbearer_token_env_var = "{VARIABLE}"\n'
    inspect = (
        f"npx @modelcontextprotocol/inspector --cli {quoted} --transport http {header} --method tools/list"
    )
    return Connect(
        url=url,
        variable=VARIABLE,
        claude_code=Snippet(
            format="shell",
            where="terminal",
            # Single-quoted, so that the client expands the variable at each start: the shell would write the secret
            # into the arguments and into the client's file.
            text=f"claude mcp add --transport http {NAME} {quoted} "
            f"--header 'Authorization: Bearer ${{{VARIABLE}}}'",
        ),
        cursor=_json("~/.cursor/mcp.json", {"mcpServers": {NAME: cursor}}),
        vscode=_json(".vscode/mcp.json", _vscode(url)),
        codex=Snippet(format="toml", where="~/.codex/config.toml", text=codex),
        claude_desktop=_json("claude_desktop_config.json", _claude_desktop(url)),
        inspector=Snippet(format="shell", where="terminal", text=inspect),
    )
