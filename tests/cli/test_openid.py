"""The development OpenID provider: what is stored between starts, and the settings of the service."""

import json
import socket
from pathlib import Path

import pytest

from app.cli import dev
from app.cli.children import free_port
from app.cli.dev import OpenIdProvider
from app.http.authorization import Role
from app.settings import load_settings

URL = "http://127.0.0.1:8080"


def test_address_and_passwords_are_those_of_last_time(tmp_path: Path) -> None:
    first = OpenIdProvider(tmp_path, URL, {}).sign_in
    again = OpenIdProvider(tmp_path, URL, first.passwords).sign_in
    assert again == first
    assert len(set(first.passwords.values())) == len(first.passwords), "two people share a password"
    assert min(len(password) for password in first.passwords.values()) >= 12


def test_no_password_is_in_its_representation(tmp_path: Path) -> None:
    sign_in = OpenIdProvider(tmp_path, URL, {}).sign_in
    assert not [password for password in sign_in.passwords.values() if password in repr(sign_in)]


def test_a_port_that_somebody_took_is_left_to_them(tmp_path: Path) -> None:
    record = tmp_path / "port"
    first = free_port(record)
    assert free_port(record) == first
    with socket.create_server(("127.0.0.1", first)):
        second = free_port(record)
    assert second != first
    assert int(record.read_text()) == second


def test_the_service_understands_what_it_is_told_of_the_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = OpenIdProvider(tmp_path, URL, {})
    for name, value in provider.settings().items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.oidc_issuer == provider.sign_in.issuer
    # Canaille names no groups unless it is asked for them.
    assert "groups" in settings.oidc_scopes
    assert set(settings.oidc_role_map.values()) == {Role.OWNER, Role.ADMIN, Role.AUDITOR}


def test_a_provider_of_somebody_elses_takes_its_place(tmp_path: Path) -> None:
    settings = load_settings(
        data_dir=tmp_path, oidc_issuer="https://sso.example.com", oidc_audience=("scopegate",)
    )
    assert dev._provider(settings, URL) is None
    ours = dev._provider(load_settings(data_dir=tmp_path), URL)
    assert ours is not None
    assert json.loads(ours.settings()["SCOPEGATE_OIDC_ROLE_MAP"])
