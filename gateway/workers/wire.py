"""Frames between owner and receivers: four bytes of length, then a pickled tuple `(kind, number, payload)`.

Pickle, because both ends are one program: the socket is one of a pair that the owner made and handed to its child, and has no
name that anyone else could open. Nothing from outside is ever unpickled; events are bytes inside.

    receiver → owner    hello 0 pid        append n [event …]      withdraw n […]   lift n (…)   meter 0 reports
    owner → receiver    welcome 0 (salt, withdrawals)              done n result    full n (words, seconds)    failed n words
                        state 0 ready()    withdrawals 0 table     reload 0 None    stop 0 drain

A frame is handed on where it is read, without streams and tasks: with them, those cost as much as the rest of the way.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any

Frame = tuple[str, int, Any]
_LENGTH = struct.Struct("!I")
MAX_FRAME = 64 * 2**20


class Link(asyncio.Protocol):
    """One end of the socket: `take` gets each frame that arrives, `lost` is called once the other side is gone."""

    def __init__(self, take: Callable[[Frame], None], lost: Callable[[], None]) -> None:
        self._take, self._lost = take, lost
        self._transport: asyncio.Transport | None = None
        self._begun = bytearray()

    async def connect(self, end: socket.socket) -> None:
        """Take frames from now on."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def send(self, kind: str, number: int = 0, payload: Any = None) -> None:
        """Send a frame, if there still is another side."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packed(kind, number, payload))

    def close(self) -> None:
        """Close it once what was sent has gone."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # those of uvloop are no subclass of asyncio.Transport

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begun += data[self._handed_on(data) :]
            return
        self._begun += data
        del self._begun[: self._handed_on(self._begun)]

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()

    def _handed_on(self, data: bytes | bytearray) -> int:
        """Hand on the whole frames at the start; returns where they end."""
        at, end = 0, len(data)
        with memoryview(data) as view:
            while at + _LENGTH.size <= end:
                (length,) = _LENGTH.unpack_from(data, at)
                if length > MAX_FRAME:
                    self.close()
                    return end
                start = at + _LENGTH.size
                if start + length > end:
                    break
                at = start + length
                self._take(pickle.loads(view[start:at]))
        return at


def packed(kind: str, number: int = 0, payload: Any = None) -> bytes:
    """A frame, ready to be written."""
    body = pickle.dumps((kind, number, payload), protocol=5)
    return _LENGTH.pack(len(body)) + body
