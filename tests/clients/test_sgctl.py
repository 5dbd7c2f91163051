"""`sgctl` and the real service."""

import io
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from scopegate_client import Client, _exchange
from scopegate_client.cli import main

from tests.clients.live import Live

Sgctl = Callable[..., tuple[int, str, str]]


def name(stem: str) -> str:
    """A name that no other test has."""
    return f"{stem}-{uuid4().hex[:12]}"


@pytest.fixture
def owner(open_client: Callable[..., Client]) -> Client:
    """The owner's client, to prepare what a test needs and to look at what came of it."""
    return open_client()


@pytest.fixture
def run_sgctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sgctl:
    """Runs a command in this process, nobody being signed in; the value is its exit code and its two outputs."""
    monkeypatch.setenv("SGCTL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("SGCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_exchange, "FIRST_PAUSE_S", 0.001)

    def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def sgctl(run_sgctl: Sgctl, live: Live) -> Sgctl:
    """The same, signed in as the owner."""
    code, _, err = sign_in(run_sgctl, live)
    assert code == 0, err
    return run_sgctl


def sign_in(sgctl: Sgctl, live: Live, *options: str) -> tuple[int, str, str]:
    """Sign in as the owner."""
    account = ("--url", live.url, "--client-id", live.owner_client_id)
    return sgctl("login", *account, "--client-secret-stdin", *options, stdin=f"{live.owner.secret}\n")


def test_signing_in_keeps_the_secret_for_its_owner_alone(
    run_sgctl: Sgctl, live: Live, tmp_path: Path
) -> None:
    code, out, err = sign_in(run_sgctl, live)
    assert code == 0
    assert live.owner.secret not in out + err
    kept = tmp_path / "config" / "profiles" / "default.json"
    assert json.loads(kept.read_text())["client_secret"] == live.owner.secret
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == stat.S_IMODE(kept.parents[1].stat().st_mode) == 0o700
    assert [path.name for path in kept.parent.iterdir()] == ["default.json"], "an unfinished file is left"
    assert json.loads(run_sgctl("whoami", "-o", "json")[1])["id"] == live.owner_client_id


def test_a_directory_of_others_keeps_its_mode_and_the_one_in_it_is_closed(
    run_sgctl: Sgctl, live: Live, tmp_path: Path
) -> None:
    shared = tmp_path / "config"
    (shared / "profiles").mkdir(parents=True)
    for directory in (shared, shared / "profiles"):
        directory.chmod(0o755)
    assert sign_in(run_sgctl, live)[0] == 0
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    assert stat.S_IMODE((shared / "profiles").stat().st_mode) == 0o700


def test_signing_in_again_needs_the_secret_alone(sgctl: Sgctl, live: Live) -> None:
    code, _, err = sgctl("login", "--client-secret-stdin", stdin=live.owner.secret)
    assert code == 0, err


def test_a_credential_that_others_can_read_is_not_used(sgctl: Sgctl, tmp_path: Path) -> None:
    kept = tmp_path / "config" / "profiles" / "default.json"
    kept.chmod(0o644)
    code, _, err = sgctl("whoami")
    assert code == 1
    assert "chmod 600" in err


def test_a_credential_that_does_not_work_is_not_kept(run_sgctl: Sgctl, live: Live, tmp_path: Path) -> None:
    account = ("--url", live.url, "--client-id", live.owner_client_id)
    code, _, err = run_sgctl("login", *account, "--client-secret-stdin", stdin="sgc_wrong")
    assert code == 4
    assert "invalid_client" in err
    assert not (tmp_path / "config").exists()


def test_profiles_stand_side_by_side_and_are_forgotten_one_by_one(run_sgctl: Sgctl, live: Live) -> None:
    with Client(live.url, client_id=live.owner_client_id, client_secret=live.owner.secret) as client:
        client.me.get()
        bearer = live.owner.bearer
    code, _, err = run_sgctl("login", "--url", live.url, "--access-token-stdin", "-p", "short", stdin=bearer)
    assert code == 0, err
    assert bearer not in err
    sign_in(run_sgctl, live, "--profile", "long")
    assert [line.split("\t")[0] for line in run_sgctl("profile", "list")[1].splitlines()] == ["long", "short"]
    assert run_sgctl("whoami", "-p", "short")[0] == run_sgctl("whoami", "-p", "long")[0] == 0
    assert run_sgctl("logout", "-p", "short")[0] == 0
    assert run_sgctl("whoami", "-p", "short")[0] == 4
    assert run_sgctl("whoami", "-p", "long")[0] == 0


def test_the_environment_signs_in_too(run_sgctl: Sgctl, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEGATE_URL", live.url)
    monkeypatch.setenv("SCOPEGATE_CLIENT_ID", live.owner_client_id)
    monkeypatch.setenv("SCOPEGATE_CLIENT_SECRET", live.owner.secret)
    assert run_sgctl("whoami")[0] == 0


@pytest.fixture
def auditor(run_sgctl: Sgctl, live: Live, owner: Client) -> str:
    """The id of a service account that `sgctl` is signed in as, and nothing else."""
    account = owner.service_accounts.create(
        name=name("auditor"), owner_id=str(owner.me.get().identity_id), role="auditor"
    )
    made = owner.service_accounts.create_credential(account.id)
    options = ("--url", live.url, "--client-id", account.id, "--client-secret-stdin")
    assert run_sgctl("login", *options, stdin=made.client_secret.reveal())[0] == 0
    return account.id


def sign_ins(owner: Client, account_id: str) -> int:
    """How many sign-ins of an account the audit log has."""
    return len(list(owner.audit_events.list(action="service_account.sign_in", actor_id=account_id)))


def test_commands_share_one_sign_in(
    run_sgctl: Sgctl, live: Live, owner: Client, auditor: str, tmp_path: Path
) -> None:
    assert [run_sgctl("whoami")[0], run_sgctl("server", "list")[0], run_sgctl("token", "list")[0]] == [
        0,
        0,
        0,
    ]
    assert sign_ins(owner, auditor) == 1
    (kept,) = (tmp_path / "cache" / "bearers").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == stat.S_IMODE(kept.parents[1].stat().st_mode) == 0o700
    secret = json.loads((tmp_path / "config" / "profiles" / "default.json").read_text())["client_secret"]
    assert secret not in kept.read_text()
    assert auditor not in kept.name
    sign_in(run_sgctl, live, "--profile", "owner")
    assert len(list(kept.parent.iterdir())) == 2, "another account must not get this bearer"


@pytest.mark.parametrize("fault", ["refused", "expired", "readable by others", "not a bearer", "not JSON"])
def test_a_cached_bearer_that_is_no_good_is_replaced(
    run_sgctl: Sgctl, owner: Client, auditor: str, tmp_path: Path, fault: str
) -> None:
    (kept,) = (tmp_path / "cache" / "bearers").iterdir()
    good = json.loads(kept.read_text())
    bearer, expires_at = good["access_token"], good["expires_at"]
    match fault:
        case "refused":
            bearer = bearer[:-10] + "0" * 10
        case "expired":
            expires_at = 1_700_000_000
        case "not a bearer":
            bearer += "\r\nX-Injected: 1"
        case "readable by others":
            kept.chmod(0o644)
    kept.write_text(
        "{" if fault == "not JSON" else json.dumps({"access_token": bearer, "expires_at": expires_at})
    )
    assert [run_sgctl("whoami")[0], run_sgctl("whoami")[0]] == [0, 0]
    assert sign_ins(owner, auditor) == 2
    assert json.loads(kept.read_text())["access_token"] not in {good["access_token"], bearer}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_revoked_credential_ends_what_is_cached(
    run_sgctl: Sgctl, owner: Client, auditor: str, tmp_path: Path
) -> None:
    for credential in owner.service_accounts.list_credentials(auditor):
        owner.service_accounts.revoke_credential(auditor, credential.id)
    assert run_sgctl("whoami")[0] == 4
    assert list((tmp_path / "cache" / "bearers").iterdir()) == []


def test_signing_in_tries_the_secret_and_not_the_cached_bearer(
    run_sgctl: Sgctl, auditor: str, live: Live, tmp_path: Path
) -> None:
    options = ("--url", live.url, "--client-id", auditor, "--client-secret-stdin")
    assert run_sgctl("login", *options, stdin="sgc_wrong")[0] == 4
    assert run_sgctl("whoami")[0] == 0
    assert run_sgctl("logout")[0] == 0
    assert list((tmp_path / "cache" / "bearers").iterdir()) == []


def test_a_cache_that_cannot_be_written_costs_no_command(
    run_sgctl: Sgctl, owner: Client, auditor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SGCTL_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert run_sgctl("whoami")[0] == 0
    assert sign_ins(owner, auditor) == 2


def test_a_kept_secret_goes_to_no_other_address(sgctl: Sgctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEGATE_URL", "https://elsewhere.example.com")
    code, _, err = sgctl("whoami")
    assert code == 2
    assert "SCOPEGATE_URL" in err


def test_a_token_from_issue_to_revocation(sgctl: Sgctl, owner: Client, tmp_path: Path) -> None:
    user_name = name("ada")
    owner.identities.create(kind="person", user_name=user_name)
    code, out, err = sgctl("token", "issue", "-i", user_name, "--name", "laptop", "--expires", "7d")
    assert code == 0, err
    secret = out.strip()
    assert secret.startswith("sgt_"), "into a pipe the secret is the whole answer"
    assert secret not in err
    (token,) = json.loads(sgctl("token", "list", "-i", user_name, "-o", "json")[1])
    assert token["name"] == "laptop"
    assert sgctl("token", "list", "-i", user_name)[1].split("\t")[:2] == [token["id"], "laptop"]

    file = tmp_path / "secret"
    rotated = sgctl(
        "token", "rotate", token["id"], "--overlap", "15m", "--secret-file", str(file), "-o", "json"
    )
    assert rotated[0] == 0, rotated[2]
    assert json.loads(rotated[1])["secret"] is None
    assert json.loads(rotated[1])["token"]["overlap_until"] is not None
    assert file.read_text().startswith("sgt_")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in sgctl("token", "show", token["id"])[1]

    preview = sgctl("token", "revoke", token["id"], "--reason", "lost", "--dry-run", "-o", "json")[1]
    assert json.loads(preview)["revoked"]["tokens"] == [token["id"]]
    assert owner.tokens.get(token["id"]).status == "active"
    assert sgctl("token", "revoke", token["id"], "--reason", "lost")[0] == 0
    assert owner.tokens.get(token["id"]).revoke_reason == "lost"


def test_issuing_says_which_entries_of_the_scope_match_nothing(sgctl: Sgctl, owner: Client) -> None:
    user_name = name("ada")
    owner.identities.create(kind="person", user_name=user_name)
    code, out, err = sgctl("token", "issue", "-i", user_name, "--name", "laptop", "--tool", "git_sttus")
    assert code == 0, err
    assert out.startswith("sgt_")
    assert "It currently reaches 0 tools" in err
    assert "Warning: " in err
    (token,) = json.loads(sgctl("token", "list", "-i", user_name, "-o", "json")[1])
    shown = json.loads(sgctl("token", "show", token["id"], "-o", "json")[1])
    assert shown["warnings"][0]["pointer"].startswith("/scope/entries/0")


def test_a_secret_file_that_is_there_stops_before_anything_is_issued(
    sgctl: Sgctl, owner: Client, tmp_path: Path
) -> None:
    user_name = name("ada")
    identity = owner.identities.create(kind="person", user_name=user_name)
    file = tmp_path / "secret"
    file.write_text("another")
    assert sgctl("token", "issue", "-i", user_name, "--name", "x", "--secret-file", str(file))[0] == 1
    assert file.read_text() == "another"
    assert list(owner.tokens.list(identity_id=identity.id)) == []
    file.unlink()
    refused = sgctl("token", "issue", "-i", name("nobody"), "--name", "x", "--secret-file", str(file))
    assert refused[0] == 3
    assert not file.exists(), "an empty file is left"


def test_a_scope_by_options_and_by_file(sgctl: Sgctl, owner: Client, live: Live, tmp_path: Path) -> None:
    user_name, slug = name("ada"), name("notes")
    owner.identities.create(kind="person", user_name=user_name)
    server = owner.servers.create(slug=slug, name="Notes", url=live.upstream_url)
    issue = ("token", "issue", "-i", user_name, "--name", "x", "-o", "json")
    listed = json.loads(sgctl(*issue, "--server", slug, "--risk", "read", "--from", "10.0.0.0/8")[1])["token"]
    assert listed["scope"]["entries"][0]["servers"] == {"kind": "ids", "ids": [server.id]}
    assert listed["scope"]["entries"][0]["tools"] == {"kind": "risk", "risk": ["read"]}
    assert listed["ip_allow"] == ["10.0.0.0/8"]
    file = tmp_path / "scope.json"
    file.write_text(json.dumps(listed["scope"]))
    assert json.loads(sgctl(*issue, "--scope-file", str(file))[1])["token"]["scope"] == listed["scope"]
    assert sgctl("server", "show", slug)[0] == sgctl("server", "list")[0] == sgctl("grant", "list")[0] == 0


@pytest.mark.parametrize("by", ["--external-id", "--user-name", "name", "id"])
def test_offboarding_previews_and_prints_the_receipt(sgctl: Sgctl, owner: Client, by: str) -> None:
    user_name, external_id = name("leaver"), name("hr")
    leaver = owner.identities.create(kind="person", user_name=user_name, external_id=external_id)
    words = {
        "--external-id": ["--external-id", external_id],
        "--user-name": ["--user-name", user_name],
        "name": [user_name],
        "id": [leaver.id],
    }[by]
    code, out, err = sgctl("offboard", *words, "--reason", "left", "--dry-run", "-o", "json")
    assert code == 0, err
    assert json.loads(out)["receipt_id"] is None
    assert owner.identities.get(leaver.id).status == "active"
    code, out, err = sgctl("offboard", *words, "--reason", "left", "-o", "json")
    assert code == 0, err
    receipt = json.loads(out)
    assert receipt["identity"]["status"] == "offboarded"
    assert owner.audit_events.get(receipt["receipt_id"]).action == "identity.offboard"
    again = json.loads(sgctl("offboard", leaver.id, "--reason", "left", "-o", "json")[1])
    assert (again["changed"], again["receipt_id"]) == (False, receipt["receipt_id"])


def test_an_offboarding_can_be_set_for_later(sgctl: Sgctl, owner: Client) -> None:
    leaver = owner.identities.create(kind="person", user_name=name("leaver"))
    words = ("offboard", leaver.user_name, "--reason", "leaves", "--at", "30d")
    assert "this is what would end" in sgctl(*words, "--dry-run")[2]
    code, out, err = sgctl(*words)
    assert code == 0, err
    [scheduled] = owner.scheduled_offboardings.list(identity_id=leaver.id)
    assert scheduled.id in out + err
    assert "Nothing has ended yet" in out + err
    assert owner.identities.get(leaver.id).status == "active"
    assert sgctl("offboard", leaver.id, "--reason", "leaves", "--at", "some day")[0] == 2


def test_an_identity_is_suspended_and_reinstated_by_its_user_name(sgctl: Sgctl, owner: Client) -> None:
    user_name = name("ada")
    ada = owner.identities.create(kind="person", user_name=user_name, display_name="Ada \x9b31m\u202e")
    assert sgctl("identity", "suspend", user_name)[0] == 0
    assert owner.identities.get(ada.id).status == "suspended"
    assert sgctl("identity", "reinstate", user_name)[0] == 0
    assert owner.identities.get(ada.id).status == "active"
    shown = sgctl("identity", "show", user_name)[1] + sgctl("identity", "list", "-n", "0", "-o", "json")[1]
    assert "\x9b" not in shown
    assert "\u202e" not in shown


def test_a_person_is_invited_by_a_link_that_is_printed_once(sgctl: Sgctl, owner: Client) -> None:
    provider = owner.identity_providers.create(
        name="SSO",
        issuer=f"https://{name('sso')}.example.com",
        audiences=["scopegate"],
        client_id="scopegate",
    )
    words = ("invitation", "create", name("nora"), "--new", "--provider", provider.id)
    assert sgctl(*words)[0] == 2
    code, out, err = sgctl(*words, "--email", "nora@example.com")
    assert code == 0, err
    assert "/invitations/sgi_" in out
    [made] = [found for found in owner.invitations.list() if found.provider_id == provider.id]
    assert made.id in sgctl("invitation", "list", "--status", "pending", "-n", "0")[1]
    assert "sgi_" not in sgctl("invitation", "show", made.id)[1]
    assert sgctl("invitation", "confirm", made.id)[0] == 6
    assert sgctl("invitation", "revoke", made.id)[0] == 0
    assert owner.invitations.get(made.id).status == "revoked"


def test_the_audit_is_searched_and_followed_without_a_gap(sgctl: Sgctl, owner: Client) -> None:
    user_name = name("ada")
    ada = owner.identities.create(kind="person", user_name=user_name)
    owner.identities.suspend(ada.id)
    code, out, err = sgctl("audit", "search", "--object", ada.id, "-o", "json")
    assert code == 0, err
    found = json.loads(out)
    assert [event["action"] for event in found] == ["identity.suspend", "identity.create"]
    out, err = tailed(sgctl, "--object", ada.id, "-n", "1")
    assert [json.loads(line)["action"] for line in out.splitlines()] == ["identity.suspend"]
    here = err.split(":", 1)[1].split()
    owner.identities.reinstate(ada.id)
    out, _ = tailed(sgctl, "--object", ada.id, *here)
    assert [json.loads(line)["action"] for line in out.splitlines()] == ["identity.reinstate"]


def tailed(sgctl: Sgctl, *filters: str) -> tuple[str, str]:
    """What a tail brings, once it brings something: a transaction that is open anywhere holds events back."""
    while True:
        code, out, err = sgctl("audit", "tail", "--no-follow", "-o", "json", *filters)
        assert code == 0, err
        if out:
            return out, err


def test_a_list_that_goes_on_says_so(sgctl: Sgctl, owner: Client) -> None:
    stem = name("many")
    for number in range(3):
        owner.identities.create(kind="person", user_name=f"{stem}-{number}")
    code, out, err = sgctl("identity", "list", "--query", stem, "-n", "2")
    assert (code, len(out.splitlines())) == (0, 2)
    assert "--limit 0" in err
    code, out, err = sgctl("identity", "list", "--query", stem, "-n", "2", "--quiet")
    assert (code, len(out.splitlines()), err) == (0, 2, "")
    assert len(sgctl("identity", "list", "--query", stem, "-n", "0")[1].splitlines()) == 3


def test_each_failure_has_its_exit_code_and_one_sentence(
    sgctl: Sgctl, owner: Client, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_name = name("ada")
    ada = owner.identities.create(kind="person", user_name=user_name)
    auditor = owner.service_accounts.create(name=name("auditor"), owner_id=ada.id, role="auditor")
    credential = owner.service_accounts.create_credential(auditor.id)
    plain = credential.client_secret.reveal()
    account = ("--url", live.url, "--client-id", auditor.id)
    assert sgctl("login", *account, "--client-secret-stdin", "-p", "auditor", stdin=plain)[0] == 0
    issue = ("token", "issue", "-i", user_name, "--name", "x")
    sgctl(*issue)
    (token,) = json.loads(sgctl("token", "list", "-i", user_name, "-o", "json")[1])
    sgctl("token", "revoke", token["id"], "--reason", "lost")

    def failure(*arguments: str) -> tuple[int, str]:
        code, out, err = sgctl(*arguments)
        assert out == ""
        assert err.startswith("sgctl: ")
        assert err.count("\n") == 1, err
        return code, err

    code, err = failure(*issue, "--expires", "900d")
    assert code == 1
    assert "validation_failed, req_" in err
    assert failure("token", "show", f"evt_{ada.id.partition('_')[2]}")[0] == 2
    assert failure("token", "show", f"tok_{ada.id.partition('_')[2]}")[0] == 3
    assert failure("server", "show", "no-such-server")[0] == 3
    assert failure("whoami", "-p", "nobody")[0] == 4
    code, err = failure(*issue, "-p", "auditor")
    assert code == 5
    assert "tokens.issue" in err
    assert failure("token", "rotate", token["id"])[0] == 6
    monkeypatch.setenv("SCOPEGATE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SCOPEGATE_ACCESS_TOKEN", "x")
    assert failure("whoami")[0] == 7
    monkeypatch.setenv("SCOPEGATE_URL", live.url)
    assert failure("whoami")[0] == 4
