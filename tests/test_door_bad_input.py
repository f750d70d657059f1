"""Malformed hits through a real server: each is the client's fault, is answered at once, and hears nothing of itself.

Every reply is 4xx or what the dialect always says; never a 5xx, never a hang, and never a byte of the input in it.
"""

import asyncio
import gzip
import random
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator

import brotli
import orjson
import pytest
import zstandard

from gateway.receive.replies import PIXEL
from tests.door_kit import Answer, House, house, read_answer, request

CANARY = "cAnArY7351"
NATIVE, SEGMENT, IMAGE = "/v1/events", "/v1/t", "/p.gif"
Hit = tuple[str, bytes]


def post(target: str, body: bytes | str, headers: dict[str, str] | None = None, host: str = "t.shop.example") -> bytes:
    return request("POST", target, body, headers or {}, host=host)


def bodies() -> dict[str, bytes]:
    """Bodies that are no events, by name."""
    c = CANARY.encode()
    return {
        "nothing": b"",
        "blank": b"  ",
        "text": c,
        "cut object": b'{"name":"' + c,
        "cut list": b'[{"name":"a"},',
        "single quotes": b"{'name':'" + c + b"'}",
        "trailing comma": b'{"name":"' + c + b'",}',
        "two values": b'{"name":"a"}{"name":"' + c + b'"}',
        "comment": b'{"name":"a"} // ' + c,
        "nan": b'{"name":"' + c + b'","props":{"value":NaN}}',
        "infinity": b'{"name":"' + c + b'","props":{"value":-Infinity}}',
        "huge exponent": b'{"name":"' + c + b'","props":{"value":1e999}}',
        "bom": b'\xef\xbb\xbf{"name":"' + c + b'"}',
        "utf-16": f'{{"name":"{CANARY}"}}'.encode("utf-16"),
        "broken utf-8": b'{"name":"' + c + b'\xff"}',
        "overlong utf-8": b'{"name":"' + c + b'\xc0\xaf"}',
        "cesu surrogate": b'{"name":"' + c + b'\xed\xa0\x80"}',
        "lone surrogate": b'{"name":"' + c + b'\\ud800"}',
        "raw control": b'{"name":"' + c + b'\x01"}',
        "nul": b'{"name":"' + c + b'"}\0',
        "number": b"12345",
        "string": b'"' + c + b'"',
        "true": b"true",
        "null": b"null",
        "list of numbers": b"[1,2,3]",
        "list of lists": b"[[[]]]",
        "list of nulls": b"[null]",
        "name missing": b'{"event":"' + c + b'"}',
        "name empty": b'{"name":""}',
        "name blank": b'{"name":"  "}',
        "name null": b'{"name":null,"x":"' + c + b'"}',
        "name number": b'{"name":7351}',
        "name object": b'{"name":{"' + c + b'":1}}',
        "name list": b'{"name":["' + c + b'"]}',
        "name too long": b'{"name":"' + c * 100 + b'"}',
        "events null of text": b'{"events":"' + c + b'"}',
        "events object": b'{"events":{"' + c + b'":1}}',
        "events of text": b'{"events":["' + c + b'"]}',
        "form": b"name=" + c + b"&value=1",
        "multipart": b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + c + b"\r\n--x--",
        "xml": b"<event>" + c + b"</event>",
        "html": b"<script>alert('" + c + b"')</script>",
        "yaml": b"name: " + c,
        "protobuf": bytes(range(64)) + c,
        "gzip without header": gzip.compress(b'{"name":"a"}'),
        "deep list": b"[" * 5000 + b"]" * 5000,
        "deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
        "deep and open": b"[" * 100_000,
        "closing only": b"]" * 5000,
        "quotes": b'"' * 1001,
        "backslashes": b'{"name":"' + b"\\" * 999,
        "oversized": b'{"name":"' + c + b'"}' + b" " * (512 * 1024),
    }


def encodings() -> dict[str, bytes]:
    """Requests whose Content-Encoding lies."""
    event = b'{"name":"' + CANARY.encode() + b'"}'
    packed = {
        "gzip": gzip.compress(event),
        "deflate": zlib.compress(event),
        "br": brotli.compress(event),
        "zstd": zstandard.ZstdCompressor().compress(event),
    }
    zeros = {
        "gzip": gzip.compress(bytes(20 * 2**20)),
        "deflate": zlib.compress(bytes(20 * 2**20)),
        "br": brotli.compress(bytes(20 * 2**20), quality=3),
        "zstd": zstandard.ZstdCompressor().compress(bytes(20 * 2**20)),
    }
    cases = {}
    for coding, body in packed.items():
        for name, data in [
            ("not encoded", event),
            ("cut", body[:-3]),
            ("cut in half", body[: len(body) // 2]),
            ("with a tail", body + b"tail"),
            ("empty", b""),
            ("doubled coding", body),
            ("bomb", zeros[coding]),
        ]:
            header = f"{coding}, {coding}" if name == "doubled coding" else coding
            cases[f"{coding} {name}"] = post(NATIVE, data, {"Content-Encoding": header})
    cases["twenty thousand members"] = post(NATIVE, gzip.compress(b"") * 20_000, {"Content-Encoding": "gzip"})
    for coding in ("snappy", "compress", CANARY, "gzip;q=0", "*", "gzip gzip", "aws-chunked"):
        cases[f"coding {coding}"] = post(NATIVE, event, {"Content-Encoding": coding})
    two = [("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]
    cases["two coding lines"] = request("POST", NATIVE, packed["gzip"], two)
    return cases


def speakers() -> dict[str, bytes]:
    """Requests that may not speak."""
    event = b'{"name":"' + CANARY.encode() + b'"}'
    strange = [b"", CANARY.encode(), b":" * 9, b"\xff" * 30, b"wk_shop\0:", b" wk_shop:"]
    cases = {f"basic {text!r}": post(NATIVE, event, {"Authorization": f"Basic {b64encode(text).decode()}"}) for text in strange}
    for value in ("Basic", "Basic ", "Basic é", "Basic ====", f"Basic {CANARY}", "Basic " + "A" * 9000):
        cases[f"authorization {value[:20]}"] = post(NATIVE, event, {"Authorization": value}, host="nowhere.example")
    for key in (CANARY, "%00", "wk_shop%0d%0aX:y", "%ff%fe", "wk_shop%20", "wk_shop,wk_blog"):
        cases[f"key {key}"] = post(f"{NATIVE}?k={key}", event)
    for host in (CANARY, "", "t.shop.example@evil", "a b", "[::1", "::", "t.shop.example:port", "xn--", "é"):
        cases[f"host {host}"] = post(NATIVE, event, host=host)
    for body in ('{"writeKey":"' + CANARY + '","name":"a"}', '{"writeKey":{},"name":"a"}', '{"writeKey":7,"name":"a"}'):
        cases[f"body key {body[:16]}"] = post(NATIVE, body, host="nowhere.example")
    cases["cross source"] = post(f"{NATIVE}?k=wk_blog", event)
    cases["foreign origin"] = post(NATIVE, event, {"Origin": f"https://{CANARY}.example"})
    return cases


def framing() -> dict[str, bytes]:
    """Requests that two parsers might read differently, and others that are no HTTP/1.1."""
    c, host = CANARY.encode(), b"Host: t.shop.example\r\n"
    start = b"POST /v1/events HTTP/1.1\r\n" + host
    body = b'{"name":"' + c + b'"}'
    length = b"Content-Length: %d\r\n" % len(body)
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return {
        "CL and TE": start + length + b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
        "TE and CL": start + b"Transfer-Encoding: chunked\r\n" + length + b"\r\n" + chunks,
        "two CL": start + length + length + b"\r\n" + body,
        "two different CL": start + length + b"Content-Length: 3\r\n\r\n" + body,
        "CL list": start + b"Content-Length: 5, 5\r\n\r\n" + body,
        "CL plus": start + b"Content-Length: +5\r\n\r\n" + body,
        "CL negative": start + b"Content-Length: -5\r\n\r\n" + body,
        "CL hex": start + b"Content-Length: 0x5\r\n\r\n" + body,
        "CL text": start + b"Content-Length: " + c + b"\r\n\r\n" + body,
        "CL beyond 64 bits": start + b"Content-Length: 99999999999999999999999\r\n\r\n" + body,
        "two TE": start + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
        "TE gzip, chunked": start + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks,
        "TE chunked, identity": start + b"Transfer-Encoding: chunked, identity\r\n\r\n" + chunks,
        "TE unknown": start + b"Transfer-Encoding: " + c + b"\r\n\r\n" + chunks,
        "TE on HTTP/1.0": b"POST /v1/events HTTP/1.0\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
        "two Host": b"POST /v1/events HTTP/1.1\r\n" + host + b"Host: " + c + b"\r\n" + length + b"\r\n" + body,
        "no Host": b"POST /v1/events HTTP/1.1\r\n" + length + b"\r\n" + body,
        "bare LF": b"POST /v1/events HTTP/1.1\n" + host.replace(b"\r", b"") + length.replace(b"\r", b"") + b"\n" + body,
        "bare CR": b"POST /v1/events HTTP/1.1\r" + host + length + b"\r\n" + body,
        "NUL in a value": start + b"X-A: a\0" + c + b"\r\n" + length + b"\r\n" + body,
        "NUL in a name": start + b"X-\0" + c + b": a\r\n" + length + b"\r\n" + body,
        "control in a value": start + b"X-A: a\x01" + c + b"\r\n" + length + b"\r\n" + body,
        "blank before the colon": start + b"X-" + c + b" : a\r\n" + length + b"\r\n" + body,
        "folded header": start + b"X-A: a\r\n " + c + b"\r\n" + length + b"\r\n" + body,
        "header without colon": start + c + b"\r\n" + length + b"\r\n" + body,
        "header without name": start + b": " + c + b"\r\n" + length + b"\r\n" + body,
        "bad chunk size": start + b"Transfer-Encoding: chunked\r\n\r\n" + c + b"\r\n" + body,
        "negative chunk size": start + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + body + b"\r\n",
        "chunk longer than said": start + b"Transfer-Encoding: chunked\r\n\r\n3\r\n" + body + b"\r\n0\r\n\r\n",
        "chunk extension with LF": start + b"Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
        "huge chunk size": start + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "HTTP/0.9": b"GET /p.gif\r\n\r\n",
        "HTTP/1.9": b"GET /p.gif HTTP/1.9\r\n" + host + b"\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/3.0": b"GET /p.gif HTTP/3.0\r\n" + host + b"\r\n",
        "http/1.1": b"GET /p.gif http/1.1\r\n" + host + b"\r\n",
        "version text": b"GET /p.gif HTTP/" + c + b"\r\n" + host + b"\r\n",
        "no version": b"GET /" + c + b"\r\n" + host + b"\r\n",
        "blank method": b" /p.gif HTTP/1.1\r\n" + host + b"\r\n",
        "unknown method": c.upper() + b" /p.gif HTTP/1.1\r\n" + host + b"\r\n",
        "odd method": b"G\xc3\x89T /p.gif HTTP/1.1\r\n" + host + b"\r\n",
        "relative target": b"GET " + c + b" HTTP/1.1\r\n" + host + b"\r\n",
        "star": b"GET * HTTP/1.1\r\n" + host + b"\r\n",
        "control in the target": b"GET /" + c + b"\x01 HTTP/1.1\r\n" + host + b"\r\n",
        "blank in the target": b"GET /" + c + b" x HTTP/1.1\r\n" + host + b"\r\n",
        "raw bytes in the target": b"GET /\xff\xfe" + c + b" HTTP/1.1\r\n" + host + b"\r\n",
        "broken authority": b"GET http://[::1/" + c + b" HTTP/1.1\r\n" + host + b"\r\n",
        "broken port": b"GET http://a:b/" + c + b" HTTP/1.1\r\n" + host + b"\r\n",
        "odd scheme": b"GET ftp://a/" + c + b" HTTP/1.1\r\n" + host + b"\r\n",
        "two slashes": b"GET //" + c + b"[ HTTP/1.1\r\n" + host + b"\r\n",
        "connect": b"CONNECT " + c + b":443 HTTP/1.1\r\n" + host + b"\r\n",
        "connect without target": b"CONNECT \r\n" + c + b":443 HTTP/1.1\r\n" + host + b"\r\n",
        "connect without port": b"CONNECT [ HTTP/1.1\r\n" + host + b"\r\n",
        "upgrade": b"GET /" + c + b" HTTP/1.1\r\n" + host + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "old websocket": b"GET /p.gif HTTP/1.1\r\n" + host + b"Sec-WebSocket-Key1: " + c + b"\r\n\r\n",
        "expect something": start + length + b"Expect: " + c + b"\r\n\r\n",
        "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
        "smtp": b"EHLO " + c + b"\r\n",
        "binary": bytes(range(1, 256)) + b"\r\n\r\n",
        "long url": b"GET /p.gif?x=" + c * 3300 + b" HTTP/1.1\r\n" + host + b"\r\n",
        "long value": b"GET /p.gif HTTP/1.1\r\n" + host + b"X-A: " + c * 3300 + b"\r\n\r\n",
        "long cookie": b"GET /p.gif HTTP/1.1\r\n" + host + b"Cookie: a=" + c * 3300 + b"\r\n\r\n",
        "long name": b"GET /p.gif HTTP/1.1\r\n" + host + c * 3300 + b": a\r\n\r\n",
        "129 headers": b"GET /p.gif HTTP/1.1\r\n" + host + b"".join(b"X-%d: %s\r\n" % (n, c) for n in range(129)) + b"\r\n",
    }


def pixels() -> dict[str, bytes]:
    """Queries that are no event."""
    queries = {
        "nothing": "", "ampersands": "&" * 900, "equals": "=" * 900, "no name": f"x={CANARY}", "empty name": "e=",
        "blank name": "e=%20", "macro": "e=%24%7BEVENT%7D", "long name": f"e={CANARY * 90}",
        "NUL name": "e=%00", "many": "&".join(f"k{n}=1" for n in range(2000)), "percent": "%" * 300,
        "only percent name": "%00%01=%02", "key and no event": "k=wk_shop", "wrong key": f"e=a&k={CANARY}",
        "cross": "e=a&k=wk_blog", "semicolons": "a;b;c", "question marks": "?" * 99,
    }  # fmt: skip
    return {f"pixel {name}": request("GET", f"{IMAGE}?{query}") for name, query in queries.items()}


CALLS = {name: body for name, body in bodies().items() if name != "name missing"}  # to Segment that one is a call
HITS: dict[str, bytes] = {
    **{f"native {name}": post(NATIVE, body) for name, body in bodies().items()},
    **{f"segment {name}": post(SEGMENT, body) for name, body in CALLS.items()},
    **{f"segment batch {name}": post("/v1/batch", b'{"batch":' + body + b"}") for name, body in bodies().items()},
    **{f"consent {name}": post("/v1/consent", body) for name, body in bodies().items()},
    **encodings(),
    **{f"who: {name}": raw for name, raw in speakers().items()},
    **{f"framing: {name}": raw for name, raw in framing().items()},
    **pixels(),
}


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house(body_seconds=0.3, header_seconds=0.5) as one:
        yield one


def is_usual(answer: Answer) -> bool:
    """What a dialect says whatever came."""
    return answer.body in (b'{"success":true}', PIXEL, b"")


def assert_quotes_nothing(answer: Answer) -> None:
    assert CANARY.lower().encode() not in answer.raw.lower()
    assert b"Traceback" not in answer.raw
    assert b"aiohttp" not in answer.raw.lower()


def test_there_are_hundreds_of_malformed_hits() -> None:
    assert len(HITS) >= 150


@pytest.mark.parametrize("raw", HITS.values(), ids=HITS)
async def test_a_malformed_hit_is_a_client_error_or_the_usual_answer(
    at: House, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await at.send(raw, timeout=3)
    assert 400 <= answer.status < 500 or (answer.status == 200 and is_usual(answer)), answer
    assert_quotes_nothing(answer)
    assert at.intake.events == 0
    assert len(at.counts.requests) == 1
    assert at.counts.refusals or answer.status in (404, 405)
    assert not [record for record in caplog.records if record.levelno >= 30]


@pytest.mark.parametrize(
    ("name", "status"),
    [("long url", 414), ("long value", 431), ("long cookie", 431), ("long name", 431), ("129 headers", 431), ("two CL", 400)],
)
async def test_what_the_parser_refuses_has_its_own_status(at: House, name: str, status: int) -> None:
    answer = await at.send(framing()[name])
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert orjson.loads(answer.body)["reason"]
    assert at.counts.requests == [("other", status)]


async def test_a_long_url_that_comes_in_pieces_is_still_a_long_url(at: House) -> None:
    reader, writer = await asyncio.open_connection(at.host, at.port)
    for piece in (b"GET /p.gif?x=", *[b"y" * 4000] * 9):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    answer = await read_answer(reader)
    writer.close()
    assert answer.status == 414


async def test_a_body_whose_framing_breaks_later_is_answered_at_once() -> None:
    async with house() as at:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(b"POST /v1/events HTTP/1.1\r\nHost: t.shop.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"nonsense\r\n")
        answer = await asyncio.wait_for(read_answer(reader), 2)
        writer.close()
    assert (answer.status, answer.headers["connection"]) == (400, "close")


async def test_nothing_after_a_refused_framing_is_read(at: House) -> None:
    smuggled = b"GET /p.gif?e=smuggled HTTP/1.1\r\nHost: t.shop.example\r\n\r\n"
    for name in ("CL and TE", "two CL", "bad chunk size", "TE gzip, chunked", "TE on HTTP/1.0"):
        reader, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(framing()[name] + smuggled)
        rest = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert rest.count(b"\r\nDate: ") == 1, name
    assert at.intake.events == 0


async def test_random_queries_and_cookies_never_break_the_door(at: House) -> None:
    dice = random.Random(3)
    safe = bytes(code for code in range(0x21, 0x7F))
    wild = bytes(code for code in range(0x80, 0x100)) + safe + b"\t "
    for _ in range(400):
        query = bytes(dice.choice(safe) for _ in range(dice.randint(0, 80))) + b"%" + b"%02x" % dice.randrange(256)
        cookie = bytes(dice.choice(wild) for _ in range(dice.randint(0, 80)))
        raw = b"GET /p.gif?e=a&" + query + b" HTTP/1.1\r\nHost: t.shop.example\r\nCookie: x=" + cookie + b"\r\n\r\n"
        answer = await at.send(raw)
        assert answer.body == PIXEL or answer.status == 400
    for hit, raws in at.intake.hits:
        assert orjson.dumps([hit.query, dict(hit.headers), *[getattr(raw, "data", None) for raw in raws]])


async def test_random_bodies_never_break_the_door(at: House) -> None:
    dice = random.Random(5)
    seed = b'{"name":"purchase","id":"e","props":{"value":1.5},"items":[{"id":"a","price":2}],"user":{"email":["x"]}}'
    for target in (NATIVE, SEGMENT, "/v1/batch", "/v1/consent"):
        for _ in range(150):
            body = bytearray(seed)
            for _ in range(dice.randint(1, 6)):
                body[dice.randrange(len(body))] = dice.randrange(256)
            answer = await at.ask("POST", target, bytes(body))
            assert answer.status in (200, 400)


class TestStopping:
    async def test_a_request_that_has_begun_is_answered(self) -> None:
        async with house() as at:
            reader, writer = await asyncio.open_connection(at.host, at.port)
            idle_reader, idle_writer = await asyncio.open_connection(at.host, at.port)
            writer.write(b'POST /v1/events HTTP/1.1\r\nHost: t.shop.example\r\nContent-Length: 12\r\n\r\n{"name":"a"')
            await asyncio.sleep(0.05)
            stopping = asyncio.create_task(at.listener.stop(0, grace=5))
            assert await asyncio.wait_for(idle_reader.read(), 1) == b""
            assert not stopping.done()
            writer.write(b"}")
            answer = await asyncio.wait_for(read_answer(reader), 1)
            await asyncio.wait_for(stopping, 1)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert at.intake.events == 1
            writer.close()
            idle_writer.close()

    async def test_hits_are_taken_while_draining_and_refused_after(self) -> None:
        async with house() as at:
            stopping = asyncio.create_task(at.listener.stop(0.2))
            await asyncio.sleep(0.05)
            ready = await at.ask("GET", "/readyz")
            answer = await at.ask("POST", NATIVE, '{"name":"a"}')
            await stopping
            assert (ready.status, answer.status) == (503, 200)
            with pytest.raises(OSError):
                await at.ask("GET", "/healthz")

    async def test_a_stuck_request_does_not_hold_the_exit(self) -> None:
        async with house() as at:
            at.intake.holds = asyncio.Event()
            _, writer = await asyncio.open_connection(at.host, at.port)
            writer.write(request("POST", NATIVE, '{"name":"a"}'))
            await asyncio.sleep(0.05)
            await asyncio.wait_for(at.listener.stop(0, grace=0.2), 4)
            writer.close()
