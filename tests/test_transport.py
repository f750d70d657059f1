"""The transport against a real, hostile server: what goes out, what comes back, and where it will not go."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ipaddress
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.config.models import DestinationConfig
from gateway.deliver.direct import DirectTransport
from gateway.deliver.guard import Guard, guard_of, loopback_literal
from gateway.deliver.transport import REPLY_BYTES, AiohttpTransport, Transport, classified
from gateway.destination import Request
from tests.vendor import Play, Vendor


def config(**keys: Any) -> DestinationConfig:
    return DestinationConfig(name="hook", type="webhook", file="hook.yaml", sources=["shop"], **keys)


def post(url: str, body: bytes = b"{}", **headers: str) -> Request:
    return Request("POST", url, {"Content-Type": "application/json", **headers}, body)


class Names(AbstractResolver):
    """A resolver of scripted answers; the last one stays."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        self.asked += 1
        address = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not address:
            raise OSError(socket.EAI_NONAME, "Name or service not known")
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)]

    async def close(self) -> None:
        return None


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    fake = await Vendor().start()
    yield fake
    await fake.stop()
    fake.check()


Make = Callable[..., AiohttpTransport | DirectTransport]


@pytest.fixture(params=[AiohttpTransport, DirectTransport], ids=["aiohttp", "direct"])
def make(request: pytest.FixtureRequest) -> Make:
    """Every transport there is; what is tested with it holds for all of them."""
    made: Make = request.param
    return made


@pytest.fixture
async def transport(vendor: Vendor, make: Make) -> AsyncIterator[Transport]:
    made = make(config(endpoint=vendor.url()), total=0.4, connect=0.2)
    yield made
    await made.close()


async def test_a_request_arrives_as_it_was_built(vendor: Vendor, transport: Transport) -> None:
    vendor.answers(Play(202, b'{"ok":1}', {"X-Trace": "7"}))
    reply = await transport.send(post(vendor.url("/a%2Fb?k=%20v"), b'{"a":1}', Authorization="Bearer t"))
    (seen,) = vendor.seen
    assert (reply.status, reply.json(), reply.headers["x-trace"], reply.error) == (202, {"ok": 1}, "7", "")
    assert reply.ms > 0
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/a%2Fb", "k=%20v", b'{"a":1}')
    assert seen.headers["Authorization"] == "Bearer t"
    assert seen.headers["Accept-Encoding"] == "identity"
    assert seen.headers["User-Agent"].startswith("Tagway/")
    assert "Cookie" not in seen.headers


async def test_connections_are_reused(vendor: Vendor, transport: Transport) -> None:
    vendor.always(Play())
    for _ in range(5):
        await transport.send(post(vendor.url()))
    assert len({seen.peer for seen in vendor.seen}) == 1


async def test_connections_are_recycled_after_five_minutes(
    vendor: Vendor, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.always(Play())
    await transport.send(post(vendor.url()))
    monkeypatch.setattr(f"{type(transport).__module__}.RECYCLE_SECONDS", 0.0)
    await transport.send(post(vendor.url()))
    assert len({seen.peer for seen in vendor.seen}) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(vendor: Vendor, transport: Transport, status: int) -> None:
    vendor.answers(Play(status, b"", {"Location": vendor.url("/elsewhere")}))
    reply = await transport.send(post(vendor.url()))
    assert reply.status == status
    assert len(vendor.seen) == 1


async def test_a_cookie_of_the_vendor_is_not_kept(vendor: Vendor, transport: Transport) -> None:
    vendor.answers(Play(headers={"Set-Cookie": "sid=1"}), Play())
    await transport.send(post(vendor.url()))
    await transport.send(post(vendor.url()))
    assert "Cookie" not in vendor.seen[1].headers


async def test_the_proxy_of_the_environment_is_not_used(
    vendor: Vendor, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.answers(Play())
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await transport.send(post(vendor.url()))).status == 200


@pytest.mark.parametrize(
    ("fault", "error"),
    [("hang", "timeout"), ("drip", "timeout"), ("reset", "connect"), ("reset_unread", "connect"), ("cut", "connect")],
)
async def test_a_vendor_that_misbehaves_is_a_reply_with_an_error(
    vendor: Vendor, transport: Transport, fault: str, error: str
) -> None:
    vendor.answers(Play(fault=fault))
    reply = await transport.send(post(vendor.url(), b"x" * 200_000))
    assert (reply.status, reply.error) == (0, error)


async def test_an_endless_reply_is_cut_and_its_connection_dropped(vendor: Vendor, transport: Transport) -> None:
    vendor.answers(Play(fault="endless"), Play())
    reply = await transport.send(post(vendor.url()))
    assert (reply.status, len(reply.body)) == (200, REPLY_BYTES)
    assert vendor.sent < 16 * 2**20
    await transport.send(post(vendor.url()))
    assert vendor.seen[0].peer != vendor.seen[1].peer


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_bomb_gives_at_most_64_kib(vendor: Vendor, transport: Transport, coding: str) -> None:
    plain = b"0" * 20_000_000
    packed = gzip.compress(plain) if coding == "gzip" else zlib.compress(plain)
    vendor.answers(Play(body=packed, headers={"Content-Encoding": coding}))
    reply = await transport.send(post(vendor.url()))
    assert reply.body == b"0" * REPLY_BYTES


@pytest.mark.parametrize(
    "body", [b"\xff\xfe\x00", b"{" * 50_000, b"[1,", b"", b"NaN", b"\x00" * 1000, b'{"a":"\\ud800"}', b"\x1f\x8b broken"]
)
async def test_a_reply_that_is_not_json_reads_as_none(vendor: Vendor, transport: Transport, body: bytes) -> None:
    vendor.answers(Play(body=body, headers={"Content-Type": "application/json; charset=utf-64"}))
    reply = await transport.send(post(vendor.url()))
    assert (reply.status, reply.json()) == (200, None)


async def test_broken_gzip_is_an_empty_body(vendor: Vendor, transport: Transport) -> None:
    vendor.answers(Play(body=b"not gzip", headers={"Content-Encoding": "gzip"}))
    assert (await transport.send(post(vendor.url()))).body == b""


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", "http://127.0.0.1/\r\nX: y", {}),
        Request("POST", "http://127.0.0.1/ü", {}),
        Request("POST", "ftp://127.0.0.1/", {}),
        Request("POST", "http://127.0.0.1/", {"X-A": "a\r\nX-B: b"}),
        Request("POST", "http://127.0.0.1/", {"X-A": "ü"}),
        Request("POST", "http://127.0.0.1/", {"X-A": "a\x00"}),
        Request("POST", "http://127.0.0.1:99999/", {}),
    ],
)
async def test_a_request_that_cannot_be_sent_raises_before_anything_is_sent(
    vendor: Vendor, transport: Transport, request_: Request
) -> None:
    with pytest.raises(ValueError):
        await transport.send(request_)
    assert vendor.seen == []


async def test_a_refused_connection_is_connect(transport: Transport, unused: int, make: Make) -> None:
    made = make(config(endpoint=f"http://127.0.0.1:{unused}"))
    assert (await made.send(post(f"http://127.0.0.1:{unused}/"))).error == "connect"
    await made.close()


@pytest.fixture
def unused() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_closing_twice_is_fine_and_sending_afterwards_is_not(vendor: Vendor, make: Make) -> None:
    made = make(config(endpoint=vendor.url()))
    vendor.answers(Play())
    await made.send(post(vendor.url()))
    await made.close()
    await made.close()
    with pytest.raises(ValueError, match="closed"):
        await made.send(post(vendor.url()))


# --- names


async def test_a_name_that_is_not_known_is_dns(vendor: Vendor, make: Make) -> None:
    made = make(config(allow_http=True), resolver=Names(""))
    reply = await made.send(post("http://vendor.example/"))
    assert (reply.status, reply.error) == (0, "dns")
    await made.close()


async def test_a_name_that_turns_to_a_private_address_is_refused(vendor: Vendor, make: Make) -> None:
    names = Names("127.0.0.1", "10.0.0.1")
    made = make(config(allow_http=True, allow_private=["127.0.0.0/8"]), resolver=names)
    vendor.answers(Play(headers={"Connection": "close"}))
    assert (await made.send(post(vendor.url(host="vendor.example")))).status == 200
    made.forget_names()
    reply = await made.send(post(vendor.url(host="vendor.example")))
    assert (reply.error, names.asked) == ("connect", 2)
    assert b"10.0.0.1 is not public" in reply.body
    await made.close()


async def test_names_that_hang_hold_up_nobody(vendor: Vendor, monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    """Forty look-ups that never end; another lane's name and the shared threads still answer at once."""
    release, found = threading.Event(), socket.getaddrinfo

    def look_up(host: str, *rest: Any) -> Any:
        if host.startswith("hung"):
            release.wait(10)
            raise OSError("timed out")
        return found("127.0.0.1", *rest)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    hung = [make(config(allow_http=True), total=0.2, connect=0.1) for _ in range(40)]
    healthy = make(config(allow_http=True, allow_private=["127.0.0.0/8"]))
    vendor.answers(Play())
    lost = [asyncio.create_task(made.send(post(f"http://hung-{n}.example/"))) for n, made in enumerate(hung)]
    await asyncio.sleep(0.02)
    assert (await healthy.send(post(vendor.url(host="well.example")))).status == 200
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 1) == "free"
    assert {reply.error for reply in await asyncio.gather(*lost)} == {"connect"}
    release.set()
    for made in [*hung, healthy]:
        await made.close()


# --- the guard

FORBIDDEN = """
127.0.0.1 127.1 127.0.0.53 2130706433 0x7f000001 0x7f.0.0.1 0177.0.0.1 017700000001 0 0.0.0.0 localhost 127.0.1
10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254 192.168.0.1 192.168.1.254 100.64.0.1 169.254.169.254 169.254.170.2
0xa9fea9fe 2852039166 168.63.129.16 192.0.0.192 192.0.2.1 198.18.0.1 198.51.100.7 203.0.113.9 192.88.99.1
224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
[::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:169.254.169.254] [::ffff:10.0.0.1] [::127.0.0.1] [::7f00:1]
[fe80::1] [fe80::1%25lo] [fc00::1] [fd00:ec2::254] [fec0::1] [ff02::1] [64:ff9b::7f00:1] [64:ff9b::169.254.169.254]
[64:ff9b:1::1] [2002:7f00:1::] [2002:a9fe:a9fe::] [2001::1] [2001:db8::1] [100::1] [0:0:0:0:0:ffff:7f00:1] [::ffff:0:7f00:1]
[::ffff:192.168.0.1] [::ffff:100.64.0.1]
""".split()


def test_there_are_sixty_of_them() -> None:
    assert len(set(FORBIDDEN)) >= 60


@pytest.mark.parametrize("host", FORBIDDEN)
async def test_a_private_address_is_never_connected(host: str, monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    connected: list[Any] = []

    async def sock_connect(_loop: Any, _sock: Any, address: Any) -> None:
        connected.append(address)
        raise OSError("must not get here")

    monkeypatch.setattr("asyncio.selector_events.BaseSelectorEventLoop.sock_connect", sock_connect)
    made = make(config(allow_http=True, allow_private=["198.51.99.0/24"]), total=2)
    try:
        reply = await made.send(post(f"http://{host}/latest/meta-data/"))
        assert (reply.status, connected) == (0, [])
        assert reply.error in ("connect", "dns")
    except ValueError:
        assert connected == []
    finally:
        await made.close()


@pytest.mark.parametrize("host", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(host: str) -> None:
    assert Guard().allows(host, 443)


def test_a_loopback_literal_of_the_operator_is_its_own_permission_for_its_port_alone() -> None:
    guard = guard_of(config(settings={"url": "http://127.0.0.1:8099/hook"}))
    assert guard.allows("127.0.0.1", 8099)
    assert guard.permits_plain("127.0.0.1", 8099)
    assert not guard.allows("127.0.0.1", 8100)
    assert not guard.permits_plain("127.0.0.2", 8099)
    assert not guard.permits_plain("vendor.example", 8099)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8099/x", ("127.0.0.1", 8099)),
        ("https://127.0.0.1", ("127.0.0.1", 443)),
        ("http://[::1]:9/x", ("::1", 9)),
        ("http://localhost:9", None),
        ("http://10.0.0.1:9", None),
        ("127.0.0.1:9", None),
        ("http://127.0.0.1:port", None),
        ("http://x@127.0.0.1.example/", None),
        (None, None),
    ],
)
def test_only_a_loopback_address_written_out_counts(url: str | None, expected: tuple[str, int] | None) -> None:
    assert loopback_literal(url) == expected


def test_allowed_networks_open_what_they_name_and_no_more() -> None:
    guard = Guard(["10.1.0.0/16", "fd00::/8"])
    assert guard.allows("10.1.2.3", 443)
    assert guard.allows("::ffff:10.1.2.3", 443)
    assert guard.allows("fd00::7", 443)
    assert not guard.allows("10.2.0.1", 443)


async def test_plain_http_needs_permission(make: Make) -> None:
    made = make(config())
    reply = await made.send(post("http://vendor.example/"))
    assert (reply.status, reply.error) == (0, "connect")
    assert b"plain http is refused" in reply.body
    await made.close()


# --- TLS


def certificate(folder: Path, name: str, *, days: int = 2, ago: int = 0) -> tuple[Path, Path]:
    """A self-signed certificate for a host name or address, made by openssl."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    try:
        ipaddress.ip_address(name)
        subject = f"IP:{name}"
    except ValueError:
        subject = f"DNS:{name}"
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=ago)
    end = start + datetime.timedelta(days=days)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
    command += ["-subj", "/CN=test", "-addext", f"subjectAltName={subject}"]
    command += ["-not_before", f"{start:%Y%m%d%H%M%SZ}", "-not_after", f"{end:%Y%m%d%H%M%SZ}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        plain = [part for part in command if not part.startswith("-not_")][:-2]
        _sign_with_dates(folder, plain, start, end)
    return cert, key


def _sign_with_dates(folder: Path, command: list[str], start: datetime.datetime, end: datetime.datetime) -> None:
    """For an openssl without -not_before: sign through `openssl ca`, which takes dates."""
    subject = command[command.index("-addext") + 1]
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndir={folder}\ndatabase={folder}/index.txt\nserial={folder}/serial\n"
        f"new_certs_dir={folder}\ndefault_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n"
        f"[e]\n{subject}\nbasicConstraints=critical,CA:true\n"
    )
    csr = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/r.csr"]
    subprocess.run([*csr, "-subj", "/CN=test"], capture_output=True, check=True)
    sign = ["openssl", "ca", "-batch", "-selfsign", "-config", f"{folder}/ca.cnf", "-in", f"{folder}/r.csr"]
    sign += ["-keyfile", f"{folder}/key.pem", "-out", f"{folder}/cert.pem", "-notext"]
    dates = ["-startdate", f"{start:%Y%m%d%H%M%SZ}", "-enddate", f"{end:%Y%m%d%H%M%SZ}"]
    subprocess.run([*sign, *dates], capture_output=True, check=True)


@pytest.mark.parametrize(
    ("name", "ago", "trusted", "delivered"),
    [
        ("127.0.0.1", 0, True, True),
        ("127.0.0.1", 0, False, False),
        ("127.0.0.1", 30, True, False),
        ("vendor.example", 0, True, False),
    ],
    ids=["trusted", "self-signed", "expired", "wrong host"],
)
async def test_a_certificate_that_does_not_verify_gets_no_byte(
    tmp_path: Path, name: str, ago: int, trusted: bool, delivered: bool, make: Make
) -> None:
    cert, key = certificate(tmp_path, name, ago=ago)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    vendor = await Vendor().start(context)
    vendor.always(Play())
    made = make(config(endpoint=vendor.url()), ca_file=str(cert) if trusted else None)
    reply = await made.send(post(vendor.url()))
    assert (reply.status, reply.error) == ((200, "") if delivered else (0, "tls"))
    assert len(vendor.seen) == int(delivered)
    await made.close()
    await vendor.stop()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_1_1_is_refused(tmp_path: Path, make: Make) -> None:
    cert, key = certificate(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(cert, key)
    vendor = await Vendor().start(context)
    made = make(config(endpoint=vendor.url()), ca_file=str(cert))
    reply = await made.send(post(vendor.url()))
    assert (reply.status, vendor.seen) == (0, [])
    assert reply.error in ("tls", "connect")
    await made.close()
    await vendor.stop()


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (TimeoutError(), "timeout"),
        (aiohttp.ConnectionTimeoutError(), "connect"),
        (aiohttp.SocketTimeoutError(), "timeout"),
        (aiohttp.ServerDisconnectedError(), "connect"),
        (aiohttp.ClientPayloadError("cut"), "connect"),
        (ConnectionResetError(), "connect"),
        (ssl.SSLError("bad"), "tls"),
    ],
)
def test_every_network_error_is_one_of_the_closed_words(error: Exception, word: str) -> None:
    assert classified(error) == word


async def test_a_hundred_requests_at_once_stay_within_the_limit_of_the_lane(vendor: Vendor, make: Make) -> None:
    made = make(config(endpoint=vendor.url(), limits={"concurrency": 4}))
    vendor.always(Play(delay=0.005))
    replies = await asyncio.gather(*(made.send(post(vendor.url())) for _ in range(100)))
    assert {reply.status for reply in replies} == {200}
    assert len({seen.peer for seen in vendor.seen}) <= 5
    await made.close()
