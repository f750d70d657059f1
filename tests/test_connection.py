"""The connection of the public listener: one request after another, whatever a client does with the bytes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.receive import connection
from gateway.receive.limits import MAX_BODY
from tests.door_kit import House, house, read_answer, request

EVENT = '{"name":"purchase"}'
HIT = "/v1/events?k=wk_shop"


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house() as one:
        yield one


def numbered(n: int) -> bytes:
    return request("POST", HIT, f'{{"name":"purchase","id":"e{n}"}}')


async def opened(at: House) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(at.host, at.port)


async def closed(reader: asyncio.StreamReader, seconds: float = 5.0) -> bytes:
    """What came until the other side closed."""
    return await asyncio.wait_for(reader.read(), seconds)


class TestOneAfterAnother:
    async def test_pipelined_requests_are_answered_in_their_order(self, at: House) -> None:
        reader, writer = await opened(at)
        writer.write(b"".join(numbered(n) for n in range(20)))
        ids = [(await read_answer(reader)).body.split(b'"ids":["')[1].split(b'"')[0] for _ in range(20)]
        assert ids == [b"e%d" % n for n in range(20)]
        writer.write(numbered(20))
        assert (await read_answer(reader)).status == 200
        writer.close()

    async def test_no_more_is_read_while_requests_wait(self, at: House) -> None:
        at.intake.holds = asyncio.Event()
        reader, writer = await opened(at)
        writer.write(numbered(0) * 2)
        sent, chunk = 0, numbered(1) * 400
        for _ in range(2000):
            writer.write(chunk)
            sent += len(chunk)
            try:
                await asyncio.wait_for(writer.drain(), 0.3)
            except TimeoutError:
                break
        else:
            pytest.fail(f"{sent} bytes were taken from a client that waits for its first answer")
        at.intake.holds.set()
        assert (await read_answer(reader)).status == 200
        writer.transport.abort()

    async def test_bytes_that_drip_make_the_same_requests(self, at: House) -> None:
        reader, writer = await opened(at)
        for byte in request("POST", HIT, EVENT) * 2:
            writer.write(bytes([byte]))
            await writer.drain()
        assert [(await read_answer(reader)).status for _ in range(2)] == [200, 200]
        writer.close()

    async def test_a_chunked_body_with_trailers_is_read_to_its_end(self, at: House) -> None:
        body = b'13\r\n{"name":"purchase"}\r\n0\r\nX-Trailer: x\r\nHost: other\r\n\r\n'
        head = f"POST {HIT} HTTP/1.1\r\nHost: t.shop.example\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        reader, writer = await opened(at)
        writer.write(head + body + numbered(1))
        assert [(await read_answer(reader)).status for _ in range(2)] == [200, 200]
        assert all(hit.headers["host"] == "t.shop.example" and "x-trailer" not in hit.headers for hit, _ in at.intake.hits)
        writer.close()

    async def test_a_body_that_nobody_reads_does_not_become_a_request(self, at: House) -> None:
        reader, writer = await opened(at)
        writer.write(request("POST", "/nowhere", "x" * 200_000)[:1000])
        assert (await read_answer(reader)).status == 404
        writer.write(request("POST", "/nowhere", "x" * 200_000)[1000:] + numbered(1))
        answer = await read_answer(reader)
        assert (answer.status, at.intake.events) == (200, 1)
        writer.close()

    async def test_a_reply_to_half_a_body_is_read_and_the_rest_taken_in(
        self, at: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "LINGER_SECONDS", 0.2)
        reader, writer = await opened(at)
        writer.write(request("POST", "/v1/events?k=wk_nobody", "x" * 300_000)[:100_000])
        answer = await read_answer(reader)
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        writer.write(b"x" * 100_000)
        assert await closed(reader) == b""
        assert at.intake.events == 0
        writer.close()

    async def test_a_body_over_the_limit_is_refused_and_not_kept(self, at: House) -> None:
        head = f"POST {HIT} HTTP/1.1\r\nHost: t.shop.example\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        reader, writer = await opened(at)
        writer.write(head + b"%x\r\n" % (4 * MAX_BODY) + b"x" * (2 * MAX_BODY))
        answer = await read_answer(reader)
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        writer.transport.abort()


class TestWhatOthersOffer:
    async def test_an_offer_of_http_2_is_passed_by_and_the_connection_kept(self, at: House) -> None:
        offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
        reader, writer = await opened(at)
        for _ in range(2):
            writer.write(request("POST", HIT, EVENT, offer))
            assert (await read_answer(reader)).status == 200
        writer.write(request("GET", "/healthz", headers=offer) + numbered(1))
        assert [(await read_answer(reader)).status for _ in range(2)] == [200, 200]
        half = request("POST", HIT, EVENT)
        writer.write(half[:30])
        await asyncio.sleep(0.05)
        writer.write(half[30:])
        assert (await read_answer(reader)).status == 200
        writer.close()

    async def test_connect_is_no_method_of_ours_and_ends_the_connection(self, at: House) -> None:
        reader, writer = await opened(at)
        writer.write(b"CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\n\r\n" + numbered(1))
        answer = await read_answer(reader)
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert await closed(reader) == b""
        assert at.intake.events == 0
        writer.close()

    @pytest.mark.parametrize(
        ("version", "headers", "kept"),
        [
            ("1.1", {}, True),
            ("1.1", {"Connection": "close"}, False),
            ("1.0", {}, False),
            ("1.0", {"Connection": "keep-alive"}, True),
        ],
    )
    async def test_a_connection_is_kept_as_its_client_asks(
        self, at: House, version: str, headers: dict[str, str], kept: bool
    ) -> None:
        reader, writer = await opened(at)
        writer.write(request("POST", HIT, EVENT, headers).replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        answer = await read_answer(reader)
        said = answer.headers.get("connection")
        assert said == (None if version == "1.1" and kept else "keep-alive" if kept else "close")
        writer.write(numbered(1))
        if kept:
            assert (await read_answer(reader)).status == 200
        else:
            assert await closed(reader) == b""
        writer.close()

    async def test_a_client_that_has_sent_all_gets_its_answer_still(self, at: House) -> None:
        reader, writer = await opened(at)
        writer.write(numbered(1))
        writer.write_eof()
        answer = await read_answer(reader)
        assert answer.status == 200
        assert await closed(reader) == b""
        writer.close()


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (b"Host: a\r\nHost: b\r\n", 400),
            (b"Host: a\r\n" + b"X-A: 1\r\n" * 128, 431),
            (b"Host: a\r\nX-A: " + b"x" * 32768 + b"\r\n", 431),
            (b"Host: a\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 30_000) for n in range(12)), 431),
            (b"Host: a\r\nX-A: 1\r\n folded\r\n", 400),
            (b"Host: a\r\nX-A : 1\r\n", 400),
            (b"Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n", 400),
            (b"Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            (b"Host: a\r\nTransfer-Encoding: chunked, gzip\r\n", 400),
        ],
        ids=[
            "two hosts",
            "129 headers",
            "a long one",
            "much in all",
            "folded",
            "blank",
            "two lengths",
            "both framings",
            "last",
        ],
    )
    @pytest.mark.parametrize("pieces", [1, 7])
    async def test_a_head_that_is_not_certain_ends_the_connection(
        self, at: House, head: bytes, status: int, pieces: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "LINGER_SECONDS", 0.2)
        raw = b"GET /p.gif?name=x&k=wk_shop HTTP/1.1\r\n" + head + b"\r\n"
        reader, writer = await opened(at)
        for at_byte in range(0, len(raw), -(-len(raw) // pieces)):
            writer.write(raw[at_byte : at_byte + -(-len(raw) // pieces)])
            await asyncio.sleep(0.01)
        answer = await read_answer(reader)
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert await closed(reader) == b""
        assert at.intake.events == 0
        writer.close()

    async def test_what_came_before_is_answered_first(self, at: House) -> None:
        at.intake.holds = asyncio.Event()
        reader, writer = await opened(at)
        writer.write(numbered(1) + numbered(2) + b"GARBAGE\x00\r\n\r\n" + numbered(3))
        await asyncio.sleep(0.05)
        at.intake.holds.set()
        assert [(await read_answer(reader)).status for _ in range(3)] == [200, 200, 400]
        assert await closed(reader) == b""
        assert at.intake.events == 2
        assert at.counts.requests[-1] == ("other", 400)
        writer.close()
