"""Settlements on their way to the store: what gathers while one transaction runs goes together into the next.

A settlement that cannot be stored (disk full) is kept and tried again; it stays in the lane's count of held events, so a
store that takes nothing stops the lane from taking more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from gateway.deliver.retry import Sleep
from gateway.queue.base import Firing, Settlement, Store

log = logging.getLogger(__name__)
LONGEST_WAIT = 30.0


class Outbox:
    """The outbox of one lane. `settled` is called with what a transaction has recorded."""

    def __init__(self, lane: str, store: Store, settled: Callable[[list[Settlement]], None], sleep: Sleep) -> None:
        self._lane, self._store, self._settled, self._sleep = lane, store, settled, sleep
        self._settlements: list[Settlement] = []
        self._firings: list[Firing] = []
        self._task: asyncio.Task[None] | None = None
        self.late = 0

    def put(self, settlements: Iterable[Settlement], firings: Iterable[Firing] = ()) -> None:
        """Hand in; recorded soon."""
        self._settlements += settlements
        self._firings += firings
        if (self._settlements or self._firings) and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name=f"settle-{self._lane}")

    async def flush(self, timeout: float) -> None:
        """Wait until everything is recorded; give up after `timeout` seconds, then the events are sent again some day."""
        if self._task is None or self._task.done():
            return
        await asyncio.wait({self._task}, timeout=timeout)
        if not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            log.error("Settlements were not stored", extra={"destination": self._lane, "events": len(self._settlements)})

    async def _run(self) -> None:
        wait = 0.5
        while self._settlements or self._firings:
            settlements, firings = self._settlements, self._firings
            self._settlements, self._firings = [], []
            try:
                self.late += await self._store.settle(self._lane, settlements, firings)
            except Exception:
                self._settlements, self._firings = settlements + self._settlements, firings + self._firings
                log.exception("Settling failed; trying again", extra={"destination": self._lane})
                await self._sleep(wait)
                wait = min(LONGEST_WAIT, wait * 2)
            else:
                wait = 0.5
                self._settled(settlements)
