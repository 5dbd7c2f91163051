"""Which command lines may be run, and which variables they may be given."""

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FREE = "*"
"""The last word of an entry that lets further arguments follow."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
# What chooses the code that runs, or belongs to us: a credential may not be one of these.
_OURS = frozenset(
    "PATH HOME TMPDIR LANG USER LOGNAME SHELL PWD IFS ENV BASH_ENV BASHOPTS SHELLOPTS PS4 CDPATH GCONV_PATH LOCPATH "
    "NLSPATH HOSTALIASES RES_OPTIONS GLIBC_TUNABLES JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH "
    "DOTNET_STARTUP_HOOKS EDITOR VISUAL PAGER BROWSER".split()
)
_OURS_BEGIN = tuple(
    "LD_ DYLD_ PYTHON NODE_OPTIONS NODE_PATH NPM_ YARN_ BUN_ DENO_ UV_ PIP_ PERL RUBY BUNDLE_ GEM_ LUA_ PHP COR_ "
    "CORECLR_ MALLOC_ SCOPEGATE_ _SCOPEGATE GIT_SSH GIT_EXEC GIT_CONFIG GIT_ASKPASS GIT_EDITOR GIT_PAGER "
    "GIT_EXTERNAL GIT_PROXY GIT_TEMPLATE BASH_FUNC SSH_ASKPASS SUDO_".split()
)


# Settings of Git by environment (git-config(1)). Many settings name programs that Git runs, so only these may be set.
_GIT_SETTING = re.compile(r"GIT_CONFIG_(COUNT|(KEY|VALUE)_[0-9]{1,3})")
GIT_KEYS = ("safe.directory", "user.name", "user.email", "init.defaultbranch", "core.quotepath")


@dataclass(frozen=True, slots=True)
class AllowedCommands:
    """Command lines, each a program by its absolute path and its arguments, word for word."""

    entries: tuple[tuple[str, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries)

    def allow(self, command: str, args: Sequence[str]) -> bool:
        """Whether one of the entries is this command line, or begins it where an entry ends in ``*``."""
        words = (command, *args)
        return any(
            words[: len(entry) - 1] == entry[:-1] if entry[-1] == FREE else words == entry
            for entry in self.entries
        )


def read_commands(text: str) -> AllowedCommands:
    """Read a setting: a JSON list of command lines, or command lines separated by commas. Raises ``ValueError``."""
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
    """Whether a command may be given a variable of this name."""
    upper = name.upper()
    if _GIT_SETTING.fullmatch(name):
        return True
    return bool(_NAME.fullmatch(name)) and upper not in _OURS and not upper.startswith(_OURS_BEGIN)


def is_variable_value(name: str, value: str) -> bool:
    """Whether a variable of an allowed name may have this value."""
    return not name.startswith("GIT_CONFIG_KEY_") or value.lower() in GIT_KEYS


def secret_values(variables: Iterable[tuple[str, str]]) -> tuple[bytes, ...]:
    """The values that may not come back in what a command answers. Settings of Git are no secrets."""
    return tuple(value.encode() for name, value in variables if not _GIT_SETTING.fullmatch(name))
