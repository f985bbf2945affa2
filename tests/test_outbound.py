"""Users' URLs: https, global addresses, the address that was checked, no redirect, caps on bytes and time."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from minitik_dagster.outbound import (
    Outbound,
    OutboundFailedError,
    OutboundRefusedError,
)

pytestmark = pytest.mark.anyio
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    """On asyncio only."""
    return "asyncio"


class Dns:
    """A resolver that gives its answers in turn, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def served(answer: bytes, **tls: ssl.SSLContext) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on loopback that gives one raw answer; yields its port and the heads it has seen."""
    heads: list[bytes] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            # What is not complete stays open: the other side decides how long it waits.
            if not answer.endswith(b"\r\n\r\n") and b"Transfer-Encoding" not in answer:
                return
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls.get("tls"))
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()


def answer(body: bytes, status: str = "200 OK", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


PRIVATE = [
    "127.0.0.1", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.1.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1",
    "2001:db8::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "not an address",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
async def test_what_is_not_on_the_public_internet_is_refused(address: str) -> None:
    """Private, local, documentation and multicast ranges, IPv4 inside IPv6 too; nothing is connected."""
    outbound = Outbound(resolve=Dns([address]))
    with pytest.raises(OutboundRefusedError, match="not on the public internet"):
        await outbound.check_url("https://cover.example/c.jpg")


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"])
async def test_a_global_address_passes(address: str) -> None:
    """The checked address is the one that is kept."""
    target = await Outbound(resolve=Dns([address])).check_url("https://cover.example/c.jpg")
    assert target.addresses == (str(ipaddress.ip_address(address)),)


async def test_one_private_answer_among_global_ones_is_enough() -> None:
    """Which of them is used would be the resolver's choice."""
    outbound = Outbound(resolve=Dns(["93.184.216.34", "10.0.0.1"]))
    with pytest.raises(OutboundRefusedError):
        await outbound.check_url("https://cover.example/c.jpg")


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "localhost"]
)
async def test_other_spellings_of_loopback_are_seen_through(host: str) -> None:
    """By the system's own resolver, as a connection would be."""
    with pytest.raises((OutboundRefusedError, OutboundFailedError)):
        await Outbound().check_url(f"https://{host}/c.jpg")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://cover.example/c.jpg", "not https"),
        ("ftp://cover.example/c.jpg", "not https"),
        ("file:///etc/passwd", "not https"),
        ("//cover.example/c.jpg", "not https"),
        ("https:///c.jpg", "names no host"),
        ("https://user:secret@cover.example/c.jpg", "user name"),
        ("https://cover.example:99999/c.jpg", "names no port"),
        ("https://cover.example/" + "x" * 2_048, "longer than"),
        ("https://cover.example/\n", "not a URL"),
    ],
)
@pytest.mark.parametrize("loopback", [False, True])
async def test_a_url_of_the_wrong_form_is_refused_without_a_lookup(
    url: str, why: str, loopback: bool
) -> None:
    """https, a host, no credentials, a bounded length; what it carries is not repeated."""
    dns = Dns(["93.184.216.34"])
    with pytest.raises(OutboundRefusedError, match=why) as caught:
        await Outbound(loopback=loopback, resolve=dns).fetch(url, max_bytes=1, seconds=5)
    assert "secret" not in str(caught.value)
    assert dns.asked == [] or url.startswith("http://")


async def test_loopback_is_allowed_in_the_sandboxs_world_only() -> None:
    """Over plain http there, and nowhere else plain http."""
    async with served(answer(b"picture")) as (port, heads):
        url = f"http://127.0.0.1:{port}/c.jpg?sig=1"
        with pytest.raises(OutboundRefusedError):
            await Outbound().fetch(url, max_bytes=100, seconds=5)
        assert heads == []
        got = await Outbound(loopback=True).fetch(url, max_bytes=100, seconds=5)
        assert (got.status, got.body) == (200, b"picture")
        assert heads[0].startswith(b"GET /c.jpg?sig=1 HTTP/1.1\r\n")
    elsewhere = Outbound(loopback=True, resolve=Dns(["93.184.216.34"]))
    with pytest.raises(OutboundRefusedError, match="not https"):
        await elsewhere.check_url("http://cover.example/c.jpg")


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name that answers otherwise the second time is not asked a second time."""
    async with served(answer(b"first")) as (port, heads):
        dns = Dns(["127.0.0.1"], ["10.0.0.1"])
        outbound = Outbound(loopback=True, resolve=dns)
        got = await outbound.fetch(f"http://rebinding.example:{port}/", max_bytes=10, seconds=5)
        assert got.body == b"first"
        assert dns.asked == ["rebinding.example"]
        assert f"Host: rebinding.example:{port}".encode() in heads[0]
        with pytest.raises(OutboundRefusedError):
            await outbound.fetch(f"http://rebinding.example:{port}/", max_bytes=10, seconds=5)
        assert len(heads) == 1


async def test_another_checked_address_is_tried_where_one_does_not_answer() -> None:
    """As a browser does; each of them was checked."""
    async with served(answer(b"second")) as (port, _):
        outbound = Outbound(loopback=True, resolve=Dns(["::1", "127.0.0.1"]))
        got = await outbound.fetch(f"http://two.example:{port}/", max_bytes=10, seconds=10)
        assert got.body == b"second"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Again", "308 Always"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    """It could lead inside."""
    body = answer(b"", status, "Location: http://127.0.0.1:1/")
    async with served(body) as (port, heads):
        with pytest.raises(OutboundRefusedError, match="redirect"):
            await Outbound(loopback=True).fetch(
                f"http://127.0.0.1:{port}/", max_bytes=10, seconds=5
            )
        assert len(heads) == 1


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"x" * 11),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n123456\r\n",
    ],
    ids=["announced", "not announced"],
)
async def test_more_bytes_than_allowed_are_not_read(raw: bytes) -> None:
    """Neither where they are announced nor where they just keep coming."""
    async with served(raw) as (port, _):
        with pytest.raises(OutboundRefusedError, match="more than 10 bytes"):
            await Outbound(loopback=True).fetch(
                f"http://127.0.0.1:{port}/", max_bytes=10, seconds=5
            )


async def test_exactly_the_allowed_bytes_are_read() -> None:
    async with served(answer(b"x" * 10)) as (port, _):
        got = await Outbound(loopback=True).fetch(
            f"http://127.0.0.1:{port}/", max_bytes=10, seconds=5
        )
        assert len(got.body) == 10


async def test_a_body_that_does_not_end_is_given_up_in_time() -> None:
    """The time is one for all of it: bytes that trickle do not stretch it."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    async with served(raw) as (port, _):
        with pytest.raises(OutboundFailedError, match=r"within 0\.3 s"):
            await Outbound(loopback=True).fetch(
                f"http://127.0.0.1:{port}/", max_bytes=10, seconds=0.3
            )


async def test_a_name_that_is_not_there_and_a_port_that_is_shut_may_pass() -> None:
    """Failed, not refused."""

    async def nothing(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    with pytest.raises(OutboundFailedError, match="has no address"):
        await Outbound(resolve=nothing).check_url("https://cover.example/")
    async with served(b"") as (port, _):
        pass
    with pytest.raises(OutboundFailedError, match="could not be reached"):
        await Outbound(loopback=True).fetch(f"http://127.0.0.1:{port}/", max_bytes=1, seconds=5)


def _certificate(folder: Path, name: str) -> Path:
    """A key and a certificate of its own for `name`, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_the_certificate_is_held_against_the_urls_name_not_the_address(
    tmp_path: Path,
) -> None:
    """TLS to the checked address, for the name that the user wrote."""
    pem = _certificate(tmp_path, "cover.example")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(pem)
    trust = ssl.create_default_context(cafile=str(pem))
    outbound = Outbound(loopback=True, resolve=Dns(["127.0.0.1"]), tls=trust)
    async with served(answer(b"sealed"), tls=server_side) as (port, _):
        got = await outbound.fetch(f"https://cover.example:{port}/", max_bytes=10, seconds=5)
        assert got.body == b"sealed"
        with pytest.raises(OutboundFailedError):
            await outbound.fetch(f"https://other.example:{port}/", max_bytes=10, seconds=5)
