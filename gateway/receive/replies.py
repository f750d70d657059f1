"""Replies of the public listener, rendered ahead: what is the same for every hit is bytes before the first hit comes.

No reply quotes the input: the bodies below are constants, counts, our own sentences and the ids of accepted events.
`Reply` is what a route answers, and knows its bytes on the wire. `Answers` say what a dialect's clients expect to hear for
accepted, refused and full.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from functools import cache
from http import HTTPStatus
from typing import Protocol

import orjson

from gateway.errors import QueueFull, RateLimited, Refused
from gateway.receive.hit import Taken

PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"  # a transparent 1x1 GIF89a
)
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_PIXEL_HEADERS = {
    "Content-Type": "image/gif",
    "Cache-Control": "no-store, no-cache, must-revalidate, max-age=0, private",
    "Pragma": "no-cache",
    "Expires": "Thu, 01 Jan 1970 00:00:00 GMT",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_BODILESS = frozenset({204, 304})


class Reply:
    """Status, headers and body of an answer, as bytes; shared between requests and never changed.

    `close` ends the connection after it: for requests whose rest was not read or cannot be understood.
    """

    __slots__ = ("_start", "body", "close", "head", "status")

    def __init__(self, status: int, body: bytes = b"", headers: Mapping[str, str] = NO_STORE, *, close: bool = False) -> None:
        self.status = status
        self.body = body
        self.close = close
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._start = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}".encode("ascii")
        self.head = self._start if status in _BODILESS else b"%sContent-Length: %d\r\n" % (self._start, len(body))

    def with_body(self, body: bytes) -> Reply:
        """The same status and headers over another body."""
        other = Reply.__new__(Reply)
        other.status, other.close, other._start = self.status, self.close, self._start
        other.body, other.head = body, b"%sContent-Length: %d\r\n" % (self._start, len(body))
        return other

    def closing(self) -> Reply:
        """The same reply, with the connection closed after it."""
        other = Reply.__new__(Reply)
        other.status, other.close, other._start = self.status, True, self._start
        other.body, other.head = self.body, self.head
        return other

    def rendered(self, lines: bytes, version: str, *, closing: bool = False, bodiless: bool = False) -> bytes:
        """All that goes over the wire to one request of this HTTP version.

        `lines` are header lines of this request alone (CORS, cookies), complete with their line ends.
        """
        if closing:
            lines += b"Connection: close\r\n"
        elif version != "1.1":
            lines += b"Connection: keep-alive\r\n"
        return b"%b%b%b\r\n%b" % (self.head, lines, _date(), b"" if bodiless else self.body)


class Answers(Protocol):
    """What clients of a dialect are told."""

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        """Each event of the hit is on disk or refused, in this order."""

    def refused(self, refusal: Refused) -> Reply:
        """Nothing of the hit could be read or it may not speak."""

    def full(self, full: QueueFull) -> Reply:
        """The store takes nothing for now."""


def error_reply(refusal: Refused, *, close: bool = False) -> Reply:
    """`{"error": word, "reason": sentence}` with the refusal's own status."""
    headers = dict(_JSON)
    if isinstance(refusal, RateLimited):
        headers["Retry-After"] = str(refusal.retry_after)
    if refusal.status == 415:
        headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
    body = {"error": refusal.reason, "reason": refusal.detail}
    return Reply(refusal.status, orjson.dumps(body), headers, close=close)


def json_reply(status: int, body: object, headers: Mapping[str, str] = NO_STORE) -> Reply:
    """A JSON answer; not cached unless `headers` say so."""
    return Reply(status, orjson.dumps(body), {"Content-Type": "application/json", **headers})


class NativeAnswers:
    """`POST /v1/events`: 200 with one line per refused event, 4xx when no event could be taken."""

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        ids = [result.id for result in results if isinstance(result, Taken)]
        refused = [(n, one) for n, one in enumerate(results) if isinstance(one, Refused)] if len(ids) < len(results) else []
        rejected = [{"index": n, "error": one.reason, "reason": one.detail} for n, one in refused]
        if ids:
            return _TAKEN.with_body(orjson.dumps({"accepted": len(ids), "ids": ids, "rejected": rejected}))
        first = refused[0][1] if refused else Refused("there is no event in the body")
        status = first.status if all(one.status == first.status for _, one in refused) else 400
        return json_reply(status, {"error": first.reason, "reason": first.detail, "rejected": rejected})

    def refused(self, refusal: Refused) -> Reply:
        return error_reply(refusal)

    def full(self, full: QueueFull) -> Reply:
        return _busy(503, full.retry_after)


def without_event(answers: Answers) -> Reply:
    """The usual answer to a hit that makes no event by right, and must not be sent again."""
    return NONE_TAKEN if isinstance(answers, NativeAnswers) else answers.accepted(())


class SegmentAnswers:
    """Segment's SDKs: 200 whatever became of the hit (refusals are counted), 429 and 408 when they should come again."""

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        return SEGMENT_OK

    def refused(self, refusal: Refused) -> Reply:
        return error_reply(refusal) if refusal.status in (408, 429) else SEGMENT_OK

    def full(self, full: QueueFull) -> Reply:
        return _busy(429, full.retry_after)


class PixelAnswers:
    """Images: always the GIF, so that no page shows a broken image and nobody can probe keys and ids."""

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        return GIF

    def refused(self, refusal: Refused) -> Reply:
        return GIF

    def full(self, full: QueueFull) -> Reply:
        return GIF


class Ga4Answers:
    """GA4's senders: 204 whatever became of the hit (refusals are counted); 503 where it should come again."""

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        return GA4_OK

    def refused(self, refusal: Refused) -> Reply:
        return GA4_OK

    def full(self, full: QueueFull) -> Reply:
        return _busy(503, full.retry_after)


class SnowplowAnswers:
    """Snowplow's trackers: 200 whatever became of the hit (refusals are counted); 503, 429 and 408 make them come again.

    `ok` is what they hear for POST (the word) and for GET (the image).
    """

    def __init__(self, ok: Reply) -> None:
        self._ok = ok

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        return self._ok

    def refused(self, refusal: Refused) -> Reply:
        return error_reply(refusal) if refusal.status in (408, 429) else self._ok

    def full(self, full: QueueFull) -> Reply:
        return _busy(503, full.retry_after)


class DataTagAnswers(NativeAnswers):
    """`POST /data`: the time and id of the event, as Data Tags may push them into the page; refused as native."""

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        ids = [result.id for result in results if isinstance(result, Taken)]
        if not ids:
            return super().accepted(results)
        told = [{"timestamp": int(time.time()), "unique_event_id": one} for one in ids]
        return _TAKEN.with_body(orjson.dumps(told if len(results) > 1 else told[0]))


class HookAnswers(NativeAnswers):
    """Shops' webhooks: 200 also where the hit held no event, since a shop sends again, and in the end gives up, what is not."""

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        return super().accepted(results) if results else NONE_TAKEN


_JSON = {"Content-Type": "application/json", **NO_STORE}


@cache
def _busy(status: int, retry_after: int) -> Reply:
    body = {"error": "full", "reason": "the store takes no more for now; send it again later"}
    return json_reply(status, body, {**NO_STORE, "Retry-After": str(retry_after)})


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    """The Date line, made once a second."""
    global _dated
    second = int(time.time())
    if _dated[0] != second:
        _dated = (second, f"Date: {formatdate(second, usegmt=True)}\r\n".encode("ascii"))
    return _dated[1]


_TAKEN = Reply(200, headers=_JSON)
GIF = Reply(200, PIXEL, _PIXEL_HEADERS)
SEGMENT_OK = json_reply(200, {"success": True})
GA4_OK = Reply(
    204,
    headers={
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
    },
)
SNOWPLOW, SNOWPLOW_IMAGE = SnowplowAnswers(Reply(200, b"ok", {"Content-Type": "text/plain", **NO_STORE})), SnowplowAnswers(GIF)
NONE_TAKEN = json_reply(200, {"accepted": 0, "ids": [], "rejected": []})
DATA_TAG, HOOK = DataTagAnswers(), HookAnswers()
NATIVE, SEGMENT, IMAGE, GA4 = NativeAnswers(), SegmentAnswers(), PixelAnswers(), Ga4Answers()
