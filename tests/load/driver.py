"""A closed-loop HTTP load driver: `python -m tests.load.driver URL --requests N --connections 64 --batch 1`.

Prints one JSON line: requests sent, answers by status, seconds, latency percentiles in ms. Every event has an id of its
own (UUIDv7, as tag.js makes them), so nothing is a duplicate. Bodies are made before the clock starts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import orjson
import uvloop

from gateway.event import uuid7

CONSENT = dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"), "granted")


def purchase(number: int) -> dict[str, object]:
    """An 850-byte purchase: five user fields, three items, consent."""
    return {
        "name": "purchase",
        "id": uuid7(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "user": {
            "id": f"cust-{number}",
            "email": f"jane.doe+{number}@example.com",
            "phone": "+49 151 12345678",
            "first_name": "Jane",
            "last_name": "Doe",
        },
        "page": {"url": "https://shop.example/thanks?order=1", "title": "Thank you", "referrer": "https://shop.example/cart"},
        "ids": {"ga_client_id": f"{number}.1795500000", "fbp": "fb.1.1795500000000.1234567890"},
        "props": {"transaction_id": f"o-{number}", "value": 129.9, "currency": "EUR", "tax": 20.74, "shipping": 4.9},
        "items": [{"id": f"sku-{n}", "name": "Espresso cup", "price": 41.67, "quantity": 1} for n in range(3)],
        "consent": CONSENT,
    }


def requests(url: str, count: int, batch: int, key: str) -> Iterator[bytes]:
    """Complete HTTP requests, ready to be written."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    for number in range(count):
        body = orjson.dumps(purchase(number) if batch == 1 else [purchase(number * batch + n) for n in range(batch)])
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nX-Write-Key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends the next request when an answer is complete."""

    def __init__(self, work: Iterator[bytes], results: Counter[int], latencies: list[float]) -> None:
        self._work, self._results, self._latencies = work, results, latencies
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        request = next(self._work, None)
        if request is None:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self._started = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        self._results[int(head[9:12])] += 1
        self._latencies.append(time.perf_counter() - self._started)
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("closed before the answer"))


async def drive(url: str, count: int, connections: int, batch: int, key: str) -> dict[str, object]:
    """Send `count` requests and report."""
    ready = iter(list(requests(url, count, batch, key)))
    results: Counter[int] = Counter()
    latencies: list[float] = []
    parts = urlsplit(url)
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: Connection(ready, results, latencies), parts.hostname, parts.port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in pairs))
    seconds = time.perf_counter() - started
    latencies.sort()
    picks = {f"p{int(q * 100)}_ms": round(latencies[int(q * (len(latencies) - 1))] * 1000, 2) for q in (0.5, 0.99)}
    return {"sent": count * batch, "answers": dict(results), "seconds": round(seconds, 3), **picks}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--key", default="wk_bench")
    args = parser.parse_args()
    print(json.dumps(uvloop.run(drive(args.url, args.requests, args.connections, args.batch, args.key))))


if __name__ == "__main__":
    main()
