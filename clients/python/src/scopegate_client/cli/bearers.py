"""Bearers of service accounts, stored between commands in the user's cache directory."""

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

import platformdirs

from scopegate_client import Secret
from scopegate_client.cli.failing import Failed
from scopegate_client.cli.private_files import make_private_directory, read_private, write_atomically


class BearerFiles:
    """One file of mode 0600 per server and client id. An unusable cache only costs a sign-in."""

    def load(self, url: str, client_id: str) -> tuple[Secret, float] | None:
        """Return the bearer and its expiry in seconds since 1970; None without a valid one."""
        try:
            kept = json.loads(read_private(_path(url, client_id)))
            bearer, expires_at = kept["access_token"], float(kept["expires_at"])
        except (OSError, ValueError, KeyError, TypeError, Failed):
            return None
        # The client adds it to a header.
        if not isinstance(bearer, str) or not bearer.isascii() or not bearer.replace("_", "").isalnum():
            return None
        return (Secret(bearer), expires_at) if time.time() < expires_at else None

    def save(self, url: str, client_id: str, bearer: Secret, expires_at: float) -> None:
        """Store a bearer until it expires."""
        content = json.dumps({"access_token": bearer.reveal(), "expires_at": expires_at})
        path = _path(url, client_id)
        with contextlib.suppress(OSError):  # For example a read-only home.
            make_private_directory(path.parent)
            write_atomically(path, f"{content}\n".encode())

    def remove(self, url: str, client_id: str) -> None:
        """Remove a bearer."""
        with contextlib.suppress(OSError):
            _path(url, client_id).unlink()


def _path(url: str, client_id: str) -> Path:
    chosen = os.environ.get("SGCTL_CACHE_DIR")
    directory = Path(chosen) if chosen else platformdirs.user_cache_path("scopegate", appauthor=False)
    key = hashlib.sha256(f"{url}\n{client_id}".encode()).hexdigest()
    return directory / "bearers" / f"{key[:32]}.json"
