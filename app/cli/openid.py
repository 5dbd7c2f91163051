"""The development OpenID provider of ``scopegate dev``: Canaille, which allows a complete sign-in.

It listens on a loopback port. The passwords of its people are created once and stored in ``dev.json`` only.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.cli.children import (
    LOOPBACK,
    Child,
    free_port,
    make_environment,
    plain_environment,
    programs_of,
    takes_connections,
)

AUDIENCE = "scopegate"
CLIENT_ID = "scopegate-demo"
SCOPES = ("openid", "profile", "email", "groups")
ROLES = {"scopegate-owners": "owner", "scopegate-admins": "admin", "scopegate-auditors": "auditor"}
"""Roles by the provider's group that grants them."""

PEOPLE = "staff"
"""The group whose members become people without a role."""

_PEOPLE = {
    "ada": ("Ada Byron", ["scopegate-owners"]),
    "grace": ("Grace Murray", ["scopegate-admins"]),
    "otto": ("Otto Neurath", ["scopegate-auditors"]),
    "nora": ("Nora Barnacle", [PEOPLE]),
    "max": ("Max Brod", ["visitors"]),
}
_PROGRAM = Path(__file__).with_name("serve_canaille.py")
_ENVIRONMENT = "openid"


@dataclass(frozen=True, slots=True)
class SignIn:
    """The data that a program needs for signing in at the provider. Passwords are by user name."""

    issuer: str
    passwords: dict[str, str] = field(default_factory=dict, repr=False)


class OpenIdProvider:
    """The provider, prepared once per data directory; ``url`` is the service that people sign in to."""

    def __init__(self, data_dir: Path, url: str, passwords: Mapping[str, str]) -> None:
        """``passwords`` are the previous ones; people without one get one."""
        self._home = data_dir.absolute() / "demo"
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._port = free_port(self._home / f"{_ENVIRONMENT}.port")
        self._url = url
        issuer = f"http://{LOOPBACK}:{self._port}"
        known = {name: passwords.get(name) or secrets.token_urlsafe(9) for name in _PEOPLE}
        self.sign_in = SignIn(issuer, known)

    def settings(self) -> dict[str, str]:
        """The service's environment variables that make it trust this provider."""
        return {
            "SCOPEGATE_OIDC_ISSUER": self.sign_in.issuer,
            "SCOPEGATE_OIDC_AUDIENCE": AUDIENCE,
            "SCOPEGATE_OIDC_CLIENT_ID": CLIENT_ID,
            "SCOPEGATE_OIDC_SCOPES": ",".join(SCOPES),
            "SCOPEGATE_OIDC_ROLE_MAP": json.dumps(ROLES),
            "SCOPEGATE_OIDC_PEOPLE": PEOPLE,
            # Canaille's access tokens contain no more than this.
            "SCOPEGATE_OIDC_TOKEN_TYPES": "JWT",
        }

    def prepare(self) -> None:
        """Install the provider, unless it is installed.

        Raises:
            CannotStart: ``uv`` is missing or failed.
        """
        make_environment(self._home, _ENVIRONMENT)

    def start(self) -> Child:
        """Start the provider on its port."""
        settings = {
            "issuer": self.sign_in.issuer,
            "url": self._url,
            "audience": AUDIENCE,
            "client_id": CLIENT_ID,
            "scopes": SCOPES,
            "redirects": [
                f"{self._url}/login/callback",
                f"{self._url}/docs/oauth2-redirect",
                f"http://{LOOPBACK}/callback",
            ],
            "signed_out": [f"{self._url}/signed-out"],
            "people": {
                name: {"name": full, "groups": groups, "password": self.sign_in.passwords[name]}
                for name, (full, groups) in _PEOPLE.items()
            },
        }
        return Child(
            "the OpenID provider",
            # -P: the modules next to the program are ours and would shadow its imports.
            [programs_of(self._home, _ENVIRONMENT) / "python", "-P", _PROGRAM],
            environment=plain_environment() | {"OPENID_PROVIDER": json.dumps(settings)},
            log=self._home / f"{_ENVIRONMENT}.log",
        )

    def answers(self) -> bool:
        """Whether the provider accepts connections."""
        return takes_connections(self._port)
