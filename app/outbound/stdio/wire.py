"""The protocol between the workers of a host and its supervisor.

Every request contains the command and its variables, so the supervisor needs neither the database nor a key. A secret
authenticates the workers, because commands can run as the same user.
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
"""The environment variable in which ``serve`` passes the supervisor's address to its child processes."""

SECRET = b"scopegate-secret"
LAUNCH = b"scopegate-launch"
HOLDER = b"scopegate-holder"
REFUSAL = b"scopegate-refusal"
"""Marks a response that comes from the supervisor itself."""
NO_WORKER = UUID(int=0)
"""The worker id of a sync."""

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """A command to start for one server: its command line and the variables of its credential."""

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
                pairs = tuple((name, text) for name, text in variables.items() if isinstance(text, str))
                return cls(UUID(hex=server), command, words, pairs)
        raise ValueError("not a launch")


@dataclass(frozen=True, slots=True)
class Holder:
    """The token, identity and worker that a command runs for."""

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


def sync_holder(server_id: UUID) -> Holder:
    """The holder of a command that a sync starts; separate for each server."""
    return Holder(server_id, server_id, NO_WORKER)


def command_place(command: str, args: list[str], env_names: list[str]) -> str:
    """The counterpart of a URL's origin for a command: a digest of its command line."""
    words = strict_json.dumps([command, list(args), list(env_names)])
    return f"stdio:{hashlib.sha256(words).hexdigest()}"


@dataclass(frozen=True, slots=True)
class SupervisorAddress:
    """The socket and the secret of this host's supervisor."""

    socket: str
    secret: str = field(repr=False)

    @classmethod
    def from_environment(cls) -> "SupervisorAddress | None":
        """The address that ``serve`` passed, if commands are enabled."""
        socket, _, secret = os.environ.get(VARIABLE, "").rpartition(":")
        return cls(socket, secret) if socket else None

    def written(self) -> dict[str, str]:
        """The environment for child processes of ``serve``."""
        return {VARIABLE: f"{self.socket}:{self.secret}"}

    def target(self, server_id: UUID, path: bytes = b"/mcp") -> Target:
        """The target for a server. Each server has its own connections, so that none uses those of others."""
        return Target(Origin("http", f"{server_id.hex}.stdio", 80, socket=self.socket), path)

    def headers(self, launch: Launch, holder: Holder) -> Headers:
        """The headers of a request about a command."""
        return ((SECRET, self.secret.encode()), (LAUNCH, launch.encode()), (HOLDER, holder.encode()))

    def own_headers(self) -> Headers:
        """The headers of other requests."""
        return ((SECRET, self.secret.encode()),)

    def is_secret(self, value: bytes) -> bool:
        """Whether the value is the secret, compared in constant time."""
        return hmac.compare_digest(value, self.secret.encode())
