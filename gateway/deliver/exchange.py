"""One keep-alive HTTP/1.1 connection to a vendor: a request goes out, its answer comes back, then the next one may go.

    connection = Connection(loop)                       # the protocol factory of loop.create_connection
    answer = await connection.ask(head + body, deadline=loop.time() + 10)
    connection.reusable                                  # whether another request may follow

What it promises, whatever the vendor does:
- `ask` ends by its deadline; a failure is a Failure with one of the closed words, never another exception.
- At most REPLY_BYTES of a body are kept; a longer answer is cut there and its connection dropped. So is one whose head is
  over HEAD_BYTES, whose framing is broken or contradictory, or that says more than was asked.
- Interim answers (1xx) are passed over; a switch of protocols is refused.

The parser is llhttp, the one of Node.js, in its strict mode. One timer serves a connection: it is moved on when it fires, so
that a request costs none.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import httptools

from gateway.deliver.transport import REPLY_BYTES

HEAD_BYTES = 64 * 1024
_BODILESS = frozenset({204, 304})


class Answer(NamedTuple):
    """Status, headers (lower-case names, the last of repeated ones) and body as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Failure(Exception):
    """No answer: `word` is timeout, connect, tls or dns; `words` say more."""

    def __init__(self, word: str, words: str) -> None:
        super().__init__(words)
        self.word, self.words = word, words


class Connection(asyncio.Protocol):
    """See the module. `born` is loop time, `rested` that of the end of the last answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.born = self.rested = loop.time()
        self.reusable = False
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._begin(False)

    def ask(self, request: bytes, deadline: float, *, bodiless: bool = False) -> asyncio.Future[Answer]:
        """Send a request; the future gives its Answer or a Failure. `bodiless`: the answer has no body (HEAD)."""
        waiter = self._waiter = self._loop.create_future()
        self._begin(bodiless)
        self._deadline = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._time_is_up)
        if self._transport is None:
            self._fail("connect", "the connection is closed")
        else:
            self._transport.write(request)
        return waiter

    def drop(self) -> None:
        """Close at once; whoever waits for an answer gets a Failure."""
        self.reusable = False
        self._fail("connect", "the connection was closed")
        if self._transport is not None:
            self._transport.abort()

    def _begin(self, bodiless: bool) -> None:
        self._bodiless = bodiless
        self._status, self._head_bytes, self._kept = 0, 0, 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._in_body = self._whole = self._surplus = self._keeps = False

    # what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # those of uvloop are no subclass of asyncio.Transport
        self.reusable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self.reusable = None, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if exc is None and self._in_body and self._until_closed():
            self._finish(False)
        self._fail("connect", str(exc) if exc else "the connection was closed before the answer was whole")

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.drop()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("the vendor changed the protocol")
        except httptools.HttpParserError as error:
            if self._whole:
                self._finish(False)
            else:
                self._refuse(f"the answer is not HTTP: {error}")
        else:
            self._look(len(data))

    def _look(self, arrived: int) -> None:
        if self._whole:
            self._finish(self._keeps and not self._surplus)
        elif self._kept > REPLY_BYTES or (self._in_body and self._bodiless):
            self._finish(False)
        elif not self._in_body:
            self._head_bytes += arrived
            if self._head_bytes > HEAD_BYTES:
                self._refuse("the head of the answer is too long")

    def _time_is_up(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._time_is_up)
            return
        self._fail("timeout", "the vendor did not answer in time")
        self.drop()

    # what the parser tells

    def on_message_begin(self) -> None:
        if self._whole:
            self._surplus = True
        else:
            self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body and not self._whole:
            self._headers[name.lower().decode("latin-1")] = value.decode("utf-8", "surrogateescape")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self._whole:
            self._status, self._in_body = status, True
            self._keeps = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if self._kept <= REPLY_BYTES and not self._whole:
            self._body.append(body)
            self._kept += len(body)

    def on_message_complete(self) -> None:
        self._whole = self._in_body

    # the end of an exchange

    def _until_closed(self) -> bool:
        """Whether the body of the answer ends with the connection, by what its head says."""
        if self._status in _BODILESS or "content-length" in self._headers:
            return False
        return "chunked" not in self._headers.get("transfer-encoding", "").lower()

    def _finish(self, keep: bool) -> None:
        waiter, self._waiter = self._waiter, None
        self.rested = self._loop.time()
        if not keep and self._transport is not None:
            self.reusable = False
            self._transport.abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(Answer(self._status, self._headers, b"".join(self._body)[:REPLY_BYTES]))

    def _refuse(self, words: str) -> None:
        self._fail("connect", words)
        self.drop()

    def _fail(self, word: str, words: str) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(Failure(word, words))
