"""``scopegate receipt verify`` takes what was signed and refuses all else, with neither settings nor a database."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from app.cli.errors import CannotStart
from app.cli.receipts import verify_receipt
from app.crypto.signing import Signer
from app.features.offboarding.receipts import TYPE
from app.lib.ids import EVENT, IDENTITY, TOKEN, format_id, new_id

SIGNER = Signer([b"n" * 40, b"o" * 40], "https://gate.example.com")
PERSON, HEIR = format_id(IDENTITY, new_id()), format_id(IDENTITY, new_id())
CONTENT: dict[str, Any] = {
    "identity_id": PERSON,
    "kind": "person",
    "offboarded_at": datetime(2026, 1, 31, 17, tzinfo=UTC).isoformat(),
    "via": "schedule",
    "by": {"type": "system", "id": None, "on_behalf_of": HEIR},
    "request_id": None,
    "schedule": None,
    "tokens": [{"id": format_id(TOKEN, new_id()), "identity_id": PERSON}],
    "agents": {"suspended": [], "transferred": [PERSON], "transferred_to": HEIR, "heir_not_active": None},
    "approvals": [],
    "grants": [],
    "groups": [],
    "service_accounts": [],
    "administrator_id": None,
    "browser_sessions": 2,
    "in_flight": 3,
}
ID = format_id(EVENT, new_id())
SIGNED = SIGNER.sign({"jti": ID, "receipt": CONTENT}, type=TYPE).text


@pytest.fixture
def keys(tmp_path: Path) -> str:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": SIGNER.public_keys()}))
    return str(path)


@pytest.mark.slow
def test_a_genuine_one_is_summed_up_on_a_machine_that_has_nothing_but_the_keys(
    tmp_path: Path, keys: str
) -> None:
    place = tmp_path / "receipt.jws"
    place.write_text(SIGNED + "\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCOPEGATE_")}
    command = [sys.executable, "-m", "app.cli", "receipt", "verify"]

    def run(*words: str, sent: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *words],
            env=environment,
            input=sent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = run(str(place), "--keys", keys)
    assert (done.returncode, done.stderr) == (0, "")
    for said in (SIGNER.ids[0], "https://gate.example.com", PERSON, f"on behalf of {HEIR}, via schedule"):
        assert said in done.stdout
    assert "            1  tokens ended\n" in done.stdout
    assert f"            1  agents transferred to {HEIR}\n" in done.stdout
    # The API's answer, by a pipe; with a word of it changed, it is no proof any more.
    answer = {"id": ID, "identity_id": PERSON, "receipt": CONTENT, "signed": SIGNED, "key_id": SIGNER.ids[0]}
    assert run("-", "--keys", keys, sent=json.dumps(answer)).returncode == 0
    forged = run("-", "--keys", keys, sent=json.dumps(answer | {"receipt": CONTENT | {"in_flight": 0}}))
    assert (forged.returncode, forged.stdout) == (1, "")
    assert "NOT GENUINE: `signed` is valid, but differs" in forged.stderr
    for words in ((str(place),), (str(place), "--keys", keys, "--url", "https://gate.example.com")):
        assert run(*words).returncode == 2


def test_what_is_wrong_is_named_and_differs_from_what_cannot_be_read(tmp_path: Path, keys: str) -> None:
    def attempt(text: str, keys: str = keys) -> tuple[int, str]:
        (tmp_path / "receipt").write_text(text)
        with pytest.raises(CannotStart) as fault:
            verify_receipt(str(tmp_path / "receipt"), keys, None)
        return fault.value.code, str(fault.value)

    header, content, signature = SIGNED.split(".")
    other = Signer([b"x" * 40], "https://gate.example.com")
    for text, why in (
        (f"{header}.{content[:-8]}AAAAAAAA.{signature}", "it was changed"),
        (other.sign({"receipt": CONTENT}, type=TYPE).text, "is not among the keys"),
        (SIGNER.sign({"receipt": CONTENT}, type="at+jwt").text, "is not a scopegate-receipt+jwt"),
        (json.dumps({"receipt": CONTENT, "signed": None}), "it has no signature"),
        (json.dumps({"id": format_id(EVENT, new_id()), "signed": SIGNED}), "from the `id` next"),
        (json.dumps({"identity_id": HEIR, "signed": SIGNED}), "from the `identity_id` next"),
        (json.dumps({"key_id": SIGNER.ids[1], "signed": SIGNED}), "from the `key_id` next"),
        ("", "not a compact JWS"),
    ):
        code, said = attempt(text)
        assert (code, why in said) == (1, True), said
    newer = SIGNER.sign({"receipt": {"version": 9}}, type=TYPE).text
    assert attempt(newer)[0] == 2
    assert attempt("{")[0] == 2
    twice = json.dumps({"receipt": CONTENT | {"in_flight": 0}})[:-1] + json.dumps(
        {"receipt": CONTENT, "signed": SIGNED}
    ).replace("{", ", ", 1)
    assert attempt(twice)[0] == 2
    for wrong in ("[]", '{"keys": 1}', "{", '{"keys": ["a"]}'):
        (tmp_path / "wrong.json").write_text(wrong)
        assert attempt(SIGNED, str(tmp_path / "wrong.json"))[0] == 2
    assert attempt(SIGNED, str(tmp_path / "missing.json"))[0] == 2
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert attempt(SIGNED, str(tmp_path / "binary"))[0] == 2


def test_keys_come_from_the_service_over_https_alone(tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/.well-known/jwks.json"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": SIGNER.public_keys()}).encode() if known else b"")

        def log_message(self, *args: Any) -> None: ...

    (tmp_path / "receipt").write_text(SIGNED)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for good in (url, url + "/", url + "/.well-known/jwks.json"):
            assert "genuine" in verify_receipt(str(tmp_path / "receipt"), None, good)[0]
        for bad in (
            url + "/elsewhere",
            "http://gate.example.com",
            "gate.example.com",
            "https://",
            "http://127.0.0.1:1",
        ):
            with pytest.raises(CannotStart) as fault:
                verify_receipt(str(tmp_path / "receipt"), None, bad)
            assert fault.value.code == 2
        server.shutdown()
