"""How a request leaves the house: `Transport.send(Request) -> Reply`, and AiohttpTransport, which does it through aiohttp.

Lanes use DirectTransport (direct.py) unless their file says `transport: aiohttp`. What both promise, whatever the vendor does:
- `send` returns within 10 s (connecting: 3 s); a network error is a Reply with status 0 and one of the closed words
  timeout, connect, tls, dns in `error`, never an exception. Only a request that cannot be put on the wire raises ValueError.
- No redirect is followed, no proxy of the environment is used, certificates are always verified, TLS is 1.2 or newer.
- At most 64 KiB of a reply are read and at most 64 KiB come out of a compressed one; none is asked for compressed.
- Every socket passes the guard (guard.py). Connections are kept alive per lane and never live longer than 5 minutes, so a
  vendor that moves is followed; names are looked up again after 10 s.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Protocol

import aiohttp
from yarl import URL

from gateway import __version__
from gateway.config.models import DestinationConfig
from gateway.deliver.guard import guard_of
from gateway.deliver.names import ThreadResolver
from gateway.destination import Reply, Request

TOTAL_SECONDS = 10.0
CONNECT_SECONDS = 3.0
REPLY_BYTES = 64 * 1024
RECYCLE_SECONDS = 300.0
DNS_SECONDS = 10
_URL = re.compile(r"https?://[\x21-\x7e]+")
_HEADER = re.compile(r"[\x20-\x7e]*")
OWN_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"Tagway/{__version__}"}
PLAIN_REFUSED = b"plain http is refused; use https or set allow_http"


class Transport(Protocol):
    """What a lane needs of the network."""

    async def send(self, request: Request) -> Reply:
        """Carry one request. Network errors are in the Reply. Raises ValueError for a request that is not sendable."""

    async def close(self) -> None:
        """Let go of all connections; may be called twice."""


@cache
def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """The one way we speak TLS; shared by all lanes, as it holds the whole list of authorities."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Pool:
    """A session and how many requests use it; closed when it is retired and the last one has finished."""

    def __init__(self, session: aiohttp.ClientSession, born: float) -> None:
        self.session, self.born = session, born
        self.users, self.retired = 0, False

    async def leave(self) -> None:
        self.users -= 1
        if self.retired and not self.users:
            await self.session.close()


class AiohttpTransport:
    """The transport of one destination. `ca_file` adds no authority: it replaces the system's list.

    >>> transport = AiohttpTransport(config)
    >>> reply = await transport.send(Request("POST", "https://graph.facebook.com/…", {}, b"{}"))
    """

    def __init__(
        self,
        config: DestinationConfig,
        *,
        ca_file: str | None = None,
        total: float = TOTAL_SECONDS,
        connect: float = CONNECT_SECONDS,
        resolver: aiohttp.abc.AbstractResolver | None = None,
    ) -> None:
        self._guard = guard_of(config)
        self._allow_http = config.allow_http
        self._limit = config.limits.concurrency + 1
        self._ca_file, self._resolver = ca_file, resolver
        self._timeout = aiohttp.ClientTimeout(total=total, connect=connect, sock_connect=connect)
        self._pool: _Pool | None = None
        self._closed = False

    async def send(self, request: Request) -> Reply:
        """See Transport."""
        url = checked_url(request.url)
        checked_values(request.headers)
        if url.scheme == "http" and not (self._allow_http or self._guard.permits_plain(url.raw_host or "", url.port or 80)):
            return Reply(0, body=PLAIN_REFUSED, error="connect")
        headers = {**OWN_HEADERS, **request.headers}
        pool = await self._current()
        pool.users += 1
        started = time.perf_counter()
        try:
            status, found, body = await self._exchange(pool, request, url, headers)
            return Reply(status, found, body, ms=(time.perf_counter() - started) * 1000)
        except (TimeoutError, aiohttp.ClientError, OSError, RuntimeError) as error:
            if isinstance(error, aiohttp.InvalidURL):
                raise
            words = str(getattr(error, "os_error", error))[:500].encode()
            return Reply(0, body=words, error=classified(error), ms=(time.perf_counter() - started) * 1000)
        finally:
            await pool.leave()

    async def close(self) -> None:
        """See Transport."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool:
            await pool.session.close()

    def forget_names(self) -> None:
        """Look names up again from the next connection on."""
        if self._pool and isinstance(self._pool.session.connector, aiohttp.TCPConnector):
            self._pool.session.connector.clear_dns_cache()

    async def _exchange(
        self, pool: _Pool, request: Request, url: URL, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        async with pool.session.request(
            request.method, url, data=request.body or None, headers=headers, allow_redirects=False
        ) as response:
            body, whole = await _read(response)
            if not whole:
                response.close()
            found = {name.lower(): value for name, value in response.headers.items()}
            return response.status, found, unpacked(body, found.get("content-encoding", ""))

    async def _current(self) -> _Pool:
        """The pool to use; one that has lived for 5 minutes is retired and closes with its last request."""
        if self._closed:
            raise ValueError("the transport is closed")
        pool, now = self._pool, time.monotonic()
        if pool and now - pool.born < RECYCLE_SECONDS:
            return pool
        self._pool = fresh = _Pool(self._session(), now)
        if pool:
            pool.retired = True
            if not pool.users:
                await pool.session.close()
        return fresh

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._limit,
            ttl_dns_cache=DNS_SECONDS,
            ssl=tls_context(self._ca_file),
            socket_factory=self._guard.socket,
            resolver=self._resolver or ThreadResolver(),
            keepalive_timeout=60,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Content-Type", "Accept"),
        )


def checked_url(url: str) -> URL:
    """The URL, taken as it is. Raises ValueError for one that cannot be sent."""
    if not _URL.fullmatch(url):
        raise ValueError("the URL holds characters that cannot be sent")
    return URL(url, encoded=True)


def checked_values(headers: Mapping[str, str]) -> None:
    """Raises ValueError for a header value that could be read as more than one."""
    if not all(map(_HEADER.fullmatch, headers.values())):
        raise ValueError("a header holds characters other than visible ASCII")


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """At most REPLY_BYTES of the body, and whether that was all of it."""
    chunks: list[bytes] = []
    left = REPLY_BYTES
    while left > 0:
        chunk = await response.content.read(left)
        if not chunk:
            return b"".join(chunks), True
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks), response.content.at_eof()


def unpacked(body: bytes, encoding: str) -> bytes:
    """The plain body of a vendor that compresses unasked; at most REPLY_BYTES, empty where it cannot be read."""
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(wbits=47).decompress(body, REPLY_BYTES)
    except zlib.error:
        return b""


def classified(error: BaseException) -> str:
    """Which of the closed words a network error is."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return "tls"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "connect"
    return "timeout" if isinstance(error, asyncio.TimeoutError) else "connect"
