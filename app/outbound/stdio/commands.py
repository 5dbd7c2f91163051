"""The allowed command lines and environment variables of stdio servers."""

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FREE = "*"
"""As the last word of an entry, allows any further arguments."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
# Variables that select the code that runs, or that Scopegate uses: credentials cannot set them.
_RESERVED = frozenset(
    "PATH HOME TMPDIR LANG USER LOGNAME SHELL PWD IFS ENV BASH_ENV BASHOPTS SHELLOPTS PS4 CDPATH GCONV_PATH LOCPATH "
    "NLSPATH HOSTALIASES RES_OPTIONS GLIBC_TUNABLES JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH "
    "DOTNET_STARTUP_HOOKS EDITOR VISUAL PAGER BROWSER".split()
)
_RESERVED_PREFIXES = tuple(
    "LD_ DYLD_ PYTHON NODE_OPTIONS NODE_PATH NPM_ YARN_ BUN_ DENO_ UV_ PIP_ PERL RUBY BUNDLE_ GEM_ LUA_ PHP COR_ "
    "CORECLR_ MALLOC_ SCOPEGATE_ _SCOPEGATE GIT_SSH GIT_EXEC GIT_CONFIG GIT_ASKPASS GIT_EDITOR GIT_PAGER "
    "GIT_EXTERNAL GIT_PROXY GIT_TEMPLATE BASH_FUNC SSH_ASKPASS SUDO_".split()
)


# Git settings in environment variables (git-config(1)). Many of them name programs to run, so only these are allowed.
_GIT_SETTING = re.compile(r"GIT_CONFIG_(COUNT|(KEY|VALUE)_[0-9]{1,3})")
GIT_KEYS = ("safe.directory", "user.name", "user.email", "init.defaultbranch", "core.quotepath")


@dataclass(frozen=True, slots=True)
class AllowedCommands:
    """Allowed command lines: the absolute path of a program and its exact arguments."""

    entries: tuple[tuple[str, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries)

    def allow(self, command: str, args: Sequence[str]) -> bool:
        """Whether an entry equals this command line, or is a prefix of it and ends in ``*``."""
        words = (command, *args)
        return any(
            words[: len(entry) - 1] == entry[:-1] if entry[-1] == FREE else words == entry
            for entry in self.entries
        )


def read_commands(text: str) -> AllowedCommands:
    """Parse a setting: a JSON list of command lines, or command lines separated by commas. Raises ``ValueError``."""
    listed = text.lstrip().startswith("[")
    lines = json.loads(text) if listed else [part for part in text.split(",") if part.strip()]
    entries = []
    for line in lines:
        words = shlex.split(line) if isinstance(line, str) else line
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("give it as a JSON list of command lines")
        if not words or not words[0].startswith("/") or "\0" in "".join(words):
            raise ValueError("each command line begins with the absolute path of a program")
        entries.append(tuple(words))
    return AllowedCommands(tuple(entries))


def is_variable_name(name: str) -> bool:
    """Whether a credential can set a variable with this name."""
    upper = name.upper()
    if _GIT_SETTING.fullmatch(name):
        return True
    return bool(_NAME.fullmatch(name)) and upper not in _RESERVED and not upper.startswith(_RESERVED_PREFIXES)


def is_variable_value(name: str, value: str) -> bool:
    """Whether a variable with an allowed name can have this value."""
    return not name.startswith("GIT_CONFIG_KEY_") or value.lower() in GIT_KEYS


def secret_values(variables: Iterable[tuple[str, str]]) -> tuple[bytes, ...]:
    """The values that must not appear in a command's output. Git settings are not secrets."""
    return tuple(value.encode() for name, value in variables if not _GIT_SETTING.fullmatch(name))
