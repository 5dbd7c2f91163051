"""The allowed command lines and variables of stdio servers."""

import pytest

from app.outbound.stdio import (
    NO_WORKER,
    AllowedCommand,
    AllowedCommands,
    Holder,
    Launch,
    is_variable_name,
    read_commands,
    secret_values,
)


def allows(allowed: AllowedCommands, command: str, *args: str, **variables: str) -> bool:
    return allowed.allow(Launch(NO_WORKER, command, args, tuple(variables.items())))


def test_an_entry_is_taken_word_for_word_and_only_a_star_lets_more_follow() -> None:
    allowed = read_commands('["/opt/time --zone UTC", "/opt/files /srv/shared *"]')
    assert allows(allowed, "/opt/time", "--zone", "UTC")
    assert not allows(allowed, "/opt/time")
    assert not allows(allowed, "/opt/time", "--zone", "UTC", "--more")
    assert not allows(allowed, "/opt/time", "--zone UTC")
    assert allows(allowed, "/opt/files", "/srv/shared")
    assert allows(allowed, "/opt/files", "/srv/shared", "/srv/other")
    assert not allows(allowed, "/opt/files", "/etc")
    assert not allows(allowed, "/opt/files/../sh", "/srv/shared")
    assert not allows(AllowedCommands(), "/opt/time")


def test_only_the_names_of_an_entry_may_be_set_for_its_command_line() -> None:
    allowed = read_commands(
        '[{"command": "/opt/git *", "variables": ["GIT_TOKEN"]},'
        ' {"command": ["/opt/git", "log"], "variables": ["LOG"]}, "/opt/time"]'
    )
    assert allowed.variables("/opt/git", ["status"]) == frozenset({"GIT_TOKEN"})
    assert allowed.variables("/opt/git", ["log"]) == frozenset({"GIT_TOKEN", "LOG"})
    assert allowed.variables("/opt/time", []) == frozenset()
    assert allowed.variables("/opt/other", []) is None
    assert allows(allowed, "/opt/git", "log", GIT_TOKEN="x", LOG="y")
    assert not allows(allowed, "/opt/git", "status", LOG="y")
    assert not allows(allowed, "/opt/git", "status", git_token="x")
    assert not allows(allowed, "/opt/time", GIT_TOKEN="x")


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "LD_PRELOAD", "PYTHONPATH", "NODE_OPTIONS", "BASH_ENV", "GIT_DIR", "GIT_SEQUENCE_EDITOR",
        "GIT_CONFIG_KEY_0", "XDG_CONFIG_HOME", "OPENSSL_CONF", "OPENSSL_MODULES", "KUBECONFIG", "AWS_CONFIG_FILE",
        "DOTNET_ADDITIONAL_DEPS", "LESSOPEN", "MANPAGER", "NEWEST_LOADER_OPTIONS",
    ],
)  # fmt: skip
def test_a_name_that_no_entry_lists_may_not_be_set(name: str) -> None:
    allowed = read_commands('["/opt/a *", {"command": "/opt/b", "variables": ["API_KEY"]}]')
    assert not allows(allowed, "/opt/b", **{name: "x"})


def test_commands_are_read_from_json_or_separated_by_commas() -> None:
    assert read_commands("/a b, /c 'd e'").entries == (
        AllowedCommand(("/a", "b")),
        AllowedCommand(("/c", "d e")),
    )
    assert read_commands('[["/a", "b c"], {"command": "/d"}]').entries == (
        AllowedCommand(("/a", "b c")),
        AllowedCommand(("/d",)),
    )
    assert not read_commands("")


def test_what_is_written_for_the_supervisor_is_read_as_it_was_meant() -> None:
    allowed = AllowedCommands(
        (AllowedCommand(("/a", "b c", "*"), frozenset({"B", "A"})), AllowedCommand(("/d",)))
    )
    assert read_commands(allowed.written()) == allowed


@pytest.mark.parametrize(
    "text",
    [
        "npx -y", '["a"]', "[1]", "[[]]", "[", '["/a \\"b"]', '[{"command": "a"}]', '[{"variables": ["A"]}]',
        '[{"command": "/a", "variables": "A"}]', '[{"command": "/a", "variables": ["A=B"]}]',
        '[{"command": "/a", "variables": [1]}]', '[{"command": "/a", "vars": ["A"]}]',
    ],
)  # fmt: skip
def test_what_is_no_absolute_program_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_commands(text)


def test_a_name_is_one_of_letters_digits_and_underscores() -> None:
    assert all(map(is_variable_name, ["GITHUB_TOKEN", "api_key", "_A1"]))
    assert not any(map(is_variable_name, ["1A", "A-B", "A=B", "", "A\n", "A B", "Ä", "A" * 101]))


def test_settings_of_git_are_no_secrets() -> None:
    settings = ["GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_12"]
    assert secret_values([("GIT_TOKEN", "s3cret"), *((name, "/srv/wiki") for name in settings)]) == (
        b"s3cret",
    )


def test_what_is_said_to_the_supervisor_is_read_as_it_was_meant_and_shows_no_value() -> None:
    launch = Launch(NO_WORKER, "/a", ("b c", "d"), (("KEY", "line\nline é"),))
    assert Launch.decode(launch.encode()) == launch
    assert "line" not in repr(launch)
    holder = Holder(NO_WORKER, NO_WORKER, NO_WORKER)
    assert Holder.decode(holder.encode()) == holder
    for bad in (b"", b"AAAA", b"!", holder.encode()[:-1]):
        with pytest.raises(ValueError, match=r"."):
            Launch.decode(bad)
