"""What changed in the last second, for those who look: the newest events, how they stand, and the top of the page.

Nothing runs while nobody looks. With a looker, one task looks at the store once a second through a window that only reads
(in a thread, so no hit waits for it), keeps the last 500 events, and sends what changed. However many events went by, a
message carries at most 500; `passed` says how many there were. A looker that reads too slowly misses messages and gets
everything anew.

Messages of `/stream` (server-sent events, JSON in `data`):

    {"type": "all", "events": [newest first], "overview": {…}, "now": "…"}
    {"type": "events", "new": [newest first], "changed": {"shop/12": ends, …}, "passed": 180}
    {"type": "overview", "overview": {…}}
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.clock import Clock, iso
from gateway.page.brief import Replies, brief
from gateway.page.mask import Mask
from gateway.page.overview import Overview
from gateway.plans import Ready
from gateway.queue.recent import Fates, Logged, Window

log = logging.getLogger(__name__)

KEPT = 500
EVERY = 1.0
FIRINGS = 3000
"""Requests that one look reads; of more, the oldest are left out."""
BACKLOG = 8
"""Messages that may wait for a slow looker."""
Message = dict[str, Any]


class Ring:
    """The last events with how they stand, and what changed since the last look. Used by one thread at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: dict[str, Logged] = {}
        self._heads: dict[str, int] = {}
        self._replies = Replies()
        self._shown: dict[str, dict[str, Any]] = {}

    def look(self, ready: Mapping[str, Ready], mask: Mask) -> Message | None:
        """Look at the store; what changed, or None. Raises sqlite3.Error."""
        with Window(self._file) as window:
            fresh = window.newest(KEPT, after=self._heads)
            self._replies.add(window.firings(self._replies.last, FIRINGS))
            passed = self._take(fresh)
            fates = window.fates(row.number for row in self._rows.values())
        return self._compare(fresh, fates, passed, ready, mask)

    def _take(self, fresh: list[Logged]) -> int:
        passed = 0
        for row in fresh:
            before = self._heads.get(row.source)
            self._heads[row.source] = max(row.seq, before or 0)
            passed += 1 if before is None else max(0, row.seq - before)
        kept = sorted([*fresh, *self._rows.values()], key=lambda row: (row.received, row.seq), reverse=True)[:KEPT]
        self._rows = {f"{row.source}/{row.seq}": row for row in kept}
        return passed

    def _compare(
        self, fresh: list[Logged], fates: Fates, passed: int, ready: Mapping[str, Ready], mask: Mask
    ) -> Message | None:
        shown: dict[str, dict[str, Any]] = {}
        changed: dict[str, Any] = {}
        for key, row in self._rows.items():
            now = self._shown.get(key)
            if now is None or _unlike(now["ends"], fates[row.number]):
                now = brief(row, fates[row.number], self._replies, ready, mask)
                if key in self._shown:
                    changed[key] = now["ends"]
            shown[key] = now
        new = [one for key, one in shown.items() if key not in self._shown]
        self._shown = shown
        return {"type": "events", "new": new, "changed": changed, "passed": passed} if new or changed else None

    def everything(self) -> list[dict[str, Any]]:
        """All rows, newest first."""
        return list(self._shown.values())


def _unlike(ends: Mapping[str, Any], fates: Mapping[str, Any]) -> bool:
    """Whether an event stands otherwise than shown; what has its outcome is compared by that alone."""
    if len(ends) != len(fates):
        return True
    for lane, fate in fates.items():
        shown = ends.get(lane)
        if shown is None:
            return True
        if fate.ending is None:
            due = None if fate.due is None else iso(fate.due)
            if shown["state"] not in ("queued", "retrying") or shown.get("due") != due or shown["tries"] != fate.tries:
                return True
        elif shown["state"] != fate.ending.outcome or shown["reason"] != fate.ending.reason:
            return True
    return False


class Feed:
    """Sends to everybody who looks. `most` lookers at once."""

    def __init__(
        self,
        file: Path,
        overview: Overview,
        ready: Callable[[], Mapping[str, Ready]],
        clock: Clock,
        *,
        every: float = EVERY,
        most: int = 20,
    ) -> None:
        self._file, self._overview, self._ready, self._clock = file, overview, ready, clock
        self._every, self._most = every, most
        self._lookers: dict[asyncio.Queue[Message], bool] = {}
        self._task: asyncio.Task[None] | None = None
        self._ring = Ring(file)
        self._top: Message = {}
        self._wake = asyncio.Event()
        self.closing = asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether somebody looks."""
        return self._task is not None

    @property
    def crowded(self) -> bool:
        """Whether no further looker is taken."""
        return len(self._lookers) >= self._most

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[asyncio.Queue[Message]]:
        """A looker's messages; the first one is everything. None of this runs before the first and after the last."""
        messages: asyncio.Queue[Message] = asyncio.Queue(BACKLOG)
        self._lookers[messages] = True
        self._wake.set()
        if self._task is None:
            self._ring = Ring(self._file)
            self._task = asyncio.create_task(self._run(), name="page-feed")
        try:
            yield messages
        finally:
            del self._lookers[messages]
            if not self._lookers:
                await self._stop()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def close(self) -> None:
        """End every stream."""
        self.closing.set()
        await self._stop()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                found = await asyncio.to_thread(self._ring.look, self._ready(), self._overview.mask)
            except sqlite3.Error as error:
                log.warning("the page could not look at the store", extra={"error": str(error)})
                found = None
            for message in self._messages(found):
                self._send(message)
            self._greet()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._every)

    def _messages(self, found: Message | None) -> Iterator[Message]:
        if found is not None:
            yield found
        top = self._overview.to_json()
        if top != self._top:
            self._top = top
            yield {"type": "overview", "overview": top}

    def _send(self, message: Message) -> None:
        for messages, new in self._lookers.items():
            if not new:
                try:
                    messages.put_nowait(message)
                except asyncio.QueueFull:
                    self._lookers[messages] = True

    def _greet(self) -> None:
        """Everything, for those who are new or came too late for a message."""
        late = [messages for messages, new in self._lookers.items() if new]
        if not late:
            return
        everything = {"type": "all", "events": self._ring.everything(), "overview": self._top, "now": iso(self._clock.now())}
        for messages in late:
            while not messages.empty():
                messages.get_nowait()
            messages.put_nowait(everything)
            self._lookers[messages] = False
