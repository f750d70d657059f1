"""Looking up names: each look-up in a thread of its own, so that a name server that hangs holds up nobody else.

The event loop's shared pool of threads would be full after a handful of hanging look-ups, and with it everything else that
uses it. Look-ups are few (answers are kept for 10 s, and a lane asks for one host once at a time). The threads are daemons:
one that hangs does not hold up the end of the process either.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class ThreadResolver(AbstractResolver):
    """Resolves through the operating system. Raises OSError for a name that is not known."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """Every address of a host."""
        infos = await _in_thread(host, port, family)
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=int(address[1]), family=kind, proto=proto, flags=_NUMERIC)
            for kind, _, proto, _, address in infos
            if kind in (socket.AF_INET, socket.AF_INET6)
        ]

    async def close(self) -> None:
        """There is nothing to let go of."""


async def _in_thread(host: str, port: int, family: int) -> list[Any]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Any]] = loop.create_future()

    def deliver(found: list[Any] | OSError) -> None:
        if future.done():
            return
        if isinstance(found, OSError):
            future.set_exception(found)
        else:
            future.set_result(found)

    def look_up() -> None:
        found: list[Any] | OSError
        try:
            found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        except OSError as error:
            found = error
        except UnicodeError as error:
            found = OSError(f"not a host name: {error.reason if isinstance(error, UnicodeEncodeError) else error}")
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, found)

    threading.Thread(target=look_up, name=f"look-up-{host[:40]}", daemon=True).start()
    return await future
