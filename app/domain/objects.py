"""What decisions are made of: identities with their grants, tokens, servers with their tools.

Immutable values, each with the version that it was read with. Times are Unix seconds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from math import inf
from uuid import UUID

from app.domain.arguments import ArgumentType
from app.domain.risk import Risk
from app.domain.scopes import Scope, ServerSelector, ToolSelector

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Version = tuple[UUID, int]


class IdentityStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    OFFBOARDED = "offboarded"


class Part(StrEnum):
    """What a server has beside its tools; a grant says of each whether it reaches it."""

    RESOURCES = "resources"
    PROMPTS = "prompts"


class ToolState(StrEnum):
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Grant:
    """A durable entitlement of an identity or of a group that the identity is in."""

    id: UUID
    version: int
    servers: ServerSelector
    tools: ToolSelector
    resources: bool
    prompts: bool
    not_before: float = -inf
    expires_at: float = inf


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or agent with everything its rights come from. ``grants`` holds its own and its groups'."""

    id: UUID
    version: int
    status: IdentityStatus
    owner: "Identity | None" = None
    groups: tuple[Version, ...] = ()
    grants: tuple[Grant, ...] = ()
    kind: str = "person"
    """``person`` or ``agent``."""
    attributes: tuple[tuple[str, str], ...] = ()
    """What policies may read of it beside its groups, by name."""


@dataclass(frozen=True, slots=True)
class Token:
    """A scoped token with its ancestors."""

    id: UUID
    version: int
    identity: Identity
    scope: Scope
    expires_at: float
    revoked: bool = False
    ip_allow: tuple[Network, ...] = ()
    parent: "Token | None" = None

    def chain(self) -> Iterator["Token"]:
        """The token itself, then its ancestors."""
        token: Token | None = self
        while token is not None:
            yield token
            token = token.parent


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it was approved. ``approved_digest`` is the digest a live definition must have.

    ``header_schema`` is the input schema, kept only where it mirrors arguments into headers.
    """

    id: UUID
    name: str
    risk: Risk
    state: ToolState
    approved_digest: bytes | None
    header_schema: Mapping[str, object] | None = None
    parameters: Mapping[str, ArgumentType] = field(default_factory=dict)
    """What its arguments are, by the approved input schema."""


@dataclass(frozen=True, slots=True)
class Server:
    """A registered server with its catalogue, by exact tool name."""

    id: UUID
    version: int
    slug: str
    enabled: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, Tool] = field(default_factory=dict)
    instructions: bytes | None = None
    """The digest of what it may say of its use; ``None``: nothing was approved."""
    keep_arguments: str = "off"
    """Of which calls the arguments are kept: ``off``, ``approvals`` (those that ask for one), or ``all``."""
