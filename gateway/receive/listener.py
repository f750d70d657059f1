"""The socket of the public listener: aiohttp's connections with the timers and bounds that a public port needs.

    listener = Listener(door, "0.0.0.0:8080")
    address = await listener.start()        # "0.0.0.0:8080"; with port 0 the one that was given
    await listener.stop(drain=5.0)

- A header must be complete HEADER_SECONDS after the connection opened or its first byte came; a visitor's connection may
  idle for IDLE_SECONDS, a proxy's for PROXY_IDLE_SECONDS; a client that does not read its replies is cut off after
  HEADER_SECONDS. (The body's timer is the door's.)
- One sweep a second looks at all connections, so that a request pays nothing for its timers. Connections that were opened
  together are overdue together: the sweep closes them a few at a time, as a close costs as much as a hit, and lets hits pass
  in between. Four thousand are closed within a second.
- At most `connections` are open at once, and `per_address` from one public address; more are told 503 and closed.
- What the parser refuses gets our own 400, 414 or 431, which quotes nothing and is not logged line by line.
- Stopping: `drain` seconds of business as usual (readiness is false by then), then no new connections, then every
  request that has begun is answered, for at most `grace` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections import Counter
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import ERROR

from gateway.errors import GatewayError, Refused, RefusedReason, TooLarge
from gateway.receive.http import LIMITS, OTHER, UNFORESEEN, Door, places
from gateway.receive.replies import Reply, Wire, error_reply, json_reply

log = logging.getLogger(__name__)

HEADER_SECONDS = 10.0
IDLE_SECONDS = 15.0
PROXY_IDLE_SECONDS = 75.0
"""For peers that are no visitors: longer than nginx, Envoy and AWS's balancers keep an idle connection (60 s) or than
deploy/Caddyfile says. If we closed first, a hit that is on the way at that moment would become the proxy's 502."""
LINGER_SECONDS = 2.0
"""How long the rest of a refused body is still taken in, so that its sender gets to read the reply."""
MAX_CONNECTIONS = 4000
MAX_PER_ADDRESS = 100
CLOSED_AT_ONCE = 20
"""Overdue connections that are closed in one turn of the loop: about a millisecond."""
BETWEEN_CLOSES = 0.004
"""Seconds that are left to hits after each such turn."""
SPARE_DESCRIPTORS = 128
"""Descriptors kept for the store, the vendors and the other listeners."""
_MAX_LINE = int(LIMITS["max_line_size"])

BAD_REQUEST = error_reply(Refused("the request is not HTTP/1.1 as we read it"), close=True)
LONG_URL = error_reply(TooLarge("the URL is over 32 KiB", status=414), close=True)
LONG_HEADER = error_reply(TooLarge("more than 128 headers, or one over 32 KiB", status=431), close=True)
CROWDED = json_reply(503, {"error": "full", "reason": "too many connections"}, {"Retry-After": "1"}).closing()
_CROWDED_BYTES = CROWDED.head + b"Connection: close\r\n\r\n" + CROWDED.body


class Connection(web.RequestHandler):
    """One client connection: aiohttp's protocol with a header timer, bounds, and replies of our own to what it cannot parse.

    `head_since` is the loop time since which a request header is awaited: from the opening of the connection or from the
    first byte of a later request.
    """

    __slots__ = ("_head", "_last_payload", "head_since", "peer", "stalled_since")
    _manager: Server | None

    def __init__(self, manager: Server, loop: asyncio.AbstractEventLoop, **settings: Any) -> None:
        super().__init__(manager, loop=loop, **settings)
        self.head_since: float | None = None
        self.stalled_since: float | None = None
        self.peer = ""
        self._head = b""
        self._last_payload: StreamReader | None = None

    @property
    def waits(self) -> bool:
        """Whether the next request is awaited, with no other in progress."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def idle(self) -> bool:
        """Whether nothing has begun that would need an answer."""
        return self.waits and not self._head

    def overdue(self, now: float, seconds: float) -> bool:
        """Whether a header, or the reading of a reply, takes longer than allowed, or nobody serves the connection."""
        if self._task_handler is not None and self._task_handler.done():
            return True
        since = self.stalled_since if self.writing_paused else self.head_since if self.waits else None
        return since is not None and now - since > seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else ""
        if self._manager is not None:
            self._keepalive_timeout = self._manager.idle_seconds(self.peer)
        super().connection_made(transport)
        self.head_since = self._loop.time()
        if self._manager is not None and not self._manager.admit(self):
            self._manager.door.meter.request(OTHER, CROWDED.status, 0.0)
            if self.transport is not None:
                self.transport.write(_CROWDED_BYTES)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._manager is not None:
            self._manager.release(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            message, payload = self._messages[-1]
            self.head_since = None
            if isinstance(message, RawRequestMessage):
                self._head, self._last_payload = b"", payload
            else:
                self._head = (self._head + data)[: _MAX_LINE + 1]
                self._end_broken_body()
        elif data and self.waits:
            if self.head_since is None:
                self.head_since = self._loop.time()
            self._head = (self._head + data)[: _MAX_LINE + 1]

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp asks for this after every body, and would then feed its parser nothing, at some cost.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled_since = self._loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stalled_since = None

    def _end_broken_body(self) -> None:
        """Wake the handler that reads a body whose framing broke: aiohttp would leave it waiting."""
        payload = self._last_payload
        if payload is not None and not payload.is_eof():
            payload.set_exception(web.RequestPayloadError("broken framing"))
            payload.feed_eof()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Our own reply to what the parser refused; aiohttp's would quote the input and log a traceback."""
        reply = self._reply_to(exc) if isinstance(exc, HttpProcessingError) else UNFORESEEN
        if self._manager is not None:
            meter = self._manager.door.meter
            meter.request(OTHER, reply.status, 0.0)
            if reply.status < 500:
                reason = RefusedReason.MALFORMED if reply is BAD_REQUEST else RefusedReason.TOO_LARGE
                meter.refused(OTHER, reason)
        return Wire(reply)

    def _reply_to(self, error: HttpProcessingError) -> Reply:
        if isinstance(error, LineTooLong):
            return LONG_URL if len(self._head.partition(b"\n")[0]) > _MAX_LINE else LONG_HEADER
        return LONG_HEADER if "Too many headers" in error.message else BAD_REQUEST

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What aiohttp could not handle, by type and place."""
        error = kw.get("exc_info")
        if isinstance(error, BaseException):
            log.error("connection failed", extra={"error": type(error).__name__, "at": places(error)})


class Server(web.Server):
    """Makes the connections and counts them."""

    def __init__(self, door: Door, connections: int, per_address: int, idle: tuple[float, float], **settings: Any) -> None:
        super().__init__(door.handle, **settings)
        self.door = door
        self._idle = idle
        self._limit = connections
        self._per_address = per_address
        self._by_address: Counter[str] = Counter()

    def __call__(self) -> Connection:
        return Connection(self, self._loop, **self._kwargs)

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        # A CONNECT with an empty target leaves the parser without a URL, and aiohttp would drop the connection's task.
        return super()._make_request(ERROR if message.url is None else message, payload, protocol, writer, task)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False when it is one too many."""
        peer = connection.peer
        self._by_address[peer] += 1
        if len(self._connections) > self._limit:
            return False
        return self._by_address[peer] <= self._per_address or not self.door.is_visitor(peer)

    def idle_seconds(self, peer: str) -> float:
        """How long a connection from there is kept with nothing on it."""
        visitors, proxies = self._idle
        return visitors if self.door.is_visitor(peer) else proxies

    def release(self, connection: Connection) -> None:
        """Count a connection that ended."""
        self._by_address[connection.peer] -= 1
        if self._by_address[connection.peer] <= 0:
            del self._by_address[connection.peer]

    def all(self) -> list[Connection]:
        """The open connections."""
        return [one for one in self._connections if isinstance(one, Connection) and one.transport is not None]


class Listener:
    """Listens on `host:port` for a door, or on a socket that was inherited; the bounds' defaults are those of the module."""

    def __init__(
        self,
        door: Door,
        address: str,
        *,
        header_seconds: float = HEADER_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        proxy_idle_seconds: float = PROXY_IDLE_SECONDS,
        connections: int = MAX_CONNECTIONS,
        per_address: int = MAX_PER_ADDRESS,
        listening: socket.socket | None = None,
    ) -> None:
        self._door = door
        self._listening = listening
        self._address = address
        self._header_seconds = header_seconds
        self._idle = (idle_seconds, proxy_idle_seconds)
        self._connections = connections
        self._per_address = per_address
        self._server: Server | None = None
        self._socket: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._server.all()) if self._server else 0

    async def start(self) -> str:
        """Bind and serve; returns the address as bound. Raises GatewayError."""
        host, _, port = self._address.rpartition(":")
        self._server = Server(
            self._door,
            min(self._connections, descriptors() - SPARE_DESCRIPTORS),
            self._per_address,
            self._idle,
            access_log=None,
            lingering_time=LINGER_SECONDS,
            **LIMITS,
        )
        loop = asyncio.get_running_loop()
        try:
            if self._listening is not None:
                self._socket = await loop.create_server(self._server, sock=self._listening)
            else:
                self._socket = await loop.create_server(self._server, host.strip("[]"), int(port), backlog=1024)
        except OSError as error:
            raise GatewayError(f"cannot listen on {self._address}: {error.strerror or error}") from error
        self._sweeper = asyncio.create_task(self._sweep(), name="listener-sweep")
        name = self._socket.sockets[0].getsockname()
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    async def stop(self, drain: float = 5.0, grace: float = 10.0) -> None:
        """Take hits for `drain` seconds more, close, answer within `grace` what has begun."""
        if self._server is None or self._socket is None or self._sweeper is None:
            return
        self._door.draining = True
        await asyncio.sleep(drain)
        self._socket.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._finish(self._server)
        await self._server.shutdown(min(1.0, grace))
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        self._server = None

    @staticmethod
    async def _finish(server: Server) -> None:
        while connections := server.all():
            for connection in connections:
                if connection.idle:
                    connection.force_close()
            await asyncio.sleep(0.02)

    async def _sweep(self) -> None:
        pause = min(1.0, self._header_seconds / 5)
        loop = asyncio.get_running_loop()
        while self._server is not None:
            await asyncio.sleep(pause)
            now = loop.time()
            late = [connection for connection in self._server.all() if connection.overdue(now, self._header_seconds)]
            for first in range(0, len(late), CLOSED_AT_ONCE):
                if first:
                    await asyncio.sleep(BETWEEN_CLOSES)
                self._close(late[first : first + CLOSED_AT_ONCE])

    def _close(self, late: list[Connection]) -> None:
        """Close those that still are overdue: some may have gone on while others were closed."""
        now = asyncio.get_running_loop().time()
        for connection in late:
            if connection.transport is not None and connection.overdue(now, self._header_seconds):
                connection.transport.abort()


def descriptors() -> int:
    """How many descriptors this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**20
