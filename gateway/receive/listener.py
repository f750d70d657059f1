"""The socket of the public listener: its connections (connection.py) with the timers and bounds that a public port needs.

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
import resource
import socket
from collections import Counter

from gateway.errors import GatewayError
from gateway.receive.connection import OTHER, Connection
from gateway.receive.http import Door
from gateway.receive.replies import json_reply

HEADER_SECONDS = 10.0
IDLE_SECONDS = 15.0
PROXY_IDLE_SECONDS = 75.0
"""For peers that are no visitors: longer than nginx, Envoy and AWS's balancers keep an idle connection (60 s) or than
deploy/Caddyfile says. If we closed first, a hit that is on the way at that moment would become the proxy's 502."""
MAX_CONNECTIONS = 4000
MAX_PER_ADDRESS = 100
CLOSED_AT_ONCE = 20
"""Overdue connections that are closed in one turn of the loop: about a millisecond."""
BETWEEN_CLOSES = 0.004
"""Seconds that are left to hits after each such turn."""
SPARE_DESCRIPTORS = 128
"""Descriptors kept for the store, the vendors and the other listeners."""
CROWDED = json_reply(503, {"error": "full", "reason": "too many connections"}, {"Retry-After": "1"}).closing()


class Server:
    """Makes the connections and counts them."""

    def __init__(self, door: Door, connections: int, per_address: int, idle: tuple[float, float]) -> None:
        self.door = door
        self.connections: set[Connection] = set()
        self._loop = asyncio.get_running_loop()
        self._idle = idle
        self._limit = connections
        self._per_address = per_address
        self._by_address: Counter[str] = Counter()

    def __call__(self) -> Connection:
        return Connection(self, self._loop)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False when it is one too many, which it is told."""
        peer = connection.peer
        self.connections.add(connection)
        self._by_address[peer] += 1
        if len(self.connections) <= self._limit and (
            self._by_address[peer] <= self._per_address or not self.door.is_visitor(peer)
        ):
            return True
        self.door.meter.request(OTHER, CROWDED.status, 0.0)
        if connection.transport is not None:
            connection.transport.write(CROWDED.rendered(b"", "1.1", closing=True))
        return False

    def idle_seconds(self, peer: str) -> float:
        """How long a connection from there is kept with nothing on it."""
        visitors, proxies = self._idle
        return visitors if self.door.is_visitor(peer) else proxies

    def release(self, connection: Connection) -> None:
        """Count a connection that ended."""
        self.connections.discard(connection)
        self._by_address[connection.peer] -= 1
        if self._by_address[connection.peer] <= 0:
            del self._by_address[connection.peer]


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
        return len(self._server.connections) if self._server else 0

    async def start(self) -> str:
        """Bind and serve; returns the address as bound. Raises GatewayError."""
        host, _, port = self._address.rpartition(":")
        self._server = Server(
            self._door,
            min(self._connections, descriptors() - SPARE_DESCRIPTORS),
            self._per_address,
            self._idle,
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
        for connection in list(self._server.connections):
            connection.abort()
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        self._server = None

    @staticmethod
    async def _finish(server: Server) -> None:
        while server.connections:
            for connection in list(server.connections):
                if connection.idle:
                    connection.close()
            await asyncio.sleep(0.02)

    async def _sweep(self) -> None:
        pause = min(1.0, self._header_seconds / 5)
        loop = asyncio.get_running_loop()
        while self._server is not None:
            await asyncio.sleep(pause)
            now = loop.time()
            late = [connection for connection in self._server.connections if connection.overdue(now, self._header_seconds)]
            for first in range(0, len(late), CLOSED_AT_ONCE):
                if first:
                    await asyncio.sleep(BETWEEN_CLOSES)
                self._close(late[first : first + CLOSED_AT_ONCE])

    def _close(self, late: list[Connection]) -> None:
        """Close those that still are overdue: some may have gone on while others were closed."""
        now = asyncio.get_running_loop().time()
        for connection in late:
            if connection.overdue(now, self._header_seconds):
                connection.abort()


def descriptors() -> int:
    """How many descriptors this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**20
