"""The address and credentials of a client, from arguments or the environment."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from scopegate_client.errors import ConfigurationError
from scopegate_client.secret import Secret


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Signs in with client credentials."""

    client_id: str
    client_secret: Secret


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a client. Without an account and a bearer it can only call public operations."""

    url: str
    account: ServiceAccount | None = None
    access_token: Callable[[], Secret] | None = None


def read_settings(
    url: str | None,
    client_id: str | None,
    client_secret: Secret | str | None,
    access_token: Secret | str | Callable[[], Secret | str] | None,
    *,
    anonymous: bool = False,
) -> Settings:
    """Read the settings of a client. Credentials in arguments replace all credentials from the environment."""
    found = os.environ
    address = _address(url or found.get("SCOPEGATE_URL") or "")
    if anonymous:
        if client_id is not None or client_secret is not None or access_token is not None:
            raise ConfigurationError("An anonymous client does not sign in: do not pass credentials.")
        return Settings(address)
    if client_id is None and client_secret is None and access_token is None:
        client_id = found.get("SCOPEGATE_CLIENT_ID") or None
        access_token = found.get("SCOPEGATE_ACCESS_TOKEN") or None
        if client_id is not None and access_token is not None:
            raise ConfigurationError(
                "SCOPEGATE_ACCESS_TOKEN and SCOPEGATE_CLIENT_ID are both set: unset one of them."
            )
    if access_token is not None:
        if client_id is not None or client_secret is not None:
            raise ConfigurationError("Pass access_token, or client_id and client_secret, not both.")
        return Settings(address, access_token=_bearer_source(access_token))
    if client_id is None and client_secret is None:
        raise ConfigurationError(
            "No credentials: set SCOPEGATE_CLIENT_ID and SCOPEGATE_CLIENT_SECRET, or pass client_id= and "
            "client_secret=, or access_token= for an existing bearer."
        )
    if client_id is None:
        raise ConfigurationError("client_secret is set without client_id: pass both.")
    secret = Secret(client_secret) if client_secret is not None else _secret_from(found)
    return Settings(address, ServiceAccount(client_id, _header_safe(secret, "The client secret")))


def _bearer_source(given: Secret | str | Callable[[], Secret | str]) -> Callable[[], Secret]:
    """A function that returns the current bearer."""
    if callable(given):
        return lambda: _header_safe(Secret(given()), "The access token")
    bearer = _header_safe(Secret(given), "The access token")
    return lambda: bearer


def _secret_from(environ: Mapping[str, str]) -> Secret:
    secret = environ.get("SCOPEGATE_CLIENT_SECRET")
    path = environ.get("SCOPEGATE_CLIENT_SECRET_FILE")
    if secret and path:
        raise ConfigurationError(
            "SCOPEGATE_CLIENT_SECRET and SCOPEGATE_CLIENT_SECRET_FILE are both set: unset one of them."
        )
    if path:
        try:
            secret = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigurationError(
                f"SCOPEGATE_CLIENT_SECRET_FILE, {path}, cannot be read: {reason}."
            ) from error
        if not secret:
            raise ConfigurationError(f"SCOPEGATE_CLIENT_SECRET_FILE, {path}, is empty.")
    if not secret:
        raise ConfigurationError(
            "client_id is set without a secret: set SCOPEGATE_CLIENT_SECRET, or SCOPEGATE_CLIENT_SECRET_FILE, "
            "or pass client_secret=."
        )
    return Secret(secret)


def _header_safe(secret: Secret, what: str) -> Secret:
    """Refuse text that a header cannot contain, without showing it."""
    if not secret:
        raise ConfigurationError(f"{what} is empty.")
    if not all("!" <= character <= "~" for character in secret.reveal()):
        raise ConfigurationError(
            f"{what} contains a blank, a line break or a non-ASCII letter: copy it again."
        )
    return secret


def _address(url: str) -> str:
    if not url.strip():
        raise ConfigurationError(
            'Say where Scopegate is: set SCOPEGATE_URL, or give it as in Client("https://scopegate.example.com").'
        )
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{url!r} is not an address: {error}.") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigurationError(
            f"The address has to start with https:// (or http://), and {url!r} does not."
        )
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ConfigurationError(
            "The address may hold no password, no query and no fragment: give the server alone."
        )
    path = parsed.path.rstrip("/")
    if path.endswith(("/api/v1", "/api", "/mcp")):
        raise ConfigurationError(f"Give the address of the server, without {path!r} at its end.")
    return str(parsed.copy_with(path=path or "/")).rstrip("/")
