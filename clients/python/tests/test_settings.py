"""What can be configured, and what is said when it cannot work."""

from pathlib import Path

import httpx
import pytest
from scopegate_client import AsyncClient, Client
from scopegate_client.errors import ConfigurationError
from scripted_service import Service, group

URL = "https://scopegate.test"


def test_all_comes_from_the_environment(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("sgc_1\n")
    monkeypatch.setenv("SCOPEGATE_URL", f"{URL}/")
    monkeypatch.setenv("SCOPEGATE_CLIENT_ID", "sa_1")
    monkeypatch.setenv("SCOPEGATE_CLIENT_SECRET_FILE", str(tmp_path / "secret"))
    service.answers = [group()]
    with Client(transport=service.transport) as client:
        client.groups.get("grp_1")
    assert (service.signed_in, client.url) == (1, URL)


def test_arguments_put_the_environment_aside(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEGATE_URL", "https://elsewhere.test")
    monkeypatch.setenv("SCOPEGATE_CLIENT_ID", "sa_1")
    monkeypatch.setenv("SCOPEGATE_CLIENT_SECRET", "sgc_1")
    service.answers = [group()]
    with Client(URL, access_token="jwt", transport=service.transport) as client:
        client.groups.get("grp_1")
    [request] = service.requests
    assert (request.url.host, request.headers["Authorization"]) == ("scopegate.test", "Bearer jwt")


def test_the_secret_of_a_given_id_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEGATE_CLIENT_SECRET", "sgc_1")
    Client(URL, client_id="sa_1").close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "Say where Scopegate is"),
        ("scopegate.test", "has to start with https://"),
        ("ftp://scopegate.test", "has to start with https://"),
        ("https://", "has to start with https://"),
        ("https://me:secret@scopegate.test", "no password"),
        ("https://scopegate.test/?a=b", "no query"),
        ("https://scopegate.test/api/v1", "without '/api/v1'"),
        ("https://scopegate.test/mcp/", "without '/mcp'"),
        ("https://scopegate.test:port", "is not an address"),
    ],
)
def test_an_address_that_is_none_is_said_so(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        Client(url, access_token="jwt")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "No credentials"),
        ({"client_id": "sa_1"}, "without a secret"),
        ({"client_secret": "sgc_1"}, "without client_id"),
        ({"client_id": "sa_1", "client_secret": "sgc_1", "access_token": "jwt"}, "not both"),
        ({"access_token": "jwt\n"}, "a blank, a line break"),
        ({"access_token": ""}, "The access token is empty"),
        ({"client_id": "sa_1", "client_secret": "sgc é"}, "a blank, a line break"),
        ({"access_token": "jwt", "timeout": 0}, "timeout must be more than 0"),
        ({"access_token": "jwt", "retries": -1}, "retries must be 0 or more"),
        ({"access_token": "jwt", "anonymous": True}, "do not pass credentials"),
    ],
)
def test_a_credential_that_cannot_work_is_said_so(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        Client(URL, **options)  # type: ignore[arg-type]
    assert "sgc" not in str(refused.value)


def test_the_environment_may_not_name_two_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEGATE_CLIENT_ID", "sa_1")
    monkeypatch.setenv("SCOPEGATE_ACCESS_TOKEN", "jwt")
    with pytest.raises(ConfigurationError, match="both set"):
        AsyncClient(URL)


@pytest.mark.parametrize(
    ("file", "message"),
    [("absent", "cannot be read: No such file"), ("empty", "is empty"), (".", "cannot be read")],
)
def test_a_secret_file_that_gives_none_is_said_so(
    file: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    monkeypatch.setenv("SCOPEGATE_CLIENT_SECRET_FILE", str(tmp_path / file))
    with pytest.raises(ConfigurationError, match=message):
        Client(URL, client_id="sa_1")


def test_an_address_with_a_path_keeps_it(service: Service) -> None:
    service.answers = [group()]
    with Client(f"{URL}/scopegate", access_token="jwt", transport=service.transport) as client:
        client.groups.get("grp_1")
    assert service.requests[0].url == httpx.URL(f"{URL}/scopegate/api/v1/groups/grp_1")


def test_a_client_shows_no_credential(service: Service) -> None:
    with service.client() as client:
        assert repr(client) == "Client('https://scopegate.test')"
        assert "sgc_s3cret" not in repr(vars(client))
