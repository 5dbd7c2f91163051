"""SSRF protection: the rules for URLs, names and addresses of outbound requests, and their errors.

A URL is checked when it is registered (``check_url``, no I/O) and again at each connect. There the name is resolved
once, every address is checked, and the connection goes to a checked address, which prevents DNS rebinding.

Error messages never contain a header, a body or a query.
"""

import asyncio
import ipaddress
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal, NoReturn
from urllib.parse import urlsplit

import idna

UpstreamErrorKind = Literal[
    "resolve",  # the name has no address
    "connect",  # no connection to the address
    "tls",  # the handshake failed (certificate, name)
    "busy",  # all connections that the limits allow are in use
    "unavailable",  # paused by the circuit breaker
    "timeout",  # connected, but too slow
    "closed",  # the connection ended before the response
    "protocol",  # the response is not acceptable HTTP/1.1
    "compressed",  # the response is compressed although identity was requested
    "too_large",  # the response exceeds a limit
]


class OutboundError(Exception):
    """The base of all errors of outbound requests."""


class ForbiddenUrl(OutboundError):
    """The URL or one of its addresses is forbidden; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotForwarded(OutboundError):
    """``before_send`` returned False, so nothing was written."""

    def __init__(self) -> None:
        super().__init__("the request was not sent")


class UpstreamError(OutboundError):
    """The upstream failed. ``may_have_been_sent`` is False only if no byte of the request was written, which is the
    only case in which a retry is safe."""

    def __init__(
        self,
        kind: UpstreamErrorKind,
        message: str,
        *,
        may_have_been_sent: bool = True,
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.kind: UpstreamErrorKind = kind
        self.message = message
        self.may_have_been_sent = may_have_been_sent


def not_sent(kind: UpstreamErrorKind, message: str, *, retry_after_s: int = 1) -> UpstreamError:
    """An error before the first byte of the request was written."""
    return UpstreamError(kind, message, may_have_been_sent=False, retry_after_s=retry_after_s)


IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 6890 and later registrations, listed here because ``is_global`` depends on the Python version. 168.63.129.16 is
# Azure's public-looking platform address.
_FORBIDDEN: tuple[tuple[IPNetwork, str], ...] = tuple(
    (ipaddress.ip_network(network), why)
    for why, networks in {
        "unspecified": "0.0.0.0/8 ::/128",
        "private": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7",
        "shared": "100.64.0.0/10",
        "loopback": "127.0.0.0/8 ::1/128",
        "link-local": "169.254.0.0/16 fe80::/10",
        "multicast": "224.0.0.0/4 ff00::/8",
        # 2001::/23 includes Teredo, whose tunnel endpoints cannot be verified.
        "reserved": "192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
        "240.0.0.0/4 2001::/23 2001:db8::/32 3fff::/20",
    }.items()
    for network in networks.split()
)
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
_METADATA_TEXTS = "169.254.169.254 169.254.170.2 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254"
_METADATA = frozenset(map(ipaddress.ip_address, _METADATA_TEXTS.split()))
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")

# Visible ASCII without the characters that URL parsers treat differently.
_URL_ASCII = re.compile(r"[!#-;=?-\[\]_a-z~]+")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_HOST_NAME = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)

# Separate threads, so that a silent resolver does not block other work in threads.
_RESOLVER_THREADS = ThreadPoolExecutor(16, thread_name_prefix="look-up")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port (RFC 6454). ``host`` is lower-case ASCII; IPv6 addresses have no brackets."""

    scheme: str
    host: str
    port: int
    socket: str | None = None
    """A Unix socket to connect to instead of the host. No URL is parsed to such an origin."""
    authority: bytes = field(init=False, compare=False, repr=False)
    """The value of ``Host``, with the port unless it is the scheme's default."""

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        object.__setattr__(self, "authority", f"{host}{port}".encode("ascii"))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority.decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL: its origin, and its path with query as sent."""

    origin: Origin
    path: bytes


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Allows public addresses, and others only inside ``allowed_networks``.

    A cloud's metadata address needs a network of exactly that address, so that allowing a private range does not
    include it by accident.
    """

    allowed_networks: tuple[IPNetwork, ...] = ()

    def check_url(self, url: str) -> Origin:
        """Check a URL for registration, without I/O. Raises ``ForbiddenUrl``."""
        return self.check_target(url).origin

    def check_target(self, url: str) -> Target:
        """Check a URL and split it for sending, without I/O. Raises ``ForbiddenUrl``."""
        origin, path = _split(url)
        literal = _literal(origin.host)
        if literal is not None:
            self.check_address(literal)
        elif _is_loopback_name(origin.host) and not self._allows_loopback():
            raise ForbiddenUrl("the host is a loopback name, which is not an allowed network")
        return Target(origin, path)

    def is_allowed_network(self, origin: Origin) -> bool:
        """Whether an origin is an address or a loopback name that the operator explicitly allowed."""
        literal = _literal(origin.host)
        if literal is None:
            return _is_loopback_name(origin.host) and self._allows_loopback()
        return self._allows(literal)

    def check_address(self, address: IPAddress) -> None:
        """Raise ``ForbiddenUrl`` if connections to this address are not allowed."""
        embedded = _embedded(address)
        if embedded is not None and not self._allows(address):
            self.check_address(embedded)
            return
        why = "metadata" if address in _METADATA else _forbidden(address)
        if why is not None and not self._allows(address):
            raise ForbiddenUrl(f"the address is {why} and not in an allowed network")

    async def resolve(self, origin: Origin) -> list[IPAddress]:
        """Resolve an origin with one lookup, and check all its addresses.

        Raises ``ForbiddenUrl`` if any address is forbidden, and ``UpstreamError("resolve")`` if there is none.
        """
        literal = _literal(origin.host)
        if literal is not None:
            self.check_address(literal)
            return [literal]
        try:
            texts = await asyncio.get_running_loop().run_in_executor(_RESOLVER_THREADS, _resolve_host, origin)
        except (OSError, UnicodeError):
            raise not_sent("resolve", "the host name has no address") from None
        addresses = list(dict.fromkeys(map(ipaddress.ip_address, texts)))
        if not addresses:
            raise not_sent("resolve", "the host name has no address")
        for address in addresses:
            self.check_address(address)
        return addresses

    def _allows_loopback(self) -> bool:
        return self._allows(IPv4Address("127.0.0.1")) or self._allows(IPv6Address("::1"))

    def _allows(self, address: IPAddress) -> bool:
        if address in _METADATA:
            return any(net.num_addresses == 1 and address in net for net in self.allowed_networks)
        return any(address in net for net in self.allowed_networks)


def origin_of(url: str) -> Origin:
    """The origin of a URL, which may be forbidden. Raises ``ForbiddenUrl`` for a malformed or unsupported URL."""
    return _split(url)[0]


def _split(url: str) -> tuple[Origin, bytes]:
    host_may_be_unicode = re.sub(r"[^\x00-\x7f]", "a", url)
    if not _URL_ASCII.fullmatch(host_may_be_unicode.lower()):
        raise ForbiddenUrl("the URL holds a character that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ForbiddenUrl("the URL cannot be read") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ForbiddenUrl("the URL must be http or https")
    if "@" in parts.netloc:
        raise ForbiddenUrl("the URL must not hold a user name or password")
    if "#" in url:
        raise ForbiddenUrl("the URL must not have a fragment")
    if parts.netloc.endswith(":") or port == 0:
        raise ForbiddenUrl("the port is not valid")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise ForbiddenUrl("the URL holds a character that must be percent-encoded")
    host = _host(parts.hostname or "")
    return Origin(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme]), path.encode("ascii")


def _host(text: str) -> str:
    """Normalize a host: lower-case ASCII, IDNA (UTS 46), canonical addresses."""
    if ":" in text:
        try:
            return _ipv6_text(IPv6Address(text)) if "%" not in text else _reject_host()
        except ValueError:
            _reject_host()
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            _reject_host()
    host = text.lower()
    if _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        # WHATWG URL: a host whose last label is a number is an IPv4 address. Resolvers interpret ``127.1``, octal and
        # hexadecimal forms differently, so only the canonical form is accepted.
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise ForbiddenUrl("an IPv4 address must be four decimal numbers") from None
    host = host.removesuffix(".")
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        _reject_host()
    return host


def _ipv6_text(address: IPv6Address) -> str:
    """The same text on every Python version, since origins are compared; 3.13 writes mapped addresses with dots."""
    if address.ipv4_mapped is None:
        return address.compressed
    number = int(address.ipv4_mapped)
    return f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}"


def _resolve_host(origin: Origin) -> list[str]:
    entries = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(entry[4][0]) for entry in entries]


def _is_loopback_name(host: str) -> bool:
    """Whether RFC 6761 reserves the name for loopback."""
    return host == "localhost" or host.endswith(".localhost")


def _reject_host() -> NoReturn:
    raise ForbiddenUrl("the host is not valid")


def _literal(host: str) -> IPAddress | None:
    if ":" not in host and not host[-1].isdigit():
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _embedded(address: IPAddress) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 address: mapped, NAT64 (RFC 6052) or 6to4 (RFC 3056)."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _SIX_TO_FOUR:
        return IPv4Address((int(address) >> 80) & 0xFFFF_FFFF)
    return None


def _forbidden(address: IPAddress) -> str | None:
    why = next((why for network, why in _FORBIDDEN if address in network), None)
    if why is None and isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST_V6:
        return "reserved"
    return why
