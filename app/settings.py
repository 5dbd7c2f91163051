"""All settings: immutable, read once from ``SCOPEGATE_*`` environment variables.

Every secret has a ``*_FILE`` variant. An unknown ``SCOPEGATE_*`` name or an invalid value stops the start with one
line that never repeats the value.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.crypto.keys import MINIMUM_KEY_BYTES
from app.crypto.passwords import is_password_hash
from app.db.engine import plain_url
from app.domain.objects import Network
from app.features.identity_providers import schemas as providers
from app.http.schemas import ShortText
from app.http.service_address import origin_of_url
from app.outbound.http import ForbiddenUrl, origin_of
from app.outbound.stdio import AllowedCommands, read_commands

PREFIX = "SCOPEGATE_"
_KEYS = ("token_pepper", "encryption_key", "signing_key")
_DATABASES = ("database_url", "database_direct_url", "migration_database_url")
_SECRETS = (*_DATABASES, *_KEYS, "oidc_client_secret", "break_glass_password_hash")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
# Other names with the prefix: those of the test harness, of the client package, and those in which MCP clients keep a
# token.
_NOT_SETTINGS = (
    "TEST_DATABASE_URL TEST_SHARED_DIR TOKEN AUTHORIZATION URL CLIENT_ID CLIENT_SECRET CLIENT_SECRET_FILE ACCESS_TOKEN"
).split()


class SettingsError(Exception):
    """One line that names the invalid setting and the fix."""


def _origin(text: str) -> str:
    parts = urlsplit(text)
    known = parts.scheme in {"http", "https"} and parts.hostname is not None
    if not known or "@" in parts.netloc or f"{parts.scheme}://{parts.netloc}" != text.rstrip("/"):
        raise ValueError("give origins as https://host[:port], separated by commas")
    return origin_of_url(text)


def _from_text(read: Callable[[str], Any]) -> tuple[Any, Any]:
    """Annotations of a setting whose text is read by ``read``, not as JSON."""
    return NoDecode, BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


def _comma_separated(read: Callable[[str], Any] = str) -> tuple[Any, Any]:
    """Annotations of a setting whose text is a list, separated by commas."""
    return _from_text(lambda text: tuple(read(part.strip()) for part in text.split(",") if part.strip()))


def _time_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("expected a name of the IANA time zone database, such as Europe/Berlin") from None


def _role_map(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError('give it as JSON, from claim value to role: {"scopegate-admins": "admin"}') from None


def _database(value: SecretStr) -> SecretStr:
    plain_url(value.get_secret_value())
    return value


def _public(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("give it as https://host[:port]")
    # Normalized: cookies and responses depend on whether it is https.
    return (parts.scheme + value[len(parts.scheme) :]).rstrip("/")


def _issuer(value: str) -> str:
    parts = urlsplit(value)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not safe or not parts.hostname or "?" in value:
        raise ValueError("give it as https://host[/path], as the provider writes it into its tokens")
    try:
        origin_of(value)
    except ForbiddenUrl as error:
        raise ValueError(error.reason) from None
    return value


def _password_hash(value: SecretStr) -> SecretStr:
    if not is_password_hash(value.get_secret_value()):
        raise ValueError("give it as `scopegate hash-password` prints it: $argon2id$...")
    return value


def _split(value: SecretStr) -> list[bytes]:
    return [part.strip().encode() for part in value.get_secret_value().split(",") if part.strip()]


def _long_enough(value: SecretStr) -> SecretStr:
    if any(len(key) < MINIMUM_KEY_BYTES for key in _split(value)):
        raise ValueError(f"each key needs at least {MINIMUM_KEY_BYTES} characters, separated by commas")
    return value


_DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
_Keys = Annotated[SecretStr, AfterValidator(_long_enough)]


class Settings(BaseSettings):
    """The settings; ``docs/reference/configuration.md`` describes each name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    database_url: _DatabaseUrl | None = None
    database_direct_url: _DatabaseUrl | None = None
    migration_database_url: _DatabaseUrl | None = None
    data_dir: Path = Path(".scopegate")
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    public_url: Annotated[str, AfterValidator(_public)] | None = None
    workers: int = Field(default=1, ge=1, le=256)
    token_pepper: _Keys | None = None
    encryption_key: _Keys | None = None
    signing_key: _Keys | None = None
    max_token_ttl: timedelta = Field(default=timedelta(days=90), gt=timedelta())
    pickup_ttl: timedelta = Field(default=timedelta(days=1), gt=timedelta(), le=timedelta(days=7))
    policy_default: Literal["permit", "deny"] = "permit"
    time_zone: Annotated[ZoneInfo, *_from_text(_time_zone)] = ZoneInfo("UTC")
    approval_ttl: timedelta = Field(default=timedelta(hours=1), gt=timedelta(), le=timedelta(days=30))
    # A negative value would drop the current month.
    audit_retention: timedelta = Field(default=timedelta(days=400), ge=timedelta())
    arguments_retention: timedelta = Field(default=timedelta(days=30), ge=timedelta())
    upstream_allowed_networks: Annotated[tuple[Network, ...], *_comma_separated(ip_network)] = ()
    trusted_proxies: Annotated[tuple[Network, ...], *_comma_separated(ip_network)] = ()
    allowed_origins: Annotated[tuple[str, ...], *_comma_separated(_origin)] = ()
    stdio_allowed_commands: Annotated[AllowedCommands, *_from_text(read_commands)] = AllowedCommands()
    limit_stdio_processes: int = Field(default=64, ge=1, le=10_000)
    stdio_data_dir: Path | None = None
    oidc_issuer: Annotated[providers.NonEmptyText, AfterValidator(_issuer)] | None = None
    oidc_client_id: ShortText | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_audience: Annotated[tuple[providers.NonEmptyText, ...], *_comma_separated()] = ()
    oidc_algorithms: Annotated[providers.Algorithms, *_comma_separated()] = list(providers.DEFAULT_ALGORITHMS)
    oidc_token_types: Annotated[providers.TokenTypes, *_comma_separated()] = ["at+jwt"]
    oidc_scopes: Annotated[providers.Scopes, *_comma_separated()] = list(providers.DEFAULT_SCOPES)
    oidc_role_claim: providers.ClaimName = "groups"
    oidc_role_map: Annotated[providers.RoleMap, *_from_text(_role_map)] = Field(default_factory=dict)
    oidc_link_claim: providers.LinkClaim = "sub"
    oidc_people: Annotated[providers.People, *_comma_separated()] = Field(default_factory=list)
    session_idle_timeout: timedelta = Field(default=timedelta(hours=1), gt=timedelta())
    session_lifetime: timedelta = Field(default=timedelta(hours=12), gt=timedelta(), le=timedelta(days=30))
    break_glass_password_hash: Annotated[SecretStr, AfterValidator(_password_hash)] | None = None
    limit_requests: int = Field(default=6000, ge=0)
    limit_failed_sign_ins: int = Field(default=300, ge=0)
    limit_calls: int = Field(default=12_000, ge=0)
    limit_calls_per_identity: int = Field(default=24_000, ge=0)
    limit_concurrent_calls: int = Field(default=256, ge=0)
    limit_concurrent_calls_per_identity: int = Field(default=512, ge=0)
    limit_streams: int = Field(default=16, ge=0)
    limit_streams_per_identity: int = Field(default=64, ge=0)
    limit_connections: int = Field(default=256, ge=1)
    limit_connections_per_identity: int = Field(default=64, ge=1)
    limit_call_idle_time: timedelta = Field(default=timedelta(minutes=5), gt=timedelta())
    limit_call_time: timedelta = Field(default=timedelta(hours=1), gt=timedelta())
    limit_stream_time: timedelta = Field(default=timedelta(days=1), gt=timedelta())
    expiry_notice: timedelta = Field(default=timedelta(days=7), ge=timedelta(), le=timedelta(days=365))
    sync_interval: timedelta = Field(default=timedelta(minutes=15), ge=timedelta(0))
    database_pool_size: int = Field(default=10, ge=1, le=200)

    @model_validator(mode="after")
    def _require_together(self) -> "Settings":
        for name in _KEYS:
            if self.database_url is not None and getattr(self, name) is None:
                raise ValueError(f"{PREFIX}{name.upper()} is required with {PREFIX}DATABASE_URL")
        if self.oidc_issuer is not None and not self.oidc_audience:
            raise ValueError(f"{PREFIX}OIDC_AUDIENCE is required with {PREFIX}OIDC_ISSUER")
        return self

    @property
    def base_url(self) -> str:
        """The address at which clients reach this service, without a final slash."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def oidc_provider(self) -> providers.IdentityProviderCreate | None:
        """The provider of ``SCOPEGATE_OIDC_*``, if configured; its name is its host."""
        if self.oidc_issuer is None:
            return None
        return providers.IdentityProviderCreate(
            name=urlsplit(self.oidc_issuer).hostname or self.oidc_issuer,
            issuer=self.oidc_issuer,
            audiences=list(self.oidc_audience),
            algorithms=self.oidc_algorithms,
            token_types=self.oidc_token_types,
            role_claim=self.oidc_role_claim,
            role_map=self.oidc_role_map,
            link_claim=self.oidc_link_claim,
            people=self.oidc_people,
            client_id=self.oidc_client_id,
            scopes=self.oidc_scopes,
        )

    def keys(self, name: str) -> list[bytes]:
        """The keys of a list, newest first. Raises ``SettingsError`` if it is not set."""
        value = cast("SecretStr | None", getattr(self, name))
        if value is None:
            raise SettingsError(f"{PREFIX}{name.upper()} is not set")
        return _split(value)


def _from_files(environ: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _SECRETS:
        variable = f"{PREFIX}{name.upper()}_FILE"
        path = environ.get(variable)
        if path is None:
            continue
        if f"{PREFIX}{name.upper()}" in environ:
            raise SettingsError(f"{variable} and its variant without _FILE are both set; keep one")
        try:
            values[name] = Path(path).read_text().strip()
        except (OSError, UnicodeError):
            raise SettingsError(f"{variable}: the file cannot be read") from None
    return values


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment. Raises ``SettingsError`` with one line.

    ``overrides`` are settings by field name, for the command line and tests.
    """
    environ = dict(os.environ)
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in _SECRETS} | {PREFIX + name for name in _NOT_SETTINGS}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in known:
            raise SettingsError(f"{variable} is not a setting; see docs/reference/configuration.md")
    try:
        return Settings(**{**_from_files(environ), **overrides})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = f"{PREFIX}{str(first['loc'][0]).upper()}: " if first["loc"] else ""
        raise SettingsError(where + first["msg"].removeprefix("Value error, ")) from None
    except ValueError as error:
        raise SettingsError(str(error)) from None


def with_local_keys(settings: Settings) -> Settings:
    """Create missing keys for the embedded database once, and keep them in the data directory (0600)."""
    keys: dict[str, SecretStr] = {}
    for name in _KEYS:
        if getattr(settings, name) is not None:
            continue
        path = settings.data_dir / "keys" / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make_key(path)
        keys[name] = SecretStr(path.read_text().strip())
    return settings.model_copy(update=keys)


def _make_key(path: Path) -> None:
    """Store a complete key, unless another process stored one first.

    Written elsewhere and linked, so that a concurrent start, or one after a crash, reads no incomplete key.
    """
    handle, draft = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()
