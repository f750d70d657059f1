"""The record of a request: what was sent where and what came back, without secrets, queries or bodies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from gateway.deliver.settle import Piece
from gateway.destination import Reply, Request
from gateway.queue.base import Firing

ANSWER_BYTES = 2048
MASK = "***"
MIN_SECRET = 4
"""Shorter secrets would mask half the text."""


class Recorder:
    """Makes the records of one lane; `settings` tells which values are secrets."""

    def __init__(self, lane: str, settings: Any) -> None:
        self._lane = lane
        found = {secret for secret in _secrets(settings) if len(secret) >= MIN_SECRET}
        self._secrets = sorted({form for secret in found for form in (secret, quote(secret, safe=""))}, key=len, reverse=True)

        self._url = self._shown = ""

    def firing(self, pieces: Sequence[Piece], request: Request, reply: Reply, at: float) -> Firing:
        """The record of a request that was sent."""
        return Firing(
            lane=self._lane,
            at=at,
            status=reply.status,
            ms=round(reply.ms, 1),
            request=self.line(request),
            answer=self.answer(reply),
            events=events_of(pieces),
            error=reply.error,
        )

    def rendered(self, pieces: Sequence[Piece], request: Request, at: float) -> Firing:
        """The record of a request that a dry run made and did not send: status 0 and no error."""
        return Firing(self._lane, at, 0, 0.0, self.line(request), "dry run: nothing was sent", events_of(pieces))

    def line(self, request: Request) -> str:
        """`POST https://host/path (1234 bytes)`: no query, no secret."""
        if request.url != self._url:
            parts = urlsplit(request.url)
            self._url, self._shown = request.url, self.masked(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
        return f"{request.method} {self._shown} ({len(request.body)} bytes)"

    def answer(self, reply: Reply) -> str:
        """The vendor's own words as text of at most 2 KiB; a vendor may quote our token."""
        if not reply.body:
            return ""
        text = self.masked(reply.body[: 2 * ANSWER_BYTES].decode("utf-8", "replace"))
        text = "".join(c if c >= " " or c in "\n\t" else " " for c in text) if not text.isprintable() else text
        return text.encode()[:ANSWER_BYTES].decode("utf-8", "ignore")

    def masked(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def events_of(pieces: Sequence[Piece]) -> tuple[tuple[str, int, str], ...]:
    """Each event of a request once: source, sequence number, id."""
    if len(pieces) == 1:
        work = pieces[0].work
        return ((work.taken.source, work.taken.seq, work.event.id),)
    works = dict.fromkeys([piece.work for piece in pieces])
    return tuple([(work.taken.source, work.taken.seq, work.event.id) for work in works])


def _secrets(value: Any) -> Iterable[str]:
    if hasattr(value, "get_secret_value"):
        yield str(value.get_secret_value())
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets(item)
