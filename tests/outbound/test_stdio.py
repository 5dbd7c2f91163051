"""The allowed command lines and variables of stdio servers."""

import pytest

from app.outbound.stdio import (
    NO_WORKER,
    AllowedCommands,
    Holder,
    Launch,
    is_variable_name,
    read_commands,
    secret_values,
)


def test_an_entry_is_taken_word_for_word_and_only_a_star_lets_more_follow() -> None:
    allowed = read_commands('["/opt/time --zone UTC", "/opt/files /srv/shared *"]')
    assert allowed.allow("/opt/time", ["--zone", "UTC"])
    assert not allowed.allow("/opt/time", [])
    assert not allowed.allow("/opt/time", ["--zone", "UTC", "--more"])
    assert not allowed.allow("/opt/time", ["--zone UTC"])
    assert allowed.allow("/opt/files", ["/srv/shared"])
    assert allowed.allow("/opt/files", ["/srv/shared", "/srv/other"])
    assert not allowed.allow("/opt/files", ["/etc"])
    assert not allowed.allow("/opt/files/../sh", ["/srv/shared"])
    assert not AllowedCommands().allow("/opt/time", [])


def test_commands_are_read_from_json_or_separated_by_commas() -> None:
    assert read_commands("/a b, /c 'd e'").entries == (("/a", "b"), ("/c", "d e"))
    assert read_commands('[["/a", "b c"]]').entries == (("/a", "b c"),)
    assert not read_commands("")


@pytest.mark.parametrize("text", ["npx -y", '["a"]', "[1]", "[[]]", "[", '["/a \\"b"]'])
def test_what_is_no_absolute_program_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_commands(text)


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "HOME", "LD_PRELOAD", "ld_preload", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "NODE_OPTIONS",
        "npm_config_registry", "UV_INDEX_URL", "GIT_CONFIG", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_PARAMETERS",
        "git_config_key_0", "GIT_CONFIG_KEY_", "GIT_CONFIG_KEY_0000", "GIT_CONFIG_KEY_0\n", "GIT_SSH",
        "PIP_INDEX_URL", "GIT_SSH_COMMAND", "BASH_ENV", "SCOPEGATE_TOKEN",
        "JAVA_TOOL_OPTIONS", "GLIBC_TUNABLES", "1A", "A-B", "A=B", "", "A\n",
    ],
)  # fmt: skip
def test_a_variable_that_chooses_what_runs_may_not_be_given(name: str) -> None:
    assert not is_variable_name(name)


def test_an_ordinary_variable_may_be_given() -> None:
    assert all(
        map(is_variable_name, ["GITHUB_TOKEN", "API_KEY", "api_key", "GIT_TOKEN", "AWS_SECRET_ACCESS_KEY"])
    )


def test_settings_of_git_may_be_given_and_are_no_secrets() -> None:
    settings = ["GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_12"]
    assert all(map(is_variable_name, settings))
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
