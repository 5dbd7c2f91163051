"""Request and answer models of tokens.

Ready-to-paste settings of each MCP client. None of them holds the secret: each reads it from the environment
or asks for it, so that a settings file that is shared or committed gives nothing away.

Request and answer models of pick-up links.
"""

import json
import shlex
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StrictInt
from typing_extensions import TypeAliasType

from app.features.tokens.queries import TokenReading
from app.features.tools.reach_queries import Reaches, SelectorWarning
from app.http.idempotency import Revealed
from app.http.pagination import ListQuery
from app.http.schemas import Name, ShortText, Strict, Time
from app.http.selectors import TokenScopeModel, show_scope
from app.lib.ids import PICKUP, GroupId, IdentityId, PickupId, ServerId, TokenId, format_id

NAME = "scopegate"
VARIABLE = "SCOPEGATE_TOKEN"


class Snippet(Strict):
    """Text to paste, and where it goes."""

    model_config = ConfigDict(extra="forbid", title="ConnectSnippet")

    format: str = Field(description="`shell`, `json` or `toml`.", examples=["json"])
    where: str = Field(description="The file to put it in, or the terminal.", examples=["~/.cursor/mcp.json"])
    text: str = Field(description="The text.", examples=["export ..."])


class Connect(Strict):
    """How to connect with this token: set `variable` to the secret, then use the snippet of the client at hand."""

    model_config = ConfigDict(extra="forbid", title="ConnectSettings")

    url: str = Field(description="The endpoint of the whole fleet.", examples=["https://mcp.example.com/mcp"])
    variable: str = Field(description="The environment variable that the snippets read.", examples=[VARIABLE])
    claude_code: Snippet
    cursor: Snippet
    vscode: Snippet
    codex: Snippet
    claude_desktop: Snippet
    inspector: Snippet


def _json(where: str, value: dict[str, Any]) -> Snippet:
    return Snippet(format="json", where=where, text=json.dumps(value, indent=2))


def _vscode(url: str) -> dict[str, Any]:
    ask = {"type": "promptString", "id": VARIABLE, "description": "Scopegate token", "password": True}
    headers = {"Authorization": f"Bearer ${{input:{VARIABLE}}}"}
    return {"inputs": [ask], "servers": {NAME: {"type": "http", "url": url, "headers": headers}}}


def _claude_desktop(url: str) -> dict[str, Any]:
    # The header's value comes from the environment whole: some builds split arguments at the blank after "Bearer".
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
            # Quoted so that the client expands the variable, each time it starts: the shell would write the secret
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


if TYPE_CHECKING:
    from app.features.tokens.queries import PickupReading


LONGEST_OVERLAP_S = 86_400
PAGE = "/console/pickups"
"""Where people take what a link holds for them, below the public URL."""


PickupState = TypeAliasType(
    "PickupState",
    Annotated[
        Literal["pending", "picked_up", "expired", "cancelled"],
        Field(
            description="`cancelled`: somebody took it back, another link or secret came in its place, the token "
            "ended, or its recipient does not answer for the token any more."
        ),
    ],
)
TokenDelivery = TypeAliasType(
    "TokenDelivery",
    Annotated[
        Literal["reveal", "pickup"],
        Field(
            description="How the secret reaches its recipient. `reveal`: it is in the response. `pickup`: no one has "
            "one until its recipient signs in and takes it by a link."
        ),
    ],
)


class PickupView(Strict):
    """A link by which one person takes a new secret of a token, once. It holds no secret, and opens for them alone."""

    model_config = ConfigDict(extra="forbid", title="TokenPickup")

    id: PickupId
    token_id: TokenId
    recipient_id: IdentityId = Field(
        description="Who can take it: the token's person, or the one who answers for its agent."
    )
    state: PickupState
    overlap_s: int = Field(
        description="How many seconds the secrets from before still work once it is taken.", examples=[0]
    )
    url: str = Field(
        description="The page that its recipient takes it on. Send it as you like: it opens for them alone.",
        examples=["https://gate.example.com/console/pickups/pku_01jdpnwz00e008000000000000"],
    )
    expires_at: datetime = Field(description="Until when it can be taken.")
    picked_up_at: datetime | None = Field(description="When its recipient took it.")
    reopened_at: datetime | None = Field(
        description="When its recipient opened it again after that, as far as it was told of: at most once an hour. If "
        "it was not they who took it, revoke the token."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_reading(cls, reading: "PickupReading", public_url: str) -> "PickupView":
        """The link as the API shows it."""
        known = reading.row.model_dump()
        return cls.model_validate(
            known
            | {
                "state": reading.state,
                "expires_at": reading.expires_at,
                "url": f"{public_url}{PAGE}/{format_id(PICKUP, reading.row.id)}",
            }
        )


class PickupCreate(Strict):
    """A new link for a token that is there. One that waits is cancelled by it."""

    model_config = ConfigDict(
        extra="forbid", title="TokenPickupCreate", json_schema_extra={"examples": [{"overlap_s": 3600}]}
    )
    overlap_s: StrictInt = Field(
        default=0,
        ge=0,
        le=LONGEST_OVERLAP_S,
        description="How many seconds the secrets so far still work once the new one is taken; until then they all do.",
    )


class PickupQuery(ListQuery):
    """The pages of a list of links."""


_TOKEN = "tok_01jdpnwz00e008000000000000"
_IDENTITY = "idn_01jdpnwz00e008000000000000"
_SERVER = "srv_01jdpnwz00e008000000000000"
_READ_ONLY = {
    "kind": "listed",
    "entries": [{"servers": {"kind": "ids", "ids": [_SERVER]}, "tools": {"kind": "risk", "risk": ["read"]}}],
}


class TokenStatus(StrEnum):
    """`suspended`: its identity, or that identity's owner, is not active."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    REVOKED = "revoked"


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
Reason = Annotated[ShortText, Field(min_length=1, examples=["laptop lost"])]


def _absent() -> Any:
    """What a patch holds of a field that it does not name: read `model_fields_set` first."""
    return None


def _example(value: dict[str, Any], title: str | None = None) -> ConfigDict:
    return ConfigDict(extra="forbid", title=title, json_schema_extra={"examples": [value]})


TokenOrder = TypeAliasType(
    "TokenOrder",
    Annotated[
        Literal["-created_at", "created_at", "-name", "name", "-expires_at", "expires_at"],
        Field(
            description="What tokens are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class TokenQuery(ListQuery):
    """Filters of the list of tokens; each may be repeated, and then any of its values matches."""

    identity_id: list[IdentityId] = Field(default_factory=list)
    parent_id: list[TokenId] = Field(default_factory=list)
    server_id: ServerId | None = Field(default=None, description="Tokens whose scope can reach this server.")
    status: list[TokenStatus] = Field(default_factory=list)
    expires_after: Time | None = Field(default=None, description="Only those that expire after this time.")
    expires_before: Time | None = Field(default=None, description="Only those that expire before this time.")
    q: ShortText | None = Field(default=None, description="Text in the name.")
    sort: TokenOrder = Field(default="-created_at", description="What the list is sorted by.")


class TokenCreate(Strict):
    """A new scoped token. Its right is never more than its identity's live grants allow."""

    model_config = _example(
        {
            "identity_id": _IDENTITY,
            "name": "laptop",
            "scope": _READ_ONLY,
            "expires_at": "2027-01-31T12:00:00Z",
        }
    )
    identity_id: IdentityId
    name: Name
    scope: TokenScopeModel
    expires_at: Time = Field(description="In the future, and at most the configured maximum away.")
    ip_allow: list[Network] = Field(
        default_factory=list,
        max_length=100,
        description="Ranges the token may be used from; empty: anywhere.",
    )
    parent_id: TokenId | None = Field(
        default=None,
        description="Attenuate this token: for its identity or an agent that identity owns, with no wider scope "
        "and no later expiry.",
    )
    delivery: TokenDelivery = "reveal"


class TokenUpdate(Strict):
    """A merge patch. The scope may only get smaller and the expiry earlier."""

    model_config = _example({"expires_at": "2026-12-31T12:00:00Z"})
    name: Name = Field(default_factory=_absent)
    scope: TokenScopeModel = Field(default_factory=_absent)
    expires_at: Time = Field(default_factory=_absent, description="An earlier expiry.")


class TokenRotate(Strict):
    """How long the old secrets still work after the new one is created."""

    model_config = _example({"overlap_s": 3600})
    overlap_s: StrictInt = Field(
        default=0,
        ge=0,
        le=LONGEST_OVERLAP_S,
        description="How many seconds the secrets so far still work.",
    )


class TokenRevoke(Strict):
    """Why the token ends."""

    model_config = _example({"reason": "laptop lost"})
    reason: Reason = Field(description="Why; it is kept with the tokens that end, not in the audit trail.")


class TokensRevokeFilter(Strict):
    """Tokens that meet all that is given. At least one is needed; children of what is met end with it."""

    model_config = _example({"identity_id": _IDENTITY}, "TokenBulkRevokeFilter")
    token_ids: list[TokenId] | None = Field(default=None, max_length=1000, description="These tokens.")
    identity_id: IdentityId | None = Field(default=None, description="Tokens of this identity.")
    group_id: GroupId | None = Field(default=None, description="Tokens of the group's members.")
    server_id: ServerId | None = Field(default=None, description="Tokens whose scope can reach this server.")
    parent_id: TokenId | None = Field(default=None, description="Tokens attenuated from this one.")
    created_before: Time | None = Field(default=None, description="Tokens made before this time.")


class TokensRevoke(Strict):
    """Which tokens end, and why."""

    model_config = _example(
        {"filter": {"server_id": _SERVER}, "reason": "server compromised"}, "TokenBulkRevoke"
    )
    filter: TokensRevokeFilter
    reason: Reason = Field(description="Why; it is kept with the tokens that end, not in the audit trail.")


class TokenView(Strict):
    """A scoped token, without any secret."""

    id: TokenId
    identity_id: IdentityId = Field(description="Who it was issued to.")
    parent_id: TokenId | None = Field(description="The token that it was attenuated from.")
    depth: int = Field(description="How many tokens stand above this one.")
    name: str = Field(description="What people call it.", examples=["laptop"])
    scope: TokenScopeModel
    expires_at: datetime = Field(description="When it stops working.")
    ip_allow: list[str] = Field(
        description="Ranges that it may be used from; empty: anywhere.", examples=[["203.0.113.0/24"]]
    )
    status: TokenStatus
    last_used_at: datetime | None = Field(description="Written at most once a minute.")
    overlap_until: datetime | None = Field(
        description="Until when a secret from before a rotation still works."
    )
    revoked_at: datetime | None = Field(description="When it was revoked; null while it has not been.")
    revoke_reason: str | None = Field(description="Why it was revoked.", examples=["laptop lost"])
    reaches: Reaches | None = Field(
        description="How much its scope reaches now within the identity's live grants, policies aside. Answers to "
        "creating, reading and changing one token have it; null in others, and where the identity holds more than "
        "200 live grants."
    )
    warnings: list[SelectorWarning] | None = Field(
        description="What of its scope matches nothing now; null where `reaches` is."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_reading(cls, reading: TokenReading) -> Self:
        """The answer for a token that was just read."""
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


class TokenSecretView(Revealed):
    """A token with its new secret, which is shown this once."""

    model_config = ConfigDict(extra="forbid", title="IssuedToken")

    secret: str | None = Field(
        description="The scoped token itself. Keep it; it is never shown again, and null when a repeat of the "
        "request is answered, or when it is to be picked up.",
        json_schema_extra={"format": "password"},
    )
    token: TokenView
    connect: Connect
    pickup: PickupView | None = Field(
        default=None, description="With `delivery: pickup`: the link by which its recipient takes the secret."
    )

    def without_secret(self) -> Self:
        """What a repeat of the request gets."""
        return self.model_copy(update={"secret": None, "secret_available": False})


class RevokedTokens(Strict):
    """What ended, or would end under `dry_run`."""

    model_config = _example({"tokens": [_TOKEN], "in_flight": 1})
    tokens: list[TokenId] = Field(description="The tokens.")
    in_flight: int = Field(
        description="Calls of these tokens that were running; they are cut. Counted among the newest 2,000."
    )


class RevocationView(Strict):
    """One token's revocation. `changed` is false when it had ended before."""

    model_config = ConfigDict(extra="forbid", title="TokenRevocation")

    changed: bool = Field(description="Whether this request ended it.")
    token: TokenView
    revoked: RevokedTokens


class BulkRevocationView(Strict):
    """The revocation of many."""

    model_config = ConfigDict(extra="forbid", title="TokenBulkRevocation")

    changed: bool = Field(description="Whether this request ended any.")
    revoked: RevokedTokens
