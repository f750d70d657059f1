"""Reading a request body: bounded before, while and after it comes, and whole or not at all.

A length announced over the limit is refused before a byte is read; without a length the limit holds while reading. The
whole body has BODY_SECONDS to arrive. Content-Encoding is undone here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.errors import Malformed, Refused, TooLarge
from gateway.receive.encoding import coding_of, decode
from gateway.receive.limits import MAX_BODY
from gateway.receive.request import Request

BODY_SECONDS = 10.0


class BadFraming(Malformed):
    """It is not certain where the request ends: nothing more may be read from its connection."""


class TooSlow(Refused):
    """The rest of the body is not waited for."""


def check_version(request: Request) -> None:
    """Only HTTP/1.1, and HTTP/1.0 without Transfer-Encoding, which it does not have. Raises BadFraming."""
    version = request.version
    if version != "1.1" and (version != "1.0" or "transfer-encoding" in request.headers):
        raise BadFraming("the HTTP version or its framing is not supported")


def check_announced(headers: Mapping[str, str]) -> None:
    """Refuse by the headers alone (names in lower case). Raises TooLarge, Malformed."""
    length = headers.get("content-length")
    # The parser has let only digits through; 20 of them are too many whatever they say.
    if length is not None and (len(length) > 19 or int(length) > MAX_BODY):
        raise TooLarge(f"the body is over {MAX_BODY // 1024} KiB")
    transfer = headers.get("transfer-encoding")
    if transfer is not None and transfer.strip().lower() != "chunked":
        raise BadFraming("Transfer-Encoding must be chunked")


def body_at_hand(request: Request, headers: Mapping[str, str]) -> bytes | None:
    """The decoded body where all of it has come with the headers, as it nearly always has; else None.

    Raises like `read_body`.
    """
    return _decoded(request.body(), headers) if request.whole else None


async def read_body(request: Request, headers: Mapping[str, str], seconds: float = BODY_SECONDS) -> bytes:
    """The decoded body. Raises Malformed (cut or broken), TooLarge, UnsupportedEncoding, TooSlow (408)."""
    if "content-encoding" in headers:
        coding_of(headers["content-encoding"])
    return _decoded(await _arriving(request, seconds), headers)


def _decoded(body: bytes, headers: Mapping[str, str]) -> bytes:
    if len(body) > MAX_BODY:
        raise TooLarge(f"the body is over {MAX_BODY // 1024} KiB")
    if "content-encoding" not in headers:
        return body
    return decode(body, coding_of(headers["content-encoding"]), MAX_BODY)


async def _arriving(request: Request, seconds: float) -> bytes:
    _invite(request)
    try:
        async with asyncio.timeout(seconds):
            while not (request.whole or request.broken or request.size > MAX_BODY):
                await request.more()
    except TimeoutError:
        request.end(broken=True)  # nobody waits for the rest: the connection closes with the reply
        raise TooSlow("the body did not arrive in time", status=408) from None
    if request.broken:
        raise BadFraming("the body is broken or cut short")
    if request.size > MAX_BODY:
        raise TooLarge(f"the body is over {MAX_BODY // 1024} KiB")
    return request.body()


def _invite(request: Request) -> None:
    """Answer `Expect: 100-continue`, now that the headers are known to be acceptable."""
    expected = request.headers.get("expect")
    if expected is None or request.version != "1.1":
        return
    if expected.strip().lower() != "100-continue":
        raise Refused("Expect may only be 100-continue", status=417)
    request.go_on()
