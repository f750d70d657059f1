"""Looking up names: each look-up in a thread of its own, so that a name server that hangs holds up nobody else.

The event loop's shared pool of threads would be full after a handful of hanging look-ups, and with it everything else that
uses it. Look-ups are few (answers are kept for 10 s, and a lane asks for one host once at a time). The threads are daemons:
one that hangs does not hold up the end of the process either.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""An entry of getaddrinfo."""
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


class NameCache:
    """The addresses of hosts, kept for `seconds`; a host is asked for once at a time however many wait for it."""

    def __init__(self, resolver: AbstractResolver, seconds: float) -> None:
        self._resolver, self._seconds = resolver, seconds
        self._known: dict[tuple[str, int], tuple[float, list[AddressInfo]]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[list[AddressInfo]]] = {}

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """Where a host can be reached; an IP address written out is itself. Raises OSError for an unknown name."""
        if literal := _literal(host, port):
            return [literal]
        key = (host, port)
        until, infos = self._known.get(key, (0.0, []))
        if until > time.monotonic():
            return infos
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key), name=f"look-up-{host[:40]}")
            task.add_done_callback(_retrieved)
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Ask again the next time."""
        self._known.clear()

    def close(self) -> None:
        """Wait for no answer any more."""
        for task in self._asking.values():
            task.cancel()

    async def _ask(self, key: tuple[str, int]) -> list[AddressInfo]:
        host, port = key
        try:
            found = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
        finally:
            del self._asking[key]
        infos = [_info(one["family"], one["host"], one["port"]) for one in found]
        self._known[key] = (time.monotonic() + self._seconds, infos)
        return infos


def _retrieved(task: asyncio.Task[Any]) -> None:
    """Those who waited have seen the error; where all of them have left, nobody needs to."""
    if not task.cancelled():
        task.exception()


def _literal(host: str, port: int) -> AddressInfo | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return _info(socket.AF_INET6 if address.version == 6 else socket.AF_INET, host, port)


def _info(family: int, host: str, port: int) -> AddressInfo:
    address: tuple[Any, ...] = (host, port) if family == socket.AF_INET else (host, port, 0, 0)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)


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
