"""Inputs for ``decide`` that are restricted by nothing but policies, to simulate a policy on past calls."""

from dataclasses import replace
from math import inf
from uuid import UUID

from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token, ToolState
from app.domain.scopes import AllServers, AllTools, GrantsScope

_EVERYTHING = Grant(UUID(int=0), 0, AllServers(), AllTools(), True, True)


def with_full_access(identity: Identity) -> Identity:
    """The identity as policies see it, but active and with a grant of everything."""
    owner = None if identity.owner is None else replace(identity.owner, status=IdentityStatus.ACTIVE)
    return replace(identity, status=IdentityStatus.ACTIVE, owner=owner, grants=(_EVERYTHING,))


def unlimited_token(id: UUID, identity: Identity, parent: Token | None) -> Token:
    """A token with all rights of its identity that never expires."""
    return Token(id, 0, identity, GrantsScope(), inf, parent=parent)


def unrestricted_server(server: Server) -> Server:
    """The server as policies see it, but enabled and with all tools active."""
    tools = {name: replace(tool, state=ToolState.ACTIVE) for name, tool in server.tools.items()}
    return replace(server, enabled=True, tools=tools)
