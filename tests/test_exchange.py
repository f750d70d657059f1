"""The direct client against answers written byte by byte: framing, what may follow on a connection, what is never sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.config.models import DestinationConfig
from gateway.deliver.direct import MAX_HEADS, DirectTransport
from gateway.deliver.exchange import HEAD_BYTES
from gateway.deliver.transport import REPLY_BYTES
from gateway.destination import Request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Script:
    """A server that answers each request with the next bytes; `close` ends the connection after them."""

    def __init__(self, *answers: bytes, close: bool = False) -> None:
        self.answers, self.close = list(answers), close
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    @property
    def connections(self) -> int:
        return len(self.writers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/x"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next((int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")), 0)
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.answers.pop(0) if self.answers else OK)
                await writer.drain()
                if self.close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def scripted(*answers: bytes, close: bool = False, concurrency: int = 8) -> AsyncIterator[tuple[Script, DirectTransport]]:
    script = Script(*answers, close=close)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    keys = {"endpoint": script.url, "limits": {"concurrency": concurrency}}
    config = DestinationConfig.model_validate({"name": "a", "type": "webhook", "file": "a.yaml", "sources": ["shop"], **keys})
    transport = DirectTransport(config, total=0.5, connect=0.3)
    yield script, transport
    await transport.close()
    server.close()
    await server.wait_closed()


def post(url: str, body: bytes = b"{}", **headers: str) -> Request:
    return Request("POST", url, headers, body)


@pytest.mark.parametrize(
    ("answer", "body", "reused"),
    [
        (OK, b"ok", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n", b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK, b"ok", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
        (OK + OK, b"ok", False),
        (OK + b"x", b"ok", False),
    ],
    ids="length chunked trailer 204 304 interim hints close http1.0 twice surplus".split(),
)
async def test_an_answer_ends_where_its_head_says(answer: bytes, body: bytes, reused: bool) -> None:
    async with scripted(answer) as (script, transport):
        reply = await transport.send(post(script.url))
        assert (reply.body, reply.error) == (body, "")
        assert "x-late" not in reply.headers
        assert (await transport.send(post(script.url))).body == b"ok"
        assert script.connections == (1 if reused else 2)


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with scripted(b"HTTP/1.1 200 OK\r\n\r\nall of it", close=True) as (script, transport):
        reply = await transport.send(post(script.url))
        assert (reply.status, reply.body) == (200, b"all of it")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
    ],
)
async def test_an_answer_that_is_cut_is_an_error(answer: bytes) -> None:
    async with scripted(answer, close=True) as (script, transport):
        reply = await transport.send(post(script.url))
        assert (reply.status, reply.error) == (0, "connect")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 2 * HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\n" + b"X-A: a\r\n" * HEAD_BYTES,
    ],
    ids="both-framings two-lengths negative bad-chunk upgrade not-http long-header many-headers".split(),
)
async def test_what_is_not_an_answer_is_an_error_and_ends_the_connection(answer: bytes) -> None:
    async with scripted(answer) as (script, transport):
        reply = await transport.send(post(script.url))
        assert (reply.status, reply.error) == (0, "connect")
        assert (await transport.send(post(script.url))).status == 200
        assert script.connections == 2


async def test_a_body_of_just_the_limit_is_whole_and_its_connection_stays() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % REPLY_BYTES
    async with scripted(head + b"x" * REPLY_BYTES) as (script, transport):
        assert len((await transport.send(post(script.url))).body) == REPLY_BYTES
        await transport.send(post(script.url))
        assert script.connections == 1


async def test_bytes_that_nobody_asked_for_end_a_resting_connection() -> None:
    async with scripted() as (script, transport):
        await transport.send(post(script.url))
        script.writers[0].write(OK)
        await asyncio.sleep(0.05)
        assert (await transport.send(post(script.url))).body == b"ok"
        assert script.connections == 2


async def test_an_answer_that_comes_after_its_time_reaches_nobody_else() -> None:
    async with scripted(b"") as (script, transport):
        assert (await transport.send(post(script.url))).error == "timeout"
        assert (await transport.send(post(script.url))).body == b"ok"
        assert script.connections == 2


async def test_a_cancelled_request_ends_its_connection() -> None:
    async with scripted(b"") as (script, transport):
        task = asyncio.create_task(transport.send(post(script.url)))
        while not script.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await transport.send(post(script.url))).body == b"ok"
        assert script.connections == 2


async def test_waiting_for_a_turn_ends_in_time_and_takes_no_turn_away() -> None:
    async with scripted(b"", b"", concurrency=1) as (script, transport):
        replies = await asyncio.gather(*(transport.send(post(script.url)) for _ in range(4)))
        assert {reply.error for reply in replies} == {"timeout"}
        assert (await transport.send(post(script.url))).body == b"ok"


async def test_a_request_cut_by_close_is_an_error() -> None:
    async with scripted(b"") as (script, transport):
        task = asyncio.create_task(transport.send(post(script.url)))
        while not script.requests:
            await asyncio.sleep(0.01)
        await transport.close()
        assert (await task).error == "connect"


async def test_a_request_goes_out_byte_by_byte_as_it_should() -> None:
    async with scripted() as (script, transport):
        await transport.send(post(f"http://127.0.0.1:{script.port}/a?b=1#c", b"[]", Authorization="Bearer t"))
        host = f"127.0.0.1:{script.port}".encode()
        lines = script.requests[0].split(b"\r\n")
        assert lines[:4] == [b"POST /a?b=1 HTTP/1.1", b"Host: " + host, b"Accept-Encoding: identity", lines[3]]
        assert lines[3].startswith(b"User-Agent: Tagway/")
        assert lines[4:] == [b"Authorization: Bearer t", b"Content-Length: 2", b"", b"[]"]


@pytest.mark.parametrize(
    ("method", "body", "length"), [("GET", b"", None), ("POST", b"", b"0"), ("PUT", b"x", b"1"), ("DELETE", b"", None)]
)
async def test_a_length_is_told_where_a_body_may_be(method: str, body: bytes, length: bytes | None) -> None:
    async with scripted() as (script, transport):
        await transport.send(Request(method, script.url, {}, body))
        found = [line[16:] for line in script.requests[0].split(b"\r\n") if line.startswith(b"Content-Length: ")]
        assert found == ([] if length is None else [length])


async def test_a_head_request_waits_for_no_body() -> None:
    async with scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n") as (script, transport):
        reply = await transport.send(Request("HEAD", script.url, {}))
        assert (reply.status, reply.body) == (200, b"")


async def test_names_in_the_url_are_sent_as_basic_credentials() -> None:
    async with scripted() as (script, transport):
        await transport.send(post(script.url.replace("127.", "user:p%40ss@127.")))
        assert b"\r\nAuthorization: Basic dXNlcjpwQHNz\r\n" in script.requests[0]


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": "1"}, {"transfer-encoding": "chunked"}, {"Connection": "close"}, {"X A": "1"}, {"": "1"}, {"X:": "1"}],
)
async def test_a_header_that_would_change_the_framing_is_not_sendable(headers: dict[str, str]) -> None:
    async with scripted() as (script, transport):
        with pytest.raises(ValueError):
            await transport.send(Request("POST", script.url, headers, b"{}"))
        assert script.connections == 0


@pytest.mark.parametrize("method", ["", "PO ST", "POST\r\nX: y"])
async def test_a_method_that_is_none_is_not_sendable(method: str) -> None:
    async with scripted() as (script, transport):
        with pytest.raises(ValueError, match="method"):
            await transport.send(Request(method, script.url, {}))
        assert script.connections == 0


async def test_what_is_remembered_of_requests_stays_small() -> None:
    async with scripted() as (script, transport):
        for number in range(MAX_HEADS + 10):
            assert (await transport.send(post(f"{script.url}?{number}"))).status == 200
        assert len(transport._heads) <= MAX_HEADS
        assert [line.split(b" ")[1] for line in script.requests[-1:]] == [f"/x?{MAX_HEADS + 9}".encode()]


@pytest.mark.parametrize(("limit", "value"), [("REST_SECONDS", 0.0), ("RECYCLE_SECONDS", 0.0)])
async def test_a_connection_that_has_had_its_time_is_not_used(
    limit: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"gateway.deliver.direct.{limit}", value)
    async with scripted() as (script, transport):
        await transport.send(post(script.url))
        await transport.send(post(script.url))
        assert script.connections == 2
