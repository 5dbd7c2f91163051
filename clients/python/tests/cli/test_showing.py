"""What `sgctl` shows, and what it does not."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from scopegate_client import Secret
from scopegate_client.cli import values
from scopegate_client.cli.inert import inert, masked
from scopegate_client.cli.output import shown, to_json

Sgctl = Callable[..., tuple[int, str, str]]

SECRET = "sgt_" + "0" * 22 + "_" + "A" * 49
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
STEERING = ["\x1b[2J", "\x07", "\x9b31m", "\x08", "\r", "\n", "\u202e", "\u2066", "\u200b", "\x7f", "\ud800"]


@pytest.mark.parametrize("steering", STEERING)
def test_nothing_that_a_server_says_steers_the_terminal(steering: str) -> None:
    for text in (inert(f"a{steering}b"), shown([f"a{steering}b"]), to_json({"name": f"a{steering}b"})):
        assert steering[0] not in text
    assert json.loads(to_json({"name": f"a{steering}b"})) == {"name": f"a{steering}b"}


def test_a_secret_is_masked_wherever_it_comes_up() -> None:
    assert masked(f"no such thing: {SECRET}.") == "no such thing: sgt_**********."
    assert SECRET not in shown(SECRET)
    assert masked("sgt_laptop, sg_x") == "sgt_laptop, sg_x"
    assert to_json({"secret": Secret(SECRET)}) == '{"secret": null}'


def test_a_secret_among_the_arguments_is_refused_and_not_repeated(sgctl: Sgctl) -> None:
    for arguments in (
        ("token", "show", SECRET),
        ("login", f"--client-secret={SECRET}"),
        (SECRET,),
        ("identity", "show", JWT),
    ):
        code, out, err = sgctl(*arguments)
        assert code == 2
        assert SECRET not in out + err
        assert JWT not in out + err


def test_times_are_spans_or_dates() -> None:
    now = dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=30) <= values.later("30d") - now < dt.timedelta(days=30, minutes=2)
    assert dt.timedelta(hours=1) >= now - values.earlier("60m") > dt.timedelta(minutes=58)
    assert values.later("2026-12-31T18:00:00+01:00") == dt.datetime(2026, 12, 31, 17, tzinfo=dt.UTC)
    assert values.seconds("15m") == 900


@pytest.mark.parametrize("arguments", [
    (), ("nonsense",), ("token",), ("token", "issue"), ("token", "show", "tok_1"),
    ("token", "list", "--status", "lost"), ("token", "issue", "-i", "ada", "--name", "x", "--expires", "soon"),
    ("whoami", "-o", "xml"), ("offboard", "--reason", "x"), ("offboard", "a", "--user-name", "b", "-r", "x"),
    ("whoami", "--profile", "../../x"), ("connect", "cursor"), ("login",), ("login", "--url", "http://example.com"),
])  # fmt: skip
def test_wrong_usage_is_exit_code_2_and_no_traceback(sgctl: Sgctl, arguments: tuple[str, ...]) -> None:
    code, out, err = sgctl(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err


def test_the_library_and_a_clear_word_where_the_extra_is_not_installed() -> None:
    program = (
        "import sys\n"
        "for name in ('typer', 'rich', 'platformdirs', 'tomlkit'): sys.modules[name] = None\n"
        "import scopegate_client, scopegate_client.cli\n"
        "sys.exit(scopegate_client.cli.main(['whoami']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ".whl[cli]'" in ended.stderr
    assert "scopegate-client" not in ended.stderr, "it is on no package index"
    assert "Traceback" not in ended.stderr
