"""MCP servers that run as commands: the allowed ones, and the protocol between a host's workers and its supervisor.

Every request contains the command and its variables, so the supervisor needs neither the database nor a key. A secret
authenticates the workers, because commands can run as the same user.
"""

import hashlib
import hmac
import json
import os
import re
import shlex
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
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
        parts: list[strict_json.JsonValue] = [self.server_id.hex, self.command]
        return b64encode(strict_json.dumps([*parts, list(self.args), dict(self.variables)]))

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


FREE = "*"
"""As the last word of an entry, allows any further arguments."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")

# Git settings in environment variables (git-config(1)). Many of them name programs to run, so only these are allowed.
_GIT_SETTING = re.compile(r"GIT_CONFIG_(COUNT|(KEY|VALUE)_[0-9]{1,3})")

GIT_KEYS = ("safe.directory", "user.name", "user.email", "init.defaultbranch", "core.quotepath")


@dataclass(frozen=True, slots=True)
class AllowedCommand:
    """An entry of the operator: the absolute path of a program and its exact arguments, and the names of the
    environment variables that a credential may set."""

    words: tuple[str, ...]
    variables: frozenset[str] = frozenset()

    def fits(self, command: str, args: Sequence[str]) -> bool:
        """Whether the entry equals this command line, or is a prefix of it and ends in ``*``."""
        words = (command, *args)
        if self.words[-1] == FREE:
            return words[: len(self.words) - 1] == self.words[:-1]
        return words == self.words


@dataclass(frozen=True, slots=True)
class AllowedCommands:
    """All entries of the operator."""

    entries: tuple[AllowedCommand, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries)

    def variables(self, command: str, args: Sequence[str]) -> frozenset[str] | None:
        """The variables that a credential may set for this command line; ``None`` if it may not run at all."""
        fitting = [entry.variables for entry in self.entries if entry.fits(command, args)]
        return frozenset().union(*fitting) if fitting else None

    def allow(self, launch: Launch) -> bool:
        """Whether this command line may run with these variables."""
        variables = self.variables(launch.command, launch.args)
        return variables is not None and all(name in variables for name, _ in launch.variables)

    def written(self) -> str:
        """As a setting that ``read_commands`` reads."""
        return json.dumps(
            [{"command": entry.words, "variables": sorted(entry.variables)} for entry in self.entries]
        )


def read_commands(text: str) -> AllowedCommands:
    """Parse a setting: a JSON list of entries, or command lines separated by commas. Raises ``ValueError``.

    An entry is a command line, which is text or a list of words, or an object with a ``command`` and a list of
    ``variables``.
    """
    listed = text.lstrip().startswith("[")
    entries = json.loads(text) if listed else [part for part in text.split(",") if part.strip()]
    return AllowedCommands(tuple(map(_entry, entries)))


def _entry(value: object) -> AllowedCommand:
    match value:
        case {"command": line, "variables": list(names), **others} if not others:
            return AllowedCommand(_words(line), frozenset(map(_checked_name, names)))
        case {"command": line, **others} if not others:
            return AllowedCommand(_words(line))
        case dict():
            raise ValueError(
                'an entry with variables is {"command": "/opt/server --flag", "variables": ["NAME"]}'
            )
    return AllowedCommand(_words(value))


def _words(line: object) -> tuple[str, ...]:
    words = shlex.split(line) if isinstance(line, str) else line
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("give it as a JSON list of command lines")
    if not words or not words[0].startswith("/") or "\0" in "".join(words):
        raise ValueError("each command line begins with the absolute path of a program")
    return tuple(words)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not is_variable_name(name):
        raise ValueError("the name of a variable consists of letters, digits and underscores")
    return name


def is_variable_name(name: str) -> bool:
    """Whether a variable can have this name (POSIX.1-2017, 8.1)."""
    return bool(_NAME.fullmatch(name))


def is_variable_value(name: str, value: str) -> bool:
    """Whether a variable with an allowed name can have this value."""
    return not name.startswith("GIT_CONFIG_KEY_") or value.lower() in GIT_KEYS


def secret_values(variables: Iterable[tuple[str, str]]) -> tuple[bytes, ...]:
    """The values that must not appear in a command's output. Git settings are not secrets."""
    return tuple(value.encode() for name, value in variables if not _GIT_SETTING.fullmatch(name))
