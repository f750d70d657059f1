"""One request at the public listener: its head, and its body as it arrives (gateway/receive/connection.py feeds it)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.receive.limits import MAX_BODY

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Request:
    """What a client asks. Text keeps bytes that are no UTF-8 as lone surrogates (gateway/receive/clean.py washes them).

    `headers` have names in lower case, with repeated lines joined; `target` is the request target as it came, `version` `1.1`
    or what else was said, `remote` the address of the socket, `keep_alive` whether the client wants the connection kept.
    `whole` tells that the body has come to its end, `broken` that it never will; `size` is how much of it came, of which what
    exceeds the limit is not kept.
    """

    __slots__ = (
        "_chunks", "_waiter", "_write",
        "broken", "headers", "keep_alive", "method", "remote", "size", "target", "version", "whole",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        target: str,
        version: str,
        headers: dict[str, str],
        remote: str,
        *,
        keep_alive: bool = True,
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        self.method, self.target, self.version, self.headers = method, target, version, headers
        self.remote, self.keep_alive = remote, keep_alive
        self.whole = self.broken = False
        self.size = 0
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._write = write

    # what the connection tells

    def feed(self, chunk: bytes) -> None:
        """More of the body came."""
        self.size += len(chunk)
        if self.size <= MAX_BODY:
            self._chunks.append(chunk)
        if self._waiter is not None:
            self._wake()

    def end(self, *, broken: bool = False) -> None:
        """The body is whole, or will never be."""
        self.whole, self.broken = not broken, broken
        if self._waiter is not None:
            self._wake()

    # what the door asks

    def body(self) -> bytes:
        """What came so far."""
        chunks = self._chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def more(self) -> None:
        """Wait until more of the body came, or its end, or it broke."""
        if not (self.whole or self.broken):
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def go_on(self) -> None:
        """Tell a client that waits for it (Expect: 100-continue) to send the body."""
        if self._write is not None:
            self._write(_CONTINUE)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
