"""Static assets of the console: its own style and script, and what ``make assets`` builds from npm packages.

Each file is served under a name that contains its digest. Without the built assets pages work, without styles.
"""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

PREFIX = "/console/assets"
_HERE = Path(__file__).parent
_OWN = _HERE / "static"
_MADE = _HERE / "assets"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file; ``packed`` is its gzip form, if that is smaller."""

    content: bytes
    packed: bytes | None
    media_type: str


def asset_path(name: str) -> str | None:
    """Return the URL path of an asset, or None if it has not been built."""
    served = _names().get(name)
    return None if served is None else f"{PREFIX}/{served}"


def find_asset(served: str) -> Asset | None:
    """Find an asset by its served name."""
    path = _paths().get(served)
    return None if path is None else _load(path)


def are_made() -> bool:
    """Whether ``make assets`` has run in this tree or in the build of this image."""
    return (_MADE / "manifest.json").exists()


@cache
def _names() -> dict[str, str]:
    made = json.loads((_MADE / "manifest.json").read_text()) if are_made() else {}
    own = {path.name: path for path in sorted(_OWN.iterdir()) if path.suffix in _TYPES}
    digests = {name: sha256(path.read_bytes()).hexdigest()[:12] for name, path in own.items()}
    return made | {name: f"{path.stem}-{digests[name]}{path.suffix}" for name, path in own.items()}


@cache
def _paths() -> dict[str, Path]:
    return {
        served: (_OWN / name if (_OWN / name).exists() else _MADE / served)
        for name, served in _names().items()
    }


@cache
def _load(path: Path) -> Asset:
    content = path.read_bytes()
    packed = gzip.compress(content, mtime=0)
    worth = len(packed) < 0.9 * len(content)
    return Asset(content, packed if worth else None, _TYPES[path.suffix])
