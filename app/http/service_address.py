"""The hosts and origins of this service, which prevent DNS rebinding.

Also finds out whether an address leads to this service, so that no request is sent back to it.
"""

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HERE = frozenset({"localhost", "127.0.0.1", "::1", "[::1]", "0.0.0.0", "::"})  # noqa: S104
_MAX_SEEN = 1_000


WRONG_HOST = (
    "The Host header names no host that is served here. Use the service's own address, or have its operator add "
    "yours to SCOPEGATE_ALLOWED_ORIGINS."
)
ENCODED_SLASH = "The path holds an encoded slash (%2F): no name that a path may hold has one."


class ServiceAddress:
    """The public URL, and further origins of the service (``SCOPEGATE_ALLOWED_ORIGINS``)."""

    def __init__(self, public_url: str, allowed_origins: Collection[str] = ()) -> None:
        self.public_url = public_url.rstrip("/")
        self.origin = origin_of_url(public_url)
        self.origins = frozenset({self.origin, *allowed_origins})
        """The accepted values of an ``Origin`` header."""
        self.other_hosts = frozenset(urlsplit(origin).netloc for origin in allowed_origins)
        """The ``Host`` headers of the further origins, in lower case."""
        self._hosts = frozenset().union(*(_hosts_of(url) for url in (public_url, *allowed_origins)))
        self._seen: set[bytes] = set()

    def has_host(self, value: bytes | None) -> bool:
        """Whether a ``Host`` header belongs to this service. The port is ignored: a browser sends the page's."""
        if value in self._seen:
            return True
        host = (value or b"").decode("latin-1").lower()
        name, _, port = host.rpartition(":")
        if host not in self._hosts and not (port.isdigit() and len(port) <= 5 and name in self._hosts):
            return False
        if len(self._seen) < _MAX_SEEN:
            self._seen.add(value or b"")
        return True


def origin_of_url(url: str) -> str:
    """The origin of a URL as browsers write it: in lower case, without the scheme's default port."""
    parts = urlsplit(url)
    netloc = parts.netloc.removesuffix(f":{_DEFAULT_PORTS.get(parts.scheme)}")
    return f"{parts.scheme}://{netloc}".lower()


def has_encoded_slash(scope: Any) -> bool:
    """Whether a path contains an encoded slash (``%2F``), which servers decode differently."""
    raw: bytes = scope.get("raw_path") or b""
    return b"%" in raw and b"%2f" in raw.lower()


def _hosts_of(url: str) -> frozenset[str]:
    """The ``Host`` header values of a URL; a loopback or unspecified address has several names."""
    parts = urlsplit(url)
    if parts.hostname in _HERE:
        return _HERE
    return frozenset({parts.netloc.lower(), *([parts.hostname] if parts.hostname else [])})


class OwnAddresses:
    """The URLs of the service, and its ports on this machine."""

    def __init__(self, urls: Iterable[str], ports: Iterable[int] = ()) -> None:
        own = [urlsplit(url) for url in urls]
        self._places = frozenset((_name(parts.hostname or ""), port_of(parts)) for parts in own)
        # This machine has several names.
        self._ports = frozenset([*ports, *(port for name, port in self._places if is_loopback(name))])

    def holds(self, url: str) -> bool:
        """Whether a URL leads to this service. An invalid URL does not."""
        try:
            parts = urlsplit(url)
            name, port = _name(parts.hostname or ""), port_of(parts)
        except ValueError:
            return False
        return (name, port) in self._places or (port in self._ports and is_loopback(name))


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def port_of(parts: SplitResult) -> int | None:
    """The port of a URL, or the scheme's default. Raises ``ValueError``."""
    return parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _name(host: str) -> str:
    return host.lower().rstrip(".")
