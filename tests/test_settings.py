"""Settings are read once and a wrong one stops the start with one line; missing keys are made once and whole."""

import stat
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.http.authorization import Role
from app.outbound.stdio import AllowedCommand
from app.settings import Settings, SettingsError, load_settings, with_local_keys


def test_processes_that_start_at_once_agree_on_whole_keys(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    barrier, found = threading.Barrier(8), []

    def start() -> None:
        barrier.wait()
        found.append(with_local_keys(settings).keys("token_pepper"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({keys[0] for keys in found}) == 1
    assert len(found[0][0]) >= 32
    kept = sorted((tmp_path / "keys").iterdir())
    assert [path.name for path in kept] == ["encryption_key", "signing_key", "token_pepper"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def test_a_key_that_was_given_is_not_made(tmp_path: Path) -> None:
    given = SecretStr("g" * 40)
    settings = Settings(data_dir=tmp_path, token_pepper=given, encryption_key=given, signing_key=given)
    assert with_local_keys(settings).keys("signing_key") == [b"g" * 40]
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("HTTPS://mcp.example.com/", "https://mcp.example.com"),
        ("Http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_whether_the_service_is_reached_by_tls_is_read_whatever_its_case(given: str, read: str) -> None:
    assert Settings(public_url=given).base_url == read


OIDC = {"SCOPEGATE_OIDC_ISSUER": "https://sso.example.com/x", "SCOPEGATE_OIDC_AUDIENCE": "a, b"}


def test_the_openid_provider_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    given = OIDC | {
        "SCOPEGATE_OIDC_CLIENT_ID": "console",
        "SCOPEGATE_OIDC_SCOPES": "openid, groups",
        "SCOPEGATE_OIDC_ALGORITHMS": "RS256, ES256",
        "SCOPEGATE_OIDC_TOKEN_TYPES": "JWT,none",
        "SCOPEGATE_OIDC_ROLE_CLAIM": "realm_access.roles",
        "SCOPEGATE_OIDC_ROLE_MAP": '{"admins": "admin"}',
        "SCOPEGATE_OIDC_LINK_CLAIM": "oid",
        "SCOPEGATE_OIDC_PEOPLE": "staff, guests",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    provider = load_settings().oidc_provider
    assert provider is not None
    assert provider.model_dump(exclude={"scim", "signals"}) == {
        "name": "sso.example.com",
        "issuer": "https://sso.example.com/x",
        "audiences": ["a", "b"],
        "algorithms": ["RS256", "ES256"],
        "token_types": ["JWT", "none"],
        "role_claim": "realm_access.roles",
        "role_map": {"admins": Role.ADMIN},
        "link_claim": "oid",
        "people": ["staff", "guests"],
        "client_id": "console",
        "scopes": ["openid", "groups"],
        "workloads": [],
        "status": "active",
    }


def test_there_is_no_openid_provider_unless_one_is_named() -> None:
    assert Settings().oidc_provider is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISSUER", "http://sso.example.com"),
        ("ISSUER", "sso.example.com"),
        ("ISSUER", "https://sso.example.com?tenant=secret"),
        ("ISSUER", "https://user:secret@sso.example.com"),
        ("AUDIENCE", " , "),
        ("ALGORITHMS", "RS256,HS256"),
        ("ALGORITHMS", "none"),
        ("ALGORITHMS", ""),
        ("TOKEN_TYPES", "Bearer"),
        ("TOKEN_TYPES", ""),
        ("SCOPES", "profile,email"),
        ("SCOPES", "openid,two words"),
        ("ROLE_CLAIM", ""),
        ("ROLE_MAP", '{"admins": "king"}'),
        ("ROLE_MAP", '["admins"]'),
        ("ROLE_MAP", "admins=admin"),
        ("LINK_CLAIM", "email"),
        ("LINK_CLAIM", ""),
    ],
)
def test_a_wrong_setting_of_the_openid_provider_stops_the_start_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for known, good in OIDC.items():
        monkeypatch.setenv(known, good)
    monkeypatch.setenv(f"SCOPEGATE_OIDC_{name}", value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    message = str(error.value)
    assert f"SCOPEGATE_OIDC_{name}" in message
    assert "\n" not in message
    assert "secret" not in message
    assert "king" not in message


@pytest.mark.parametrize(
    "value", ["correct horse battery", "", "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$ZGlnZXN0"]
)
def test_a_break_glass_password_in_place_of_its_hash_stops_the_start_and_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SCOPEGATE_BREAK_GLASS_PASSWORD_HASH", value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    message = str(error.value)
    assert message.startswith("SCOPEGATE_BREAK_GLASS_PASSWORD_HASH: ")
    assert "\n" not in message
    assert not value or value not in message


def test_commands_that_may_run_are_read_word_for_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings().stdio_allowed_commands
    monkeypatch.setenv("SCOPEGATE_STDIO_ALLOWED_COMMANDS", '["/opt/a b *"]')
    assert load_settings().stdio_allowed_commands.entries == (AllowedCommand(("/opt/a", "b", "*")),)
    monkeypatch.setenv("SCOPEGATE_STDIO_ALLOWED_COMMANDS", "npx -y anything")
    with pytest.raises(SettingsError, match="STDIO_ALLOWED_COMMANDS: each command line begins with"):
        load_settings()


def test_policy_is_told_the_default_and_a_zone_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load_settings().policy_default, load_settings().time_zone.key) == ("permit", "UTC")
    monkeypatch.setenv("SCOPEGATE_POLICY_DEFAULT", "deny")
    monkeypatch.setenv("SCOPEGATE_TIME_ZONE", "Europe/Berlin")
    assert (load_settings().policy_default, load_settings().time_zone.key) == ("deny", "Europe/Berlin")
    for name, value in (
        ("POLICY_DEFAULT", "maybe"),
        ("TIME_ZONE", "Mars/Olympus"),
        ("TIME_ZONE", "../../etc/passwd"),
    ):
        with monkeypatch.context() as one:
            one.setenv(f"SCOPEGATE_{name}", value)
            with pytest.raises(SettingsError, match=f"^SCOPEGATE_{name}: ") as error:
                load_settings()
        assert value not in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("AUDIT_RETENTION", "-P40D"), ("MAX_TOKEN_TTL", "PT0S")])
def test_a_time_that_would_drop_the_present_month_or_let_no_token_live_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"SCOPEGATE_{name}", value)
    with pytest.raises(SettingsError, match=f"^SCOPEGATE_{name}: "):
        load_settings()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", ()),
        ("http://localhost:8080", ("http://localhost:8080",)),
        (
            "https://A.example.com/, https://b.example.com:443",
            ("https://a.example.com", "https://b.example.com"),
        ),
        ("http://[::1]:8080", ("http://[::1]:8080",)),
    ],
)
def test_origins_are_read_as_browsers_write_them(given: str, read: tuple[str, ...]) -> None:
    assert Settings(allowed_origins=given).allowed_origins == read  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    ["localhost:8080", "*", "null", "ftp://a.example.com", "https://a.example.com/x", "https://u@a.example.com",
     "https://", "https://a.example.com?q", "https://a.example.com#x"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(ValidationError):
        Settings(allowed_origins=given)  # type: ignore[arg-type]
