"""Profiles of `sgctl`: credentials in one file each, in the user's configuration directory."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from scopegate_client import Client, Secret
from scopegate_client.cli.bearers import BearerFiles
from scopegate_client.cli.failing import ExitCode, Failed, usage
from scopegate_client.cli.private_files import make_private_directory, read_private, write_atomically

DEFAULT = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Profile:
    """The address of a Scopegate and its credential: a service account or an access token."""

    url: str
    client_id: str | None = None
    client_secret: Secret | None = None
    access_token: Secret | None = None

    def open(self) -> Client:
        """Open a client with the profile, regardless of environment variables."""
        if self.access_token is not None:
            return Client(self.url, access_token=self.access_token)
        return Client(
            self.url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            bearer_cache=BearerFiles(),
        )

    def forget_bearer(self) -> None:
        """Remove the stored bearer, so that the next command signs in again."""
        if self.client_id is not None:
            BearerFiles().remove(self.url, self.client_id)


def config_directory() -> Path:
    """The directory of `sgctl`'s files."""
    chosen = os.environ.get("SGCTL_CONFIG_DIR")
    return Path(chosen) if chosen else platformdirs.user_config_path("scopegate", appauthor=False)


def profile_path(name: str) -> Path:
    """The file of a profile."""
    if not _NAME.fullmatch(name):
        raise usage(f"{name!r} is not a valid profile name: use letters, digits, '.', '_' and '-'.")
    return config_directory() / "profiles" / f"{name}.json"


def selected_profile(named: str | None) -> str:
    """The named profile, or the default one."""
    return named or os.environ.get("SGCTL_PROFILE") or DEFAULT


def save_profile(name: str, profile: Profile) -> Path:
    """Store a profile in a private file."""
    path = profile_path(name)
    make_private_directory(path.parent)
    content = {
        "url": profile.url,
        "client_id": profile.client_id,
        "client_secret": profile.client_secret.reveal() if profile.client_secret else None,
        "access_token": profile.access_token.reveal() if profile.access_token else None,
    }
    kept = {key: value for key, value in content.items() if value is not None}
    write_atomically(path, (json.dumps(kept, indent=2) + "\n").encode())
    return path


def load_profile(name: str) -> Profile | None:
    """Load the profile with that name; None if there is none."""
    path = profile_path(name)
    try:
        content = json.loads(read_private(path))
        return _profile(content)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise Failed(f"{path} is not a valid profile: sign in again.") from None


def remove_profile(name: str) -> bool:
    """Remove a profile; return whether it existed."""
    try:
        profile_path(name).unlink()
    except FileNotFoundError:
        return False
    return True


def profile_names() -> list[str]:
    """The names of all profiles."""
    found = (path.stem for path in (config_directory() / "profiles").glob("*.json"))
    return sorted(name for name in found if _NAME.fullmatch(name))


def open_client(named: str | None) -> Client:
    """Open the client of the named profile, of the environment, or of the default profile."""
    found = os.environ
    if named is None and (found.get("SCOPEGATE_CLIENT_ID") or found.get("SCOPEGATE_ACCESS_TOKEN")):
        return Client(bearer_cache=BearerFiles())
    name = selected_profile(named)
    profile = load_profile(name)
    if profile is None:
        raise Failed(_not_signed_in(name), ExitCode.UNAUTHENTICATED)
    address = (found.get("SCOPEGATE_URL") or profile.url).rstrip("/")
    if address != profile.url:
        # A secret is only sent to the service that it belongs to.
        raise usage(
            f"SCOPEGATE_URL is {address} and the profile {name} is of {profile.url}: unset it, choose another "
            "--profile, or `sgctl login` there."
        )
    return profile.open()


def _not_signed_in(name: str) -> str:
    option = "" if name == DEFAULT else f" --profile {name}"
    kept = [other for other in profile_names() if other != name]
    others = f" There is: {', '.join(kept)}." if kept else ""
    return (
        f"Not signed in as the profile {name}: run `sgctl login{option}`, or set SCOPEGATE_URL with "
        f"SCOPEGATE_CLIENT_ID and SCOPEGATE_CLIENT_SECRET_FILE.{others}"
    )


def _profile(content: dict[str, Any]) -> Profile:
    texts = {key: content.get(key) for key in ("client_id", "client_secret", "access_token")}
    if not all(value is None or isinstance(value, str) for value in texts.values()):
        raise TypeError("not text")
    if texts["access_token"] is None and (texts["client_id"] is None or texts["client_secret"] is None):
        raise KeyError("credential")
    return Profile(
        url=str(content["url"]),
        client_id=texts["client_id"],
        client_secret=Secret(texts["client_secret"]) if texts["client_secret"] else None,
        access_token=Secret(texts["access_token"]) if texts["access_token"] else None,
    )
