"""dev.json holds secrets, has the shape that other programs rely on, and is whole or absent."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.cli import dev as dev_file
from app.cli.dev import DevFile, SignIn
from app.cli.errors import CannotStart

SIGN_IN = SignIn("http://127.0.0.1:8081", {"ada": "secret"})
KNOWN = DevFile(
    "http://127.0.0.1:8080", "sa_1", "sgc_secret", ["time", "git"], {"maria": "sgt_secret"}, SIGN_IN
)


def test_it_has_the_shape_of_the_contract_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    KNOWN.write(tmp_path)
    path = tmp_path / "dev.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {
        "url": "http://127.0.0.1:8080",
        "console_url": "http://127.0.0.1:8080/console",
        "mcp_url": "http://127.0.0.1:8080/mcp",
        "client_id": "sa_1",
        "client_secret": "sgc_secret",
        "demo": {"servers": ["time", "git"], "tokens": {"maria": "sgt_secret"}},
        "oidc": {
            "issuer": "http://127.0.0.1:8081",
            "client_id": "scopegate-demo",
            "scope": "openid profile email groups",
            "passwords": {"ada": "secret"},
        },
    }
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    assert dev_file.read(tmp_path) is None
    KNOWN.write(tmp_path)
    KNOWN.write(tmp_path)
    assert dev_file.read(tmp_path) == KNOWN


def test_a_file_of_before_there_was_a_provider_and_one_without_are_read(tmp_path: Path) -> None:
    without = replace(KNOWN, sign_in=None)
    without.write(tmp_path)
    assert "oidc" not in json.loads((tmp_path / "dev.json").read_text())
    assert dev_file.read(tmp_path) == without


def test_no_secret_is_in_its_representation() -> None:
    assert "secret" not in repr(KNOWN).replace("client_secret", "")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"url": 1, "demo": null}', "\x00"])
def test_a_damaged_file_is_named_with_the_mend(tmp_path: Path, content: str) -> None:
    (tmp_path / "dev.json").write_text(content)
    with pytest.raises(CannotStart, match=r"dev\.json.*remove it"):
        dev_file.read(tmp_path)
