"""Waking lanes: one wake-up when a source of theirs got something, when something was given back, or when a retry is due."""

from __future__ import annotations

import asyncio

from gateway.clock import Clock
from gateway.queue.memory import Memory
from gateway.queue.stage import Stage
from gateway.queue.take import has_work, next_work


class Waiters:
    """Who waits for which lane. A lane that waits costs one future and one timer."""

    def __init__(self, memory: Memory, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._futures: dict[int, set[asyncio.Future[None]]] = {}

    async def wait(self, name: str, timeout: float) -> None:
        """Return when take may find something, or after `timeout` seconds."""
        lane = self._memory.lanes[self._memory.lane_ids[name]]
        now = self._clock.now()
        if has_work(self._memory, lane, now) or timeout <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        soonest = next_work(self._memory, lane)
        pause = min(timeout, soonest - now) if soonest > now else timeout
        timer = loop.call_later(max(pause, 0.001), _resolve, future)
        self._futures.setdefault(lane.id, set()).add(future)
        try:
            await future
        finally:
            timer.cancel()
            self._futures[lane.id].discard(future)

    def wake(self, stage: Stage) -> None:
        """After a commit: wake the lanes it gave something to do, or room to do it."""
        lanes = {lane for lane, _ in stage.due} | {lane for lane, *_ in stage.landed}
        for source in stage.logged:
            lanes.update(lane for lane in self._memory.readers[source] if lane in self._futures)
        for lane in lanes:
            self._wake(lane)

    def wake_lane(self, name: str) -> None:
        """Wake one lane."""
        self._wake(self._memory.lane_ids[name])

    def _wake(self, lane: int) -> None:
        for future in self._futures.get(lane, ()):
            _resolve(future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
