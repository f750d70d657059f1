"""A door on a real socket with a fake intake behind it, and a client that writes exactly the bytes it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from gateway.clock import Clock
from gateway.config.models import Gateway, Source
from gateway.errors import QueueFull, Refused
from gateway.meter import Meter
from gateway.outcomes import Receipt
from gateway.receive.hit import Hit, RawEvent, Taken
from gateway.receive.http import Door
from gateway.receive.listener import Listener

ORIGIN = "https://shop.example"
SOURCES = {
    "shop": Source(
        hosts=["t.shop.example"],
        origins=[ORIGIN, "https://www.shop.example"],
        write_keys=["wk_shop"],
        server_keys=[SecretStr("sk_shop")],
    ),
    "blog": Source(hosts=["t.blog.example"], origins=["https://blog.example"], write_keys=["wk_blog"]),
}


class FakeIntake:
    """Takes every event, or raises what it is told to; the last hits are kept for the test to look at."""

    def __init__(self) -> None:
        self.hits: list[tuple[Hit, list[RawEvent | Refused]]] = []
        self.raises: Exception | None = None
        self.holds: asyncio.Event | None = None

    async def accept(self, hit: Hit, raws: Sequence[RawEvent | Refused]) -> list[Taken | Refused]:
        if self.holds is not None:
            await self.holds.wait()
        if self.raises is not None:
            raise self.raises
        self.hits.append((hit, list(raws)))
        return [raw if isinstance(raw, Refused) else Taken(str(raw.id or "made"), Receipt.LOGGED) for raw in raws]

    @property
    def events(self) -> int:
        return sum(isinstance(raw, RawEvent) for _, raws in self.hits for raw in raws)


class FakeConsents:
    """Remembers choices."""

    def __init__(self) -> None:
        self.choices: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = []
        self.raises: QueueFull | None = None

    async def choose(self, hit: Hit, user: dict[str, Any], ids: dict[str, Any], consent: dict[str, Any]) -> None:
        if self.raises is not None:
            raise self.raises
        self.choices.append((hit.source, user, ids, consent))


class Counts(Meter):
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []
        self.refusals: list[tuple[str, str]] = []
        self.drops: list[tuple[str, str]] = []
        self.ignores: list[tuple[str, str, str]] = []

    def request(self, route: str, status: int, seconds: float) -> None:
        self.requests.append((route, status))

    def refused(self, route: str, reason: str, events: int = 1) -> None:
        self.refusals.extend([(route, str(reason))] * events)

    def ignored(self, source: str, route: str, reason: str) -> None:
        self.ignores.append((source, route, reason))

    def dropped(self, source: str, field: str) -> None:
        self.drops.append((source, field))


@dataclass
class Answer:
    """What came back on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes = field(repr=False, default=b"")


@dataclass
class House:
    """A listening door and all that stands behind it."""

    door: Door
    listener: Listener
    intake: FakeIntake
    consents: FakeConsents
    counts: Counts
    host: str
    port: int

    async def send(self, raw: bytes, *, timeout: float = 5.0, head: bool = False) -> Answer:
        """Write bytes as they are, read one reply."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(raw)
            return await asyncio.wait_for(read_answer(reader, head=head), timeout)
        finally:
            writer.close()

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes | str = b"",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        *,
        host: str = "t.shop.example",
    ) -> Answer:
        """A well-formed request."""
        return await self.send(request(method, target, body, headers, host=host), head=method == "HEAD")


def request(
    method: str,
    target: str,
    body: bytes | str = b"",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    *,
    host: str = "t.shop.example",
) -> bytes:
    """The bytes of a well-formed request."""
    body = body.encode() if isinstance(body, str) else body
    items = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in items)]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


async def read_answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """One HTTP reply. Raises IncompleteReadError where the connection closes before one came."""
    start = await reader.readuntil(b"\r\n\r\n")
    lines = start.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    length = 0 if head else int(headers.get("content-length", 0))
    body = await reader.readexactly(length)
    return Answer(int(lines[0].split()[1]), headers, body, start + body)


def gateway(sources: Mapping[str, Source] = SOURCES, **settings: Any) -> Gateway:
    """A configuration of two sources."""
    return Gateway(**{"file": "gateway.yaml", "sources": dict(sources), "trusted_proxies": ["private"], **settings})


@asynccontextmanager
async def house(config: Gateway | None = None, *, body_seconds: float = 10.0, **bounds: Any) -> AsyncIterator[House]:
    """A door that listens on loopback."""
    intake, consents, counts = FakeIntake(), FakeConsents(), Counts()
    door = Door(config or gateway(), intake, consents, counts, Clock(), body_seconds=body_seconds)
    listener = Listener(door, "127.0.0.1:0", **bounds)
    host, _, port = (await listener.start()).rpartition(":")
    try:
        yield House(door, listener, intake, consents, counts, host, int(port))
    finally:
        await listener.stop(0, grace=0.2)
