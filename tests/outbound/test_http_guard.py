"""No spelling of a forbidden address passes the guard."""

import asyncio
import socket
import threading
from ipaddress import ip_address, ip_network
from typing import Any, NoReturn
from uuid import UUID

import pytest

from app.outbound.http import AddressPolicy, ForbiddenUrl, Origin, OutboundClient, UpstreamError, origin_of
from app.outbound.stdio import SupervisorAddress

CLOSED = AddressPolicy()

FORBIDDEN = [
    "ftp://example.com/",
    "file:///etc/passwd",
    "//example.com/",
    "example.com",
    "",
    "http://",
    "http:///path",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://example.com/#fragment",
    "http://example.com#",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:/",
    "http://example.com:abc/",
    "http://exa mple.com/",
    "http://example.com/a b",
    "http://example.com\\@evil.example/",
    "http://example.com/\r\nHost: x",
    "http://exam\tple.com/",
    "http://example.com/p\u00e4th",
    "http://-/",
    "http://a..b/",
    "http://" + "a" * 64 + ".example/",
    "http://[::1/",
    "http://[fe80::1%25eth0]/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://x.localhost/",
    "http://127.0.0.1/",
    "http://127.0.0.1./",
    "http://127.1/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://127.0.0.01/",
    "http://1.2.3.4.5/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://127\u30020\u30020\u30021/",
    "http://0.0.0.0/",
    "http://10.1.2.3/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[64:ff9b:1::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[2001:db8::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[4000::1]/",
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_a_forbidden_url_is_refused_without_any_look_up(url: str) -> None:
    with pytest.raises(ForbiddenUrl) as caught:
        CLOSED.check_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "origin", "authority", "path"),
    [
        ("https://Example.COM", Origin("https", "example.com", 443), b"example.com", b"/"),
        (
            "http://example.com:8080/mcp?a=b",
            Origin("http", "example.com", 8080),
            b"example.com:8080",
            b"/mcp?a=b",
        ),
        ("https://example.com.:443/%20", Origin("https", "example.com", 443), b"example.com", b"/%20"),
        (
            "https://b\u00fccher.example/",
            Origin("https", "xn--bcher-kva.example", 443),
            b"xn--bcher-kva.example",
            b"/",
        ),
        ("http://8.8.8.8/", Origin("http", "8.8.8.8", 80), b"8.8.8.8", b"/"),
        (
            "http://[2606:4700::1111]:81/",
            Origin("http", "2606:4700::1111", 81),
            b"[2606:4700::1111]:81",
            b"/",
        ),
        ("http://[::ffff:8.8.8.8]/", Origin("http", "::ffff:808:808", 80), b"[::ffff:808:808]", b"/"),
        (
            "http://my_host.internal.example/",
            Origin("http", "my_host.internal.example", 80),
            b"my_host.internal.example",
            b"/",
        ),
    ],
)
def test_a_good_url_is_split_into_origin_and_path(
    url: str, origin: Origin, authority: bytes, path: bytes
) -> None:
    target = CLOSED.check_target(url)
    assert (target.origin, target.path) == (origin, path)
    assert target.origin.authority == authority


def test_an_allowed_network_opens_itself_and_nothing_else() -> None:
    policy = AddressPolicy((ip_network("10.0.0.0/8"), ip_network("::1/128")))
    for url in ("http://10.1.2.3/", "http://[::ffff:10.1.2.3]/", "http://[::1]/", "http://localhost/"):
        policy.check_url(url)
    for url in ("http://127.0.0.1/", "http://192.168.0.1/", "http://169.254.169.254/"):
        with pytest.raises(ForbiddenUrl):
            policy.check_url(url)


def test_metadata_addresses_need_a_network_of_their_own() -> None:
    wide = AddressPolicy((ip_network("169.254.0.0/16"), ip_network("0.0.0.0/0"), ip_network("fc00::/7")))
    for url in ("http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://[::ffff:169.254.169.254]/"):
        with pytest.raises(ForbiddenUrl):
            wide.check_url(url)
    AddressPolicy((ip_network("169.254.169.254/32"),)).check_url("http://169.254.169.254/")


def answer_with(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_kw: Any) -> list[Any]:
        asked.append(host)
        if not addresses:
            raise socket.gaierror
        return [(0, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


async def test_every_address_of_a_name_is_checked_in_one_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_with(monkeypatch, "8.8.8.8", "2606:4700::1111")
    addresses = await CLOSED.resolve(Origin("http", "example.com", 80))
    assert addresses == [ip_address("8.8.8.8"), ip_address("2606:4700::1111")]
    assert asked == ["example.com"]


@pytest.mark.parametrize("bad", ["127.0.0.1", "10.0.0.1", "::ffff:169.254.169.254", "fe80::1%3"])
async def test_one_forbidden_address_among_good_ones_refuses_the_name(
    monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    answer_with(monkeypatch, "8.8.8.8", bad)
    with pytest.raises(ForbiddenUrl):
        await CLOSED.resolve(Origin("http", "example.com", 80))


async def test_a_name_without_address_is_an_upstream_error_with_nothing_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_with(monkeypatch)
    with pytest.raises(UpstreamError) as caught:
        await CLOSED.resolve(Origin("http", "example.com", 80))
    assert (caught.value.kind, caught.value.may_have_been_sent) == ("resolve", False)


@pytest.mark.parametrize("url", ["http://0123.stdio/mcp", "http://0123.stdio:80/mcp"])
def test_no_url_reads_as_the_origin_of_a_command(url: str) -> None:
    ours = SupervisorAddress("/run/x", "secret").target(UUID(int=0x123)).origin
    named = origin_of(url.replace("0123", ours.host.partition(".")[0]))
    assert (named.scheme, named.host, named.port) == (ours.scheme, ours.host, ours.port)
    assert named != ours
    assert named.socket is None


async def test_a_name_whose_resolver_keeps_silent_takes_one_thread_and_none_that_others_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go, asked, loop = threading.Event(), list[str](), asyncio.get_running_loop()
    begun = asyncio.Event()

    def look_up(host: str, *_rest: object, **_named: object) -> NoReturn:
        asked.append(host)
        loop.call_soon_threadsafe(begun.set)
        go.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with OutboundClient(AddressPolicy()) as client, asyncio.timeout(50):
        try:
            calls = [
                asyncio.create_task(client.request("GET", "http://silent.example/", caller=caller))
                for caller in range(100)
            ]
            await begun.wait()
            async with asyncio.timeout(50):
                assert await asyncio.to_thread(len, asked) == 1
        finally:
            go.set()
        for call in calls:
            with pytest.raises(UpstreamError) as caught:
                await call
            assert caught.value.kind == "resolve"
    assert asked == ["silent.example"]
