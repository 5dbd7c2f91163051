"""Canaille as an identity provider. Runs in an environment of its own: python provider_canaille.py FD.

It keeps people and groups in memory, signs them in by OpenID Connect on the socket ``FD``, and pushes each change to
its one client by SCIM; ``PROVIDER`` in its environment says, as JSON, where that is. Each line of its input is a
change, as JSON; it answers each with a line, once that is pushed: what could not be, a list.
"""

import json
import logging
import os
import socket
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

GRANTS = ["authorization_code", "refresh_token", "password"]
SCOPES = ["openid", "profile", "email", "groups"]


class Failures(logging.Handler):
    """What could not be pushed since it was last asked, in Canaille's words."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # That there is no SCIM where it should be is worth no warning to it.
        if record.levelno >= logging.WARNING or "SCIM" in record.getMessage():
            self._lines.append(record.getMessage())

    def taken(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines


def make_provider(port: int) -> Any:
    """The application."""
    return create_app(
        {
            "SECRET_KEY": os.urandom(32).hex(),
            "SERVER_NAME": f"127.0.0.1:{port}",
            "PREFERRED_URL_SCHEME": "http",
            "CANAILLE": {"NAME": "Company", "DATABASE": "memory", "LOGO": None, "SMTP": None},
            "CANAILLE_OIDC": {
                "ACTIVE_JWKS": [
                    RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True).as_dict(
                        private=True
                    )
                ],
                # Only to clients of such a domain it pushes without having asked each person.
                "TRUSTED_DOMAINS": ["127.0.0.1"],
                "REQUIRE_NONCE": False,
            },
            "CANAILLE_SCIM": {"ENABLE_CLIENT": True},
        }
    )


def register(wanted: dict[str, Any]) -> None:
    """The service as two clients: one that people sign in to, one for where its SCIM is, with the bearer for that.

    In memory, Canaille takes any token of a client for its own: of one client it would push with a person's.
    """
    now = datetime.now(UTC)
    signing_in = models.Client(
        client_id=wanted["audience"],
        client_name="Scopegate",
        client_id_issued_at=now,
        grant_types=GRANTS,
        response_types=["code"],
        scope=SCOPES,
        token_endpoint_auth_method="none",
    )
    Backend.instance.save(signing_in)
    signing_in.audience = [signing_in]
    Backend.instance.save(signing_in)
    client = models.Client(
        client_id="scim",
        client_name="Scopegate's SCIM",
        client_id_issued_at=now,
        client_uri=wanted["scim_url"],
    )
    Backend.instance.save(client)
    Backend.instance.save(
        models.Token(
            token_id="scim",
            access_token=wanted["bearer"],
            refresh_token="none",
            subject=None,
            audience=[client],
            client=client,
            scope=["openid"],
            issue_date=now,
            lifetime=86_400,
        )
    )


def save_user(user_name: str, /, **fields: Any) -> None:
    """Create or change a person; ``locked`` blocks the account."""
    user = Backend.instance.get(models.User, user_name=user_name) or models.User(user_name=user_name)
    if "locked" in fields:
        now = datetime.now(UTC)
        user.lock_date = now if fields.pop("locked") else None
    for name, value in fields.items():
        setattr(user, name, value)
    Backend.instance.save(user)


def delete_user(user_name: str) -> None:
    """Delete a person."""
    Backend.instance.delete(Backend.instance.get(models.User, user_name=user_name))


def save_group(name: str, /, members: list[str], new_name: str | None = None) -> None:
    """Make or change a group: who is in it, and what it is called from now on."""
    group = Backend.instance.get(models.Group, display_name=name) or models.Group(display_name=name)
    group.display_name = new_name or name
    group.members = [Backend.instance.get(models.User, user_name=member) for member in members]
    Backend.instance.save(group)


def delete_group(name: str) -> None:
    """Delete a group."""
    Backend.instance.delete(Backend.instance.get(models.Group, display_name=name))


def say(line: str) -> None:
    """Answer the parent process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(fd: int, wanted: dict[str, Any]) -> None:
    """Serve and change until the end of the input."""
    sock = socket.socket(fileno=fd)
    port = sock.getsockname()[1]
    app = make_provider(port)
    failures = Failures()
    app.logger.addHandler(failures)
    with app.app_context(), Backend.instance.session():
        register(wanted)
    server = make_server("127.0.0.1", port, app, threaded=True, fd=fd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    changes = {change.__name__: change for change in (save_user, delete_user, save_group, delete_group)}
    say("ready")
    for line in sys.stdin:
        name, arguments, fields = json.loads(line)
        with app.app_context(), Backend.instance.session():
            changes[name](*arguments, **fields)
        say(json.dumps(failures.taken()))


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(os.environ["PROVIDER"]))
