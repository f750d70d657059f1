"""Frames between owner and receivers: four bytes of length, then a pickled tuple `(kind, number, payload)`.

Pickle, because both ends are one program: the socket is one of a pair that the owner made and handed to its child, and has no
name that anyone else could open. Nothing from outside is ever unpickled; events are bytes inside.

    receiver → owner    hello 0 pid        append n [NewEvent …]   withdraw n […]   lift n (…)   meter 0 [(method, args) …]
    owner → receiver    welcome 0 (salt, withdrawals)              done n result    full n (words, seconds)    failed n words
                        state 0 ready()    withdrawals 0 table     reload 0 None    stop 0 drain
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from typing import Any

Frame = tuple[str, int, Any]
_LENGTH = struct.Struct("!I")
MAX_FRAME = 64 * 2**20


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame; None when the other side is gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME:
            return None
        frame: Frame = pickle.loads(await reader.readexactly(length))
        return frame
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def packed(kind: str, number: int = 0, payload: Any = None) -> bytes:
    """A frame, ready to be written."""
    body = pickle.dumps((kind, number, payload), protocol=5)
    return _LENGTH.pack(len(body)) + body
