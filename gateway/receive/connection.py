"""One client connection of the public listener: requests in, replies out, one after another.

The parser is llhttp, the one of Node.js, in its strict mode: what it is not certain about is refused with 400 and the
connection closed, so that no proxy in front can see other requests than we do. Between it and the door stands nothing but
this; what that saves beside a web framework's objects is told in docs/bench.md.

- A request is handed to the door when its head is there; its body may still be arriving.
- The next request waits until the one before it was answered, and no more is read meanwhile; nor while the client does not
  read its replies.
- A reply to a request whose body has not all come ends the connection, but what is still coming is taken in for
  LINGER_SECONDS, so that the client gets to read the reply.
- Timers are times that the listener's sweep looks at (`overdue`), so that a request costs none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import httptools

from gateway.errors import Refused, RefusedReason, TooLarge
from gateway.meter import Meter
from gateway.receive.clean import add_line
from gateway.receive.replies import Reply, error_reply
from gateway.receive.request import Request

MAX_LINE = 32768
"""Bytes of a request target, and of a header."""
MAX_HEADERS = 128
MAX_HEAD = 256 * 1024
"""Bytes of all headers together."""
LINGER_SECONDS = 2.0
_FRAMING = ("content-length", "transfer-encoding")
OTHER = "other"
"""The metric label of every path that is not a route."""

BAD_REQUEST = error_reply(Refused("the request is not HTTP/1.1 as we read it"), close=True)
LONG_URL = error_reply(TooLarge("the URL is over 32 KiB", status=414), close=True)
LONG_HEADER = error_reply(TooLarge("more than 128 headers, or one over 32 KiB, or 256 KiB in all", status=431), close=True)


class Handler(Protocol):
    """Who answers: the door (gateway/receive/http.py)."""

    @property
    def meter(self) -> Meter: ...

    async def handle(self, request: Request) -> tuple[Reply, bytes]:
        """The reply, and header lines of this request alone. Raises nothing."""


class Keeper(Protocol):
    """Who keeps the connections: the listener's server."""

    @property
    def door(self) -> Handler: ...

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False when it is told that there are too many, and closed."""

    def release(self, connection: Connection) -> None:
        """Count a connection that ended."""

    def idle_seconds(self, peer: str) -> float:
        """How long a connection from there is kept with nothing on it."""


class _Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Connection(asyncio.Protocol):
    """See the module. Times are the loop's; None where nothing is waited for.

    `head_since`: since when a request head is awaited, from the opening of the connection or the first byte of a later
    request. `stalled_since`: since when the client does not read. `_rest_since`: since when the rest of a body is taken in that
    nobody wants. `_idle_since`: since when nothing happens.
    """

    def __init__(self, keeper: Keeper, loop: asyncio.AbstractEventLoop) -> None:
        self._keeper, self._loop = keeper, loop
        self._parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport | None = None
        self.peer = ""
        self.head_since: float | None = None
        self.stalled_since: float | None = None
        self._rest_since: float | None = None
        self._idle_since: float | None = None
        self._idle_seconds = 0.0
        self._in_head = False
        self._head_bytes = self._kept = self._lines = 0
        self._target = b""
        self._headers: dict[str, str] = {}
        self._arriving: Request | None = None
        self._offered: Request | None = None
        self._waiting: deque[Request] = deque()
        self._answered: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._refusal: Reply | None = None
        self._deaf = self._unreadable = self._reading_paused = False

    @property
    def idle(self) -> bool:
        """Whether nothing has begun that would need an answer."""
        return self._answered is None and not self._waiting and not self._in_head and self._rest_since is None

    def overdue(self, now: float, seconds: float) -> bool:
        """Whether it had its time: `seconds` for a head, or for reading a reply."""
        if self.stalled_since is not None:
            return now - self.stalled_since > seconds
        if self._rest_since is not None:
            return now - self._rest_since > LINGER_SECONDS
        if self._answered is not None:
            return False
        if self.head_since is not None:
            return now - self.head_since > seconds
        return self._idle_since is not None and now - self._idle_since > self._idle_seconds

    def close(self) -> None:
        """Close it once what was written has gone."""
        self._deaf = True
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close it at once; a request that is being answered is given up."""
        self._deaf = True
        if self._task is not None:
            self._task.cancel()
        if self.transport is not None:
            self.transport.abort()

    # what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # those of uvloop are no subclass of asyncio.Transport
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else ""
        self._idle_seconds = self._keeper.idle_seconds(self.peer)
        self.head_since = self._loop.time()
        if not self._keeper.admit(self):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport, self._deaf = None, True
        self._waiting.clear()
        if self._arriving is not None:
            self._arriving.end(broken=True)
        self._keeper.release(self)

    def eof_received(self) -> bool:
        """The client sends no more: whoever is being answered gets the answer still."""
        self._deaf = True
        if self._arriving is not None:
            self._arriving.end(broken=True)
            self._arriving = None
        return self._answered is not None

    def pause_writing(self) -> None:
        self.stalled_since = self._loop.time()

    def resume_writing(self) -> None:
        self.stalled_since = None
        if self._answered is None:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        if self._unreadable or (self._deaf and self._rest_since is None):
            return
        while data:
            data = self._parse(data)
        if self._in_head:
            self._head_goes_on()
        if self._answered is None:
            if self._rest_since is None and (self._waiting or self._refusal):
                self._go_on()
        elif self._waiting and not self._reading_paused and self.transport is not None:
            self._reading_paused = True
            self.transport.pause_reading()

    def _parse(self, data: bytes) -> bytes:
        """Feed the parser; returns what it has not read: what follows an offer to change the protocol, which is passed by."""
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_by()
            return data[offer.args[0] :] if not self._deaf else b""
        except httptools.HttpParserError as error:
            own = error.__context__
            self._broke(own.reply if isinstance(own, _Refused) else BAD_REQUEST)
        return b""

    def _pass_by(self) -> None:
        """Go on after a head that offers another protocol (`Upgrade: h2c`, as Java's client does) as if it did not.

        The parser leaves the body of such a request alone; a fresh one is told how it is framed, and reads it.
        """
        if self._offered is not None:
            self._parser = httptools.HttpRequestParser(self)
            headers = self._offered.headers
            framing = "".join([f"{name}: {headers[name]}\r\n" for name in _FRAMING if name in headers])
            self._parser.feed_data(f"POST / HTTP/1.1\r\n{framing}\r\n".encode("latin-1"))

    def _head_goes_on(self) -> None:
        """A head is under way and not complete yet."""
        if self.head_since is None:
            self.head_since = self._loop.time()
        if self._head_bytes > MAX_HEAD or (not self._lines and self._head_bytes > 2 * MAX_LINE):
            self._broke(LONG_HEADER)

    def _broke(self, reply: Reply) -> None:
        """What came is no HTTP: nothing more is read, and it is said after what came before was answered."""
        self._unreadable = True
        if self._deaf:
            return
        self._deaf, self._in_head = True, False
        if self._arriving is not None:
            self._arriving.end(broken=True)
            self._arriving = None
        else:
            self._refusal = reply

    # what the parser tells

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._target, self._headers, self._lines, self._kept = b"", {}, 0, 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > MAX_LINE:
            raise _Refused(LONG_URL)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer, after a chunked body
        size = len(name) + len(value)
        self._kept += size
        self._lines += 1
        if size > MAX_LINE or self._lines > MAX_HEADERS or self._kept > MAX_HEAD:
            raise _Refused(LONG_HEADER)
        key = name.decode("latin-1").lower()
        if key == "host" and key in self._headers:
            raise _Refused(BAD_REQUEST)
        add_line(self._headers, key, value.decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        self._in_head, self.head_since, self._idle_since = False, None, None
        if self._offered is not None:
            self._arriving, self._offered = self._offered, None
            return
        parser = self._parser
        method = parser.get_method().decode("ascii")
        target = self._target.decode("utf-8", "surrogateescape")
        keep = parser.should_keep_alive() and method != "CONNECT"
        request = Request(
            method, target, parser.get_http_version(), self._headers, self.peer, keep_alive=keep, write=self._write
        )
        if method != "CONNECT" and parser.should_upgrade():
            self._offered = request
        else:
            self._arriving = request
        self._waiting.append(request)

    def on_body(self, body: bytes) -> None:
        if self._arriving is not None:
            self._arriving.feed(body)

    def on_message_complete(self) -> None:
        request, self._arriving = self._arriving, None
        if request is None:
            return
        request.end()
        if not request.keep_alive:
            self._deaf = True
        if self._rest_since is not None:
            self._rest_since = None
            if self._deaf:
                self.close()
            else:
                self._loop.call_soon(self._go_on)

    # one after another

    def _go_on(self) -> None:
        """Answer the next request that waits; else wait for one."""
        if (
            self._answered is not None
            or self._rest_since is not None
            or self.stalled_since is not None
            or self.transport is None
        ):
            return
        if self._waiting:
            self._answered = request = self._waiting.popleft()
            self._task = self._loop.create_task(self._serve(request))
        elif self._refusal is not None:
            self._refuse(self._refusal)
        elif self._deaf:
            self.close()
        elif not self._in_head:
            self._idle_since = self._loop.time()
        if self._reading_paused and not self._waiting:
            self._reading_paused = False
            self.transport.resume_reading()

    async def _serve(self, request: Request) -> None:
        reply, lines = await self._keeper.door.handle(request)
        self._answered = self._task = None
        if self.transport is None:
            return
        last = reply.close or not request.keep_alive or (self._deaf and self._refusal is None and not self._waiting)
        self._write(reply.rendered(lines, request.version, closing=last, bodiless=request.method == "HEAD"))
        if request.whole:
            if last:
                self.close()
            else:
                self._go_on()
        elif request.broken:
            self.close()
        else:
            self._deaf = self._deaf or last
            self._rest_since = self._loop.time()

    def _refuse(self, reply: Reply) -> None:
        """Tell what the parser refused. It quotes nothing, and is counted, not logged."""
        meter = self._keeper.door.meter
        meter.request(OTHER, reply.status, 0.0)
        meter.refused(OTHER, RefusedReason.MALFORMED if reply is BAD_REQUEST else RefusedReason.TOO_LARGE)
        self._refusal = None
        self._write(reply.rendered(b"", "1.1", closing=True))
        if reply is BAD_REQUEST:
            self.close()
        else:
            self._rest_since = self._loop.time()

    def _write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)
