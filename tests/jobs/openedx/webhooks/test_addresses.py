"""S-14: webhooks go to the configured address and nowhere else, whatever a name, a redirect or an environment says."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from include.config.environments import current_environment
from include.contract import PermanentError
from include.jobs.openedx.webhooks import addresses
from include.jobs.openedx.webhooks.addresses import BlockedAddressError, CheckedTransport, is_public
from tests.jobs.openedx.webhooks.harness import World, event

PUBLIC = ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")
BLOCKED = (
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::7f00:1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1:0:0:8080:8080"),
)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", BLOCKED)
def test_addresses_of_machine_network_and_cloud(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine on both families, and whatever was sent to it; an entry per connection."""
    heard: list[bytes] = []
    server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server.settimeout(0.1)
    done = threading.Event()

    def listen() -> None:
        while not done.is_set():
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            connection.settimeout(30)
            with connection:
                heard.append(connection.recv(1000))

    thread = threading.Thread(target=listen)
    thread.start()
    yield server.getsockname()[1], heard
    done.set()
    thread.join()
    server.close()


@pytest.fixture
def outside(world: World) -> World:
    """An environment that is no laptop, with one event to send."""
    world.enqueue(event())
    world.patch.setenv("OL_ENVIRONMENT", "qa")
    world.patch.setenv("OL_IMAGE_TAG", "test-1")
    current_environment.cache_clear()
    return world


HOSTS = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0.0.0.0", "169.254.169.254", "[64:ff9b::7f00:1]")


@pytest.mark.parametrize("host", HOSTS)
def test_blocked_addresses_get_no_connection(outside: World, listener: tuple[int, list[bytes]], host: str) -> None:
    port, heard = listener
    outside.patch.setenv("MIT_LEARN_BASE_URL", f"https://{host}:{port}")
    with pytest.raises(PermanentError, match=r"MIT_LEARN_BASE_URL: .* leads to .*; allowed: addresses of the internet"):
        outside.deliver()
    assert heard == []
    assert (outside.states(event()), outside.row(event())["attempts"]) == (["pending"], 0)


def test_the_listener_hears_what_is_not_blocked(world: World, listener: tuple[int, list[bytes]]) -> None:
    """The test above could fail: on a laptop the same address is allowed."""
    port, heard = listener
    world.enqueue(event())
    world.patch.setenv("MIT_LEARN_BASE_URL", f"http://127.0.0.1:{port}")
    world.deliver("--limit", "1")
    assert [text[:37] for text in heard] == [b"POST /api/v1/webhooks/content_files/ "]


def answers(patch: pytest.MonkeyPatch, *rounds: tuple[str, ...]) -> list[str]:
    """A resolver that answers differently each time; the names it was asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[addresses.IPAddress]:
        asked.append(host)
        return [ipaddress.ip_address(text) for text in rounds[min(len(asked), len(rounds)) - 1]]

    patch.setattr(addresses, "addresses_of", resolve)
    return asked


def test_a_name_that_changes_its_mind_gets_no_connection(outside: World, listener: tuple[int, list[bytes]]) -> None:
    """DNS rebinding: a public address for the check, the machine's own for the request."""
    port, heard = listener
    outside.patch.setenv("MIT_LEARN_BASE_URL", f"https://learn.example:{port}")
    asked = answers(outside.patch, ("8.8.8.8",), ("127.0.0.1",))
    with pytest.raises(PermanentError, match=r"learn\.example leads to 127\.0\.0\.1"):
        outside.deliver()
    assert (heard, asked) == ([], ["learn.example"] * 2)
    assert outside.states(event()) == ["pending"]


def test_a_name_with_one_blocked_address_is_blocked(outside: World) -> None:
    outside.patch.setenv("MIT_LEARN_BASE_URL", "https://learn.example")
    answers(outside.patch, ("8.8.8.8", "10.1.2.3"))
    with pytest.raises(PermanentError, match=r"learn\.example leads to 10\.1\.2\.3"):
        outside.deliver()


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch, listener: tuple[int, list[bytes]]) -> None:
    """One question to the resolver per request: between the check and the connection nothing is looked up."""
    port, heard = listener
    asked = answers(monkeypatch, ("127.0.0.1",), ("192.0.2.1",))
    real = socket.getaddrinfo

    def literal_only(host: Any, *rest: Any, **options: Any) -> Any:
        ipaddress.ip_address(host)  # raises for a name
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", literal_only)

    async def post() -> None:
        async with httpx.AsyncClient(transport=CheckedTransport(public_only=False, limits=httpx.Limits()), trust_env=False, timeout=60) as client:
            with pytest.raises(httpx.TransportError):
                await client.post(f"http://learn.example:{port}/x", content=b"body")

    asyncio.run(post())
    assert asked == ["learn.example"]
    assert b"\r\nHost: learn.example:" in heard[0]


def test_the_next_address_is_tried(world: World) -> None:
    """The receiver listens at the second alone."""
    answers(world.patch, ("127.0.0.2", "127.0.0.1"))
    world.patch.setenv("MIT_LEARN_BASE_URL", world.learn.url.replace("127.0.0.1", "learn.example"))
    world.enqueue(event())
    assert world.deliver()["delivered"] == 1
    assert world.learn.receipts()[0].headers["host"].startswith("learn.example:")


def test_proxies_of_the_environment_are_not_used(world: World, listener: tuple[int, list[bytes]]) -> None:
    port, heard = listener
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        world.patch.setenv(name, f"http://127.0.0.1:{port}")
    world.enqueue(event())
    assert world.deliver()["delivered"] == 1
    assert heard == []


def test_blocked_is_no_network_error() -> None:
    """So that no retry swallows it."""
    assert not issubclass(BlockedAddressError, httpx.HTTPError)


# --- certificates --------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate of a name by itself, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False).add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    public, private = folder / f"{name}.pem", folder / f"{name}.key"
    public.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[tuple[int, list[str | None]]]:
    """Answers one request over TLS; the names that clients asked for."""
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            with context.wrap_socket(server.accept()[0], server_side=True) as connection:
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except OSError:
            return  # the client did not like the certificate

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1], names
    thread.join(10)
    server.close()


@pytest.mark.parametrize("name", ["learn.example", "other.example"])
def test_a_certificate_is_still_the_name_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The connection goes to an address, the certificate must be that of the name."""
    public, context = certificate(tmp_path, name)
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    answers(monkeypatch, ("127.0.0.1",))

    async def get(port: int) -> str:
        async with httpx.AsyncClient(transport=CheckedTransport(public_only=False, limits=httpx.Limits()), trust_env=False, timeout=60) as client:
            return (await client.get(f"https://learn.example:{port}/")).text

    with tls_server(context) as (port, names):
        if name == "learn.example":
            assert asyncio.run(get(port)) == "ok"
        else:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                asyncio.run(get(port))
    assert names == ["learn.example"]
