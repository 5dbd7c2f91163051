"""What policy alone says of a call: ``decide``, asked about a token that nothing but policy stands against."""

from dataclasses import replace
from math import inf
from uuid import UUID

from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token, ToolState
from app.domain.scopes import AllServers, AllTools, GrantsScope

_EVERYTHING = Grant(UUID(int=0), 0, AllServers(), AllTools(), True, True)


def unhindered(identity: Identity) -> Identity:
    """The identity as policies see it, active and with every right."""
    owner = None if identity.owner is None else replace(identity.owner, status=IdentityStatus.ACTIVE)
    return replace(identity, status=IdentityStatus.ACTIVE, owner=owner, grants=(_EVERYTHING,))


def open_token(id: UUID, identity: Identity, parent: Token | None) -> Token:
    """A token of an unhindered identity, that never ends."""
    return Token(id, 0, identity, GrantsScope(), inf, parent=parent)


def open_server(server: Server) -> Server:
    """The server as policies see it, switched on, with every tool let go."""
    tools = {name: replace(tool, state=ToolState.ACTIVE) for name, tool in server.tools.items()}
    return replace(server, enabled=True, tools=tools)
