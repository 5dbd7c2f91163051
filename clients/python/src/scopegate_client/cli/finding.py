"""Lookup of objects by name, since the API uses ids."""

import re

from scopegate_client import Client
from scopegate_client.cli.failing import ExitCode, Failed
from scopegate_client.models import Identity, Server

_ID = re.compile(r"([a-z]+)_[0-7][0-9a-hjkmnp-tv-z]{25}")


def is_id(text: str, kind: str | None = None) -> bool:
    """Whether it has the form of an id, such as ``tok_...``."""
    found = _ID.fullmatch(text)
    return found is not None and kind in {None, found[1]}


def find_identity(client: Client, who: str) -> Identity:
    """Find an identity by id or user name. An offboarded one is found by its name unless another one uses it."""
    if is_id(who, "idn"):
        return client.identities.get(who)
    found = list(client.identities.list(user_name=who))
    for identity in found:
        if identity.status != "offboarded":
            return identity
    if not found:
        raise Failed(f"There is no identity with the user name {who!r}.", ExitCode.NOT_FOUND)
    return found[0]


def find_server(client: Client, which: str) -> Server:
    """Find a server by id or slug."""
    if is_id(which, "srv"):
        return client.servers.get(which)
    server = client.servers.list(slug=which).first()
    if server is None:
        raise Failed(f"There is no server with the slug {which!r}.", ExitCode.NOT_FOUND)
    return server
