"""The program of the development OpenID provider. ``dev.py`` runs it as a script, where Canaille is installed.

Canaille keeps people, sessions and codes in memory here, and signs with a key that is created at the start.
"""

import json
import os
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

_TOKEN_SECONDS = 600
_GRANTS = ["authorization_code", "refresh_token", "password"]


def serve(settings: dict[str, Any]) -> None:
    """Serve on the loopback port of the issuer until a signal."""
    issuer = urlsplit(settings["issuer"])
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    app = create_app(
        {
            "SECRET_KEY": os.urandom(32).hex(),
            "SERVER_NAME": issuer.netloc,
            "PREFERRED_URL_SCHEME": issuer.scheme,
            "OAUTH2_TOKEN_EXPIRES_IN": dict.fromkeys(_GRANTS, _TOKEN_SECONDS),
            "CANAILLE": {
                "NAME": "Scopegate demo",
                "DATABASE": "memory",
                "LOGO": None,
                "SMTP": None,
                # By default people may create groups, and a group's name gives a role.
                "ACL": {"DEFAULT": {"PERMISSIONS": ["edit_self", "use_oidc"]}},
            },
            "CANAILLE_OIDC": {
                "ACTIVE_JWKS": [dict(key.as_dict(private=True))],
                # The service itself is trusted, so that the demo needs no consent.
                "TRUSTED_DOMAINS": [urlsplit(settings["url"]).hostname],
                "REQUIRE_NONCE": False,
                "USERINFO_MAPPING": {"PREFERRED_USERNAME": "{{ user.user_name }}"},
            },
        }
    )
    with app.app_context():
        _let_loopback_ports_vary()
        _register(settings)
    make_server(issuer.hostname or "", issuer.port or 0, app, threaded=True).serve_forever()


def _register(settings: dict[str, Any]) -> None:
    groups: dict[str, list[Any]] = {}
    for name, person in settings["people"].items():
        first, _, family = person["name"].partition(" ")
        user = models.User(
            user_name=name,
            formatted_name=person["name"],
            given_name=first,
            family_name=family,
            emails=[f"{name}@example.com"],
            password=person["password"],
        )
        Backend.instance.save(user)
        for group in person["groups"]:
            groups.setdefault(group, []).append(user)
    for name, members in groups.items():
        Backend.instance.save(models.Group(display_name=name, members=members))
    now = datetime.now(UTC)  # noqa: TID251 - of its own
    # Canaille names an audience by the id of a client that represents the API.
    api = models.Client(client_id=settings["audience"], client_name="Scopegate", client_id_issued_at=now)
    Backend.instance.save(api)
    client = models.Client(
        client_id=settings["client_id"],
        client_name="Scopegate",
        client_id_issued_at=now,
        client_uri=settings["url"],
        redirect_uris=settings["redirects"],
        post_logout_redirect_uris=settings["signed_out"],
        grant_types=_GRANTS,
        response_types=["code"],
        scope=settings["scopes"],
        token_endpoint_auth_method="none",  # noqa: S106  it has no secret: PKCE takes its place
        audience=[api],
    )
    Backend.instance.save(client)
    # Its ID tokens have the audiences of its access tokens and are for the client, which must exist first.
    client.audience = [client, api]
    Backend.instance.save(client)


def _let_loopback_ports_vary() -> None:
    """Accept any port of a loopback redirect URI (RFC 8252 section 7.3)."""
    exact = models.Client.check_redirect_uri

    def check(client: Any, uri: str) -> bool:
        parts = urlsplit(uri)
        return exact(client, uri) or (
            parts.hostname == "127.0.0.1" and exact(client, parts._replace(netloc="127.0.0.1").geturl())
        )

    models.Client.check_redirect_uri = check


if __name__ == "__main__":
    serve(json.loads(os.environ["OPENID_PROVIDER"]))
