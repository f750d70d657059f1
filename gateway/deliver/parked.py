"""A lane that no file names any more: its events pass as `skipped{disabled}` and can be back-filled if it comes back."""

from __future__ import annotations

import asyncio
import logging
import time

from gateway.deliver.settle import Work
from gateway.deliver.status import LaneStatus
from gateway.event import load
from gateway.meter import Meter
from gateway.outcomes import Ending, Outcome, worst
from gateway.queue.base import Settlement, Store, Taken

log = logging.getLogger(__name__)
CHUNK = 500
IDLE_SECONDS = 30.0
_DISABLED = Ending(Outcome.SKIPPED, "disabled", "the destination is not configured any more")


class ParkedLane:
    """Same life as a Lane: `run` until `stop`."""

    state = "parked"

    def __init__(self, name: str, store: Store, meter: Meter) -> None:
        self.name = name
        self._store, self._meter = store, meter
        self._since = time.time()
        self._skipped = 0
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def status(self) -> LaneStatus:
        """What the lane is doing."""
        return LaneStatus(
            self.name, "", "off", "parked", self._since, _DISABLED.detail, totals={str(Outcome.SKIPPED): self._skipped}
        )

    async def run(self) -> None:
        """Let events pass until `stop`; returns at once when that was called before."""
        if self._stopping:
            return
        self._meter.lane_state(self.name, "parked")
        log.info("Lane parked", extra={"destination": self.name})
        self._task = asyncio.create_task(self._pass(), name=f"parked-{self.name}")
        try:
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.result()
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def stop(self, grace: float) -> None:
        """Let nothing more pass; there is nothing in flight to wait for."""
        self._stopping = True
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _pass(self) -> None:
        while not self._stopping:
            taken = self._store.take(self.name, CHUNK)
            if not taken:
                await self._store.wait(self.name, IDLE_SECONDS)
                continue
            settled = False
            try:
                await self._store.settle(self.name, [_settlement(one) for one in taken])
                settled = True
            finally:
                if not settled:
                    self._store.release(self.name, taken)
            self._skipped += len(taken)


def _settlement(taken: Taken) -> Settlement:
    try:
        work = Work(taken, load(taken.body))
        return work.ended(_DISABLED)
    except (ValueError, KeyError, TypeError):
        return Settlement(taken, "", worst(taken.retry.worst if taken.retry else None, _DISABLED))
