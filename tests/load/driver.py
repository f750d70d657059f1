"""HTTP load: `python -m tests.load.driver URL --requests N --connections 64 --batch 1`, or `--rate R` for an open loop.

Closed loop: each connection sends its next request when an answer is complete. Open loop: requests are due at random moments
(Poisson) whatever the server does, and latency counts from the moment a request was due, also when no connection was free.

Prints one JSON line: events sent, answers by status, seconds, latency percentiles in ms. Every event has an id of its own
(UUIDv7, as tag.js makes them), so nothing is a duplicate. Bodies are made, and all connections opened, before the clock starts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

import orjson
import uvloop

from gateway.event import uuid7

CONSENT = dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"), "granted")
SETTLE_SECONDS = 0.3
"""Between opening the connections and the first request: a server may take one connection per turn of its loop."""
SPIN_SECONDS = 0.002
"""Waits shorter than this are spun: timers of the loop count milliseconds."""


def purchase(number: int, guest: bool = False) -> dict[str, object]:
    """An 850-byte purchase: five user fields (of a guest four), three items, consent."""
    account = {} if guest else {"id": f"cust-{number}"}
    return {
        "name": "purchase",
        "id": uuid7(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "user": {
            **account,
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


def requests(url: str, count: int, batch: int, key: str, headers: Sequence[str] = ()) -> Iterator[bytes]:
    """Complete HTTP requests, ready to be written, with `headers` (`Name: value`, of a guest's browser) beside their own."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    more = "".join(f"{line}\r\n" for line in headers)
    for number in range(count):
        events = [purchase(number * batch + n, guest=bool(headers)) for n in range(batch)]
        body = orjson.dumps(events[0] if batch == 1 else events)
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nX-Write-Key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        )
        yield head.encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection; `free` is called with it when an answer is complete."""

    def __init__(self, report: Report, free: Callable[[Connection], None]) -> None:
        self._report, self._free = report, free
        self._buffer = b""
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, request: bytes, due: float) -> None:
        """Write a request whose latency counts from `due`."""
        self._due = due
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._due is None:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        self._buffer = b""
        due, self._due = self._due, None
        self._report.add(int(head[9:12]), time.perf_counter() - due)
        self._free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._report.done.done():
            self._report.done.set_exception(exc or ConnectionResetError("closed before the answer"))


class Report:
    """What came back; `done` is resolved by the last answer."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.answers: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, status: int, latency: float) -> None:
        """Count an answer."""
        self.answers[status] += 1
        self.latencies.append(latency)
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def picks(self) -> dict[str, float]:
        """Percentiles in ms."""
        ordered = sorted(self.latencies)
        return {
            name: round(ordered[int(q * (len(ordered) - 1))] * 1000, 2)
            for name, q in (("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999))
        }


class Load:
    """Requests on their way: `ready` in order, given to whichever connection is free."""

    def __init__(self, url: str, count: int, batch: int, key: str, headers: Sequence[str]) -> None:
        self._parts = urlsplit(url)
        self._ready = iter(list(requests(url, count, batch, key, headers)))
        self.report = Report(count)
        self._free: deque[Connection] = deque()
        self._late: deque[float] = deque()
        self._open_loop = False

    async def connect(self, connections: int) -> None:
        """Open all connections and let the server take them."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, made = await loop.create_connection(
                lambda: Connection(self.report, self._freed), self._parts.hostname, self._parts.port
            )
            self._free.append(made)
        await asyncio.sleep(SETTLE_SECONDS)

    async def closed(self) -> None:
        """Every connection sends its next request as soon as it may."""
        for connection in list(self._free):
            self._next(connection, time.perf_counter())
        await self.report.done

    async def open(self, rate: float) -> None:
        """Requests become due at random, `rate` a second."""
        self._open_loop = True
        draw, due = random.Random(1), time.perf_counter()
        for _ in range(self.report.left):
            due += draw.expovariate(rate)
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait - SPIN_SECONDS if wait > SPIN_SECONDS else 0)
            if self._free:
                self._next(self._free.popleft(), due)
            else:
                self._late.append(due)
        await self.report.done

    def _freed(self, connection: Connection) -> None:
        if not self._open_loop:
            self._next(connection, time.perf_counter())
        elif self._late:
            self._next(connection, self._late.popleft())
        else:
            self._free.append(connection)

    def _next(self, connection: Connection, due: float) -> None:
        request = next(self._ready, None)
        if request is not None:
            connection.send(request, due)


async def drive(args: argparse.Namespace) -> dict[str, object]:
    """Send `args.requests` requests and report."""
    load = Load(args.url, args.requests, args.batch, args.key, args.header)
    await load.connect(args.connections)
    started = time.perf_counter()
    await (load.open(args.rate) if args.rate else load.closed())
    seconds = time.perf_counter() - started
    report = load.report
    return {"sent": args.requests * args.batch, "answers": dict(report.answers), "seconds": round(seconds, 3), **report.picks()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--key", default="wk_bench")
    parser.add_argument("--rate", type=float, help="requests a second, open loop")
    parser.add_argument("--header", action="append", default=[], help="`Name: value`, sent with each request")
    print(json.dumps(uvloop.run(drive(parser.parse_args()))))


if __name__ == "__main__":
    main()
