"""A plain HTTP sink that plays three vendors and counts what it was really sent: `python -m tests.load.sink PORT`.

It parses every body, so that "delivered" in a benchmark is a count of events at the far end, not a ledger's word.
`GET /count` answers {"meta": n, "tiktok": n, "ga4": n, "requests": n, "requests meta": n, …}. After `GET /down?meta` that
vendor answers 503 and counts none of its events, until `GET /up?meta`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import ClassVar

import orjson
import uvloop

ANSWERS = {
    "meta": b'{"events_received":1,"messages":[],"fbtrace_id":"A"}',
    "tiktok": b'{"code":0,"message":"OK","request_id":"1","data":{}}',
    "ga4": b"",
}
LISTS = {"meta": "data", "tiktok": "data", "ga4": "events"}


def body_of(head: bytes, rest: bytes) -> tuple[bytes, bytes] | None:
    """The body at the start of `rest` and what follows it, None while it is not whole; `head` is in lower case."""
    if b"transfer-encoding: chunked" in head:
        return _chunked(rest)
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return (rest[:length], rest[length:]) if len(rest) >= length else None


def _chunked(rest: bytes) -> tuple[bytes, bytes] | None:
    body, at = b"", 0
    while (end := rest.find(b"\r\n", at)) >= 0:
        size = int(rest[at:end], 16)
        at = end + 2 + size + 2
        if len(rest) < at:
            return None
        if not size:
            return body, rest[at:]
        body += rest[end + 2 : at - 2]
    return None


class Sink(asyncio.Protocol):
    """Reads requests, counts their events, answers at once."""

    counts: ClassVar[Counter[str]] = Counter()
    down: ClassVar[set[str]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            read = body_of(self._buffer[:end].lower(), self._buffer[end + 4 :])
            if read is None:
                return
            target = self._buffer.split(b" ", 2)[1].decode()
            body, self._buffer = read
            self._answer(target, body)

    def _answer(self, path: str, body: bytes) -> None:
        path, _, query = path.partition("?")
        vendor = path.split("/")[1]
        if vendor in ("count", "down", "up"):
            self._told(vendor, query)
            self._write(b"200 OK", orjson.dumps(dict(self.counts)))
            return
        self.counts["requests"] += 1
        self.counts[f"requests {vendor}"] += 1
        if vendor in self.down:
            self._write(b"503 Service Unavailable", b"{}")
            return
        self.counts[vendor] += len(orjson.loads(body)[LISTS[vendor]])
        self._write(b"200 OK", ANSWERS[vendor])

    def _told(self, word: str, vendor: str) -> None:
        if word == "down":
            self.down.add(vendor)
        elif word == "up":
            self.down.discard(vendor)

    def _write(self, status: bytes, reply: bytes) -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(reply))
        self._transport.write(head + reply)  # type: ignore[attr-defined]


async def main(port: int) -> None:
    """Serve until killed."""
    await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
