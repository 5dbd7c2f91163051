"""``<data dir>/dev.json``: what other programs need to use a ``scopegate dev``. It holds secrets: mode 0600."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from app.cli.errors import CannotStart
from app.cli.openid import CLIENT_ID, SCOPES, SignIn


@dataclass(frozen=True, slots=True)
class DevFile:
    """Where the service is, the credential of its first service account, the demo's tokens by name, and how people
    sign in; ``None`` where that is left to a provider of somebody else's."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    servers: list[str] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    sign_in: SignIn | None = None

    def write(self, data_dir: Path) -> None:
        """Write it whole or not at all, never readable by others at any moment."""
        content: dict[str, object] = {
            "url": self.url,
            "console_url": f"{self.url}/console",
            "mcp_url": f"{self.url}/mcp",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "demo": {"servers": self.servers, "tokens": self.tokens},
        }
        if self.sign_in is not None:
            content["oidc"] = {
                "issuer": self.sign_in.issuer,
                "client_id": CLIENT_ID,
                "scope": " ".join(SCOPES),
                "passwords": self.sign_in.passwords,
            }
        unfinished = data_dir / "dev.json.new"
        unfinished.unlink(missing_ok=True)
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path_in(data_dir))


def path_in(data_dir: Path) -> Path:
    """Where the file of a data directory lies."""
    return data_dir.absolute() / "dev.json"


def read(data_dir: Path) -> DevFile | None:
    """The file of a data directory; ``None`` when there is none.

    Raises:
        CannotStart: it is there and cannot be understood.
    """
    path = path_in(data_dir)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        demo, oidc = content["demo"], content.get("oidc")
        return DevFile(
            url=content["url"],
            client_id=content["client_id"],
            client_secret=content["client_secret"],
            servers=list(demo["servers"]),
            tokens=dict(demo["tokens"]),
            sign_in=SignIn(oidc["issuer"], dict(oidc["passwords"])) if oidc else None,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise CannotStart(f"{path} cannot be read; remove it to have new credentials made") from None
