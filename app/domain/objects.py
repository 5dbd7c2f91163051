"""The inputs of decisions: identities with their grants, tokens, servers with their tools.

The values are immutable and carry the version that they were read with. Times are in Unix seconds.
To simulate policies on past calls, there are inputs that nothing but policies restricts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from math import inf
from uuid import UUID

from app.domain.arguments import ArgumentType
from app.domain.risk import Risk
from app.domain.scopes import AllServers, AllTools, GrantsScope, Scope, ServerSelector, ToolSelector

Network = IPv4Network | IPv6Network

Address = IPv4Address | IPv6Address

Version = tuple[UUID, int]


class IdentityStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    OFFBOARDED = "offboarded"


class Part(StrEnum):
    """What a server offers in addition to tools. A grant includes or excludes each."""

    RESOURCES = "resources"
    PROMPTS = "prompts"


class ToolState(StrEnum):
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Grant:
    """A durable entitlement of an identity or of one of its groups."""

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
    """A person or agent with the sources of its rights. ``grants`` includes those of its groups."""

    id: UUID
    version: int
    status: IdentityStatus
    owner: "Identity | None" = None
    groups: tuple[Version, ...] = ()
    grants: tuple[Grant, ...] = ()
    kind: str = "person"
    """``person`` or ``agent``."""
    attributes: tuple[tuple[str, str], ...] = ()
    """The attributes that policies can read, by name."""


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
    """An approved tool. A live definition must have the digest ``approved_digest``.

    ``header_schema`` is the input schema, kept only if it mirrors arguments into headers.
    """

    id: UUID
    name: str
    risk: Risk
    state: ToolState
    approved_digest: bytes | None
    header_schema: Mapping[str, object] | None = None
    parameters: Mapping[str, ArgumentType] = field(default_factory=dict)
    """The types of its arguments by the approved input schema."""


@dataclass(frozen=True, slots=True)
class Server:
    """A registered server with its tools by exact name."""

    id: UUID
    version: int
    slug: str
    enabled: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, Tool] = field(default_factory=dict)
    instructions: bytes | None = None
    """The digest of the approved instructions; ``None`` if none were approved."""
    keep_arguments: str = "off"
    """The calls whose arguments are kept: ``off``, ``approvals`` (calls that need one), or ``all``."""


EVERYTHING = Grant(UUID(int=0), 0, AllServers(), AllTools(), True, True)
"""A grant of everything, which no one really has."""


def with_full_access(identity: Identity) -> Identity:
    """The identity as policies see it, but active and with a grant of everything."""
    owner = None if identity.owner is None else replace(identity.owner, status=IdentityStatus.ACTIVE)
    return replace(identity, status=IdentityStatus.ACTIVE, owner=owner, grants=(EVERYTHING,))


def unlimited_token(id: UUID, identity: Identity, parent: Token | None) -> Token:
    """A token with all rights of its identity that never expires."""
    return Token(id, 0, identity, GrantsScope(), inf, parent=parent)


def unrestricted_server(server: Server) -> Server:
    """The server as policies see it, but enabled and with all tools active."""
    tools = {name: replace(tool, state=ToolState.ACTIVE) for name, tool in server.tools.items()}
    return replace(server, enabled=True, tools=tools)
