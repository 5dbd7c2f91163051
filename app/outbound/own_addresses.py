"""Which addresses are this service's own, so that nothing is led back to it unawares."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

_PORTS = {"https": 443, "http": 80}


class OwnAddresses:
    """The URLs under which the service is reached, and the ports that it has on this machine."""

    def __init__(self, urls: Iterable[str], ports: Iterable[int] = ()) -> None:
        own = [urlsplit(url) for url in urls]
        self._places = frozenset((_name(parts.hostname or ""), port_of(parts)) for parts in own)
        # This machine has several names.
        self._ports = frozenset([*ports, *(port for name, port in self._places if is_loopback(name))])

    def holds(self, url: str) -> bool:
        """Whether a URL leads here. What is no URL leads nowhere."""
        try:
            parts = urlsplit(url)
            name, port = _name(parts.hostname or ""), port_of(parts)
        except ValueError:
            return False
        return (name, port) in self._places or (port in self._ports and is_loopback(name))


def is_loopback(host: str) -> bool:
    """Whether a host's name is this machine's, or an address that is."""
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
    """The port of a URL, also where it does not name one. Raises ``ValueError``."""
    return parts.port or _PORTS.get(parts.scheme)


def _name(host: str) -> str:
    return host.lower().rstrip(".")
