"""DirectTransport: the transport that lanes use, a keep-alive HTTP/1.1 client with nothing in it that a lane does not need.

It keeps every promise of transport.py, proved by the same tests as AiohttpTransport. It exists because a request through
aiohttp's client costs several times the CPU of making the request (docs/bench.md), and a vendor whose envelope is one
visitor's gets one request per event. What a lane sends again and again (address, headers) is checked and rendered once.

    names ─► guard ─► socket ─► TLS ─► Connection (exchange.py), kept for the next request

Addresses are tried as RFC 8305 says (a second one after 250 ms). A connection is never used longer than 5 minutes, nor
after 60 s of rest. There is no retry here: whether a request may be sent again is for the lane to decide.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import aiohappyeyeballs
from aiohttp.abc import AbstractResolver
from yarl import URL

from gateway.config.models import DestinationConfig
from gateway.deliver.exchange import Connection, Failure
from gateway.deliver.guard import guard_of
from gateway.deliver.names import NameCache, ThreadResolver
from gateway.deliver.transport import (
    CONNECT_SECONDS,
    DNS_SECONDS,
    OWN_HEADERS,
    PLAIN_REFUSED,
    RECYCLE_SECONDS,
    TOTAL_SECONDS,
    checked_url,
    checked_values,
    tls_context,
    unpacked,
)
from gateway.destination import Reply, Request

REST_SECONDS = 60.0
"""Longer unused connections are not used again: the vendor may be closing them just then."""
MAX_HEADS = 64
SECOND_ADDRESS_SECONDS = 0.25
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"})
_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})

Place = tuple[bool, str, int]
"""(whether TLS is spoken, host, port)"""


class Head(NamedTuple):
    """All of a request but its length and body; `refused` tells that it may not go, being plain http to a public host."""

    place: Place
    lines: bytes
    refused: bool


class DirectTransport:
    """See the module. Arguments are those of AiohttpTransport."""

    def __init__(
        self,
        config: DestinationConfig,
        *,
        ca_file: str | None = None,
        total: float = TOTAL_SECONDS,
        connect: float = CONNECT_SECONDS,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._guard = guard_of(config)
        self._allow_http = config.allow_http
        self._ca_file = ca_file
        self._total, self._connect_seconds = total, connect
        self._names = NameCache(resolver or ThreadResolver(), DNS_SECONDS)
        self._slots = config.limits.concurrency + 1
        self._queue: deque[asyncio.Future[None]] = deque()
        self._resting: dict[Place, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._heads: dict[tuple[object, ...], Head] = {}
        self._closed = False

    async def send(self, request: Request) -> Reply:
        """See Transport."""
        if self._closed:
            raise ValueError("the transport is closed")
        head = self._head(request)
        if head.refused:
            return Reply(0, body=PLAIN_REFUSED, error="connect")
        started = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._total
        try:
            if self._slots <= 0 or self._queue:
                await self._turn()
            else:
                self._slots -= 1
            try:
                answer = await self._exchange(head, request, deadline)
            finally:
                self._next_turn()
        except Failure as failure:
            return Reply(0, body=failure.words[:500].encode(), error=failure.word, ms=(time.perf_counter() - started) * 1000)
        status, headers, body = answer
        if "content-encoding" in headers:
            body = unpacked(body, headers["content-encoding"])
        return Reply(status, headers, body, ms=(time.perf_counter() - started) * 1000)

    async def close(self) -> None:
        """See Transport."""
        self._closed = True
        resting = [one for some in self._resting.values() for one in some]
        self._resting.clear()
        for connection in [*resting, *self._busy]:
            connection.drop()
        self._names.close()

    def forget_names(self) -> None:
        """Look names up again from the next connection on."""
        self._names.forget()

    async def _exchange(self, head: Head, request: Request, deadline: float) -> tuple[int, dict[str, str], bytes]:
        connection = self._rested(head.place) or await self._opened(head.place, deadline)
        self._busy.add(connection)
        try:
            body = request.body
            length = b"Content-Length: %d\r\n\r\n" % len(body) if body or request.method in _WITH_LENGTH else b"\r\n"
            return await connection.ask(b"".join((head.lines, length, body)), deadline, bodiless=request.method == "HEAD")
        except asyncio.CancelledError:
            connection.drop()
            raise
        finally:
            self._busy.discard(connection)
            if connection.reusable and not self._closed:
                self._resting.setdefault(head.place, []).append(connection)

    # turns: no more requests at once than the lane may have

    async def _turn(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiting)
        try:
            async with asyncio.timeout(self._total):
                await waiting
        except BaseException as error:
            if waiting.done() and not waiting.cancelled():
                self._next_turn()
            if isinstance(error, TimeoutError):
                raise Failure("timeout", "other requests to this vendor took all the time") from None
            raise

    def _next_turn(self) -> None:
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        self._slots += 1

    # connections

    def _rested(self, place: Place) -> Connection | None:
        """A connection that may be used again; those that have had their time are closed on the way."""
        resting = self._resting.get(place)
        now = asyncio.get_running_loop().time()
        while resting:
            connection = resting.pop()
            if connection.reusable and now - connection.born < RECYCLE_SECONDS and now - connection.rested < REST_SECONDS:
                return connection
            connection.drop()
        return None

    async def _opened(self, place: Place, deadline: float) -> Connection:
        """A new connection. Raises Failure."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._connect_seconds)):
                return await self._open(place, loop)
        except TimeoutError:
            raise Failure("connect", "no connection within the time for it") from None
        except ssl.SSLError as error:
            raise Failure("tls", str(error)) from None
        except OSError as error:
            raise Failure("connect", str(error)) from None

    async def _open(self, place: Place, loop: asyncio.AbstractEventLoop) -> Connection:
        if self._closed:
            raise Failure("connect", "the transport is closed")
        tls, host, port = place
        try:
            infos = await self._names.addresses(host, port)
        except OSError as error:
            raise Failure("dns", str(error)) from None
        if not infos:
            raise Failure("dns", "the name has no address")
        sock = await aiohappyeyeballs.start_connection(
            infos,
            happy_eyeballs_delay=SECOND_ADDRESS_SECONDS,
            interleave=1,
            loop=loop,
            socket_factory=self._guard.socket,
        )
        context = tls_context(self._ca_file) if tls else None
        _, connection = await loop.create_connection(
            lambda: Connection(loop), sock=sock, ssl=context, server_hostname=host if tls else None
        )
        return connection

    # requests

    def _head(self, request: Request) -> Head:
        """What of a request was rendered before, or is now. Raises ValueError for what cannot be sent."""
        key = (request.method, request.url, *request.headers.items())
        head = self._heads.get(key)
        if head is None:
            head = self._rendered(request)
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            self._heads[key] = head
        return head

    def _rendered(self, request: Request) -> Head:
        url = checked_url(request.url)
        checked_values(request.headers)
        if not _TOKEN.fullmatch(request.method):
            raise ValueError("the method is none")
        host, port, tls = url.raw_host or "", url.port or 0, url.scheme == "https"
        if not host or not port:
            raise ValueError("the URL has no host")
        refused = not tls and not (self._allow_http or self._guard.permits_plain(host, port))
        lines = [f"{request.method} {url.raw_path_qs} HTTP/1.1", *_header_lines(url, request.headers)]
        return Head((tls, host, port), "\r\n".join([*lines, ""]).encode("ascii"), refused)


def _header_lines(url: URL, given: Mapping[str, str]) -> list[str]:
    names = {name.lower() for name in given}
    if bad := names & _FRAMING:
        raise ValueError(f"a request cannot set {', '.join(sorted(bad))} itself")
    if not all(map(_TOKEN.fullmatch, given)):
        raise ValueError("a header's name holds characters that no name has")
    own = {"Host": url.host_port_subcomponent or "", **OWN_HEADERS}
    if url.user is not None or url.password is not None:
        credentials = f"{url.user or ''}:{url.password or ''}"
        own["Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
    lines = [f"{name}: {value}" for name, value in own.items() if name.lower() not in names]
    return lines + [f"{name}: {value}" for name, value in given.items()]
