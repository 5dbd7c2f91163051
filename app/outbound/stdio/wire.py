"""How the workers of a host talk to its supervisor: what each request carries, and where it goes.

Every request says which command it means and what that command is given, so that the supervisor needs neither the
database nor a key. The secret keeps the commands themselves out, which may run as the same user.
"""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from uuid import UUID

from app.lib import strict_json
from app.outbound.http import Origin, Target

VARIABLE = "_SCOPEGATE_SUPERVISOR"
"""The environment variable by which ``serve`` tells its children where the supervisor is."""

SECRET = b"scopegate-secret"
LAUNCH = b"scopegate-launch"
HOLDER = b"scopegate-holder"
REFUSAL = b"scopegate-refusal"
"""Marks an answer that is the supervisor's own and no program's."""
NOBODY = UUID(int=0)
"""Stands for the worker of a sync."""

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """What is started: a command line and the variables of its credential, for one server."""

    server_id: UUID
    command: str
    args: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def encode(self) -> bytes:
        """As a header's value."""
        parts: list[strict_json.JsonValue] = [
            self.server_id.hex,
            self.command,
            list(self.args),
            dict(self.variables),
        ]
        return b64encode(strict_json.dumps(parts))

    @classmethod
    def decode(cls, value: bytes) -> "Launch":
        """Raises ``ValueError`` for anything that is none."""
        parts = strict_json.loads(b64decode(value, validate=True))
        match parts:
            case [str(server), str(command), list(args), dict(variables)]:
                words = tuple(word for word in args if isinstance(word, str))
                given = tuple((name, text) for name, text in variables.items() if isinstance(text, str))
                return cls(UUID(hex=server), command, words, given)
        raise ValueError("not a launch")


@dataclass(frozen=True, slots=True)
class Holder:
    """On whose behalf: of a token and its identity, through a worker."""

    token_id: UUID
    identity_id: UUID
    worker_id: UUID

    def encode(self) -> bytes:
        """As a header's value."""
        return f"{self.token_id.hex}{self.identity_id.hex}{self.worker_id.hex}".encode()

    @classmethod
    def decode(cls, value: bytes) -> "Holder":
        """Raises ``ValueError`` for anything that is none."""
        text = value.decode("ascii")
        if len(text) != 96:
            raise ValueError("not a holder")
        return cls(UUID(hex=text[:32]), UUID(hex=text[32:64]), UUID(hex=text[64:]))


def syncing(server_id: UUID) -> Holder:
    """Who holds what a sync of a server starts: each server by itself."""
    return Holder(server_id, server_id, NOBODY)


def command_place(command: str, args: list[str], env_names: list[str]) -> str:
    """What stands for a command where a URL's origin stands for a server elsewhere: a digest of its words."""
    words = strict_json.dumps([command, list(args), list(env_names)])
    return f"stdio:{hashlib.sha256(words).hexdigest()}"


@dataclass(frozen=True, slots=True)
class SupervisorAddress:
    """Where the supervisor of this host listens."""

    socket: str
    secret: str = field(repr=False)

    @classmethod
    def from_environment(cls) -> "SupervisorAddress | None":
        """What ``serve`` wrote down, if it runs commands at all."""
        socket, _, secret = os.environ.get(VARIABLE, "").rpartition(":")
        return cls(socket, secret) if socket else None

    def written(self) -> dict[str, str]:
        """For the environment of ``serve``'s own children."""
        return {VARIABLE: f"{self.socket}:{self.secret}"}

    def target(self, server_id: UUID, path: bytes = b"/mcp") -> Target:
        """Each server has connections of its own, so that none takes those of the others."""
        return Target(Origin("http", f"{server_id.hex}.stdio", 80, socket=self.socket), path)

    def headers(self, launch: Launch, holder: Holder) -> Headers:
        """What each request to the supervisor carries."""
        return ((SECRET, self.secret.encode()), (LAUNCH, launch.encode()), (HOLDER, holder.encode()))

    def own_headers(self) -> Headers:
        """What a request carries that is about no command."""
        return ((SECRET, self.secret.encode()),)

    def is_secret(self, value: bytes) -> bool:
        """Whether a caller knows the secret."""
        return hmac.compare_digest(value, self.secret.encode())
