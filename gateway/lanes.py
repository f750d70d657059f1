"""All lanes of the running gateway: started from compiled destinations, supervised, swapped whole on reload.

A lane whose task ends by an unforeseen error is logged and started again after a pause that grows to a minute: its events
stay on disk, and the other lanes never notice. Lanes that the store knows but the configuration no longer names are
parked: their events pass as `skipped{disabled}`, and so do those of sources that a lane no longer reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from gateway.clock import Clock
from gateway.deliver.lane import Lane, LaneStatus
from gateway.deliver.parked import ParkedLane
from gateway.deliver.transport import Transport
from gateway.meter import Meter
from gateway.plans import Ready
from gateway.queue.base import Store

log = logging.getLogger(__name__)

TransportFactory = Callable[[Ready], Transport]


class Lanes:
    """The set of running lanes. `factory` makes the transport of a destination."""

    def __init__(self, store: Store, meter: Meter, clock: Clock, factory: TransportFactory) -> None:
        self._store, self._meter, self._clock, self._factory = store, meter, clock, factory
        self._lanes: dict[str, Lane | ParkedLane] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._transports: list[Transport] = []

    async def start(
        self, ready: Mapping[str, Ready], held: frozenset[str] = frozenset(), waiting: frozenset[str] = frozenset()
    ) -> None:
        """Open a lane for every destination and park the lanes that no file names any more.

        Lanes in `held` and sources in `waiting` were left out for their errors: their events just wait.
        """
        for name, one in ready.items():
            await self._store.open_lane(name, [*one.config.sources, *self._left(name, one.config.sources, waiting)])
            transport = self._factory(one)
            self._transports.append(transport)
            self._lanes[name] = Lane(
                one.config, one.destination, one.plan, one.need, self._store, transport, self._meter, self._clock
            )
        for name in self._store.lanes():
            if name not in self._lanes and name not in held:
                await self._store.open_lane(name, self._left(name, (), waiting))
                self._lanes[name] = ParkedLane(name, self._store, self._meter)
        self._tasks = {
            name: asyncio.create_task(_supervise(lane, name), name=f"lane-{name}") for name, lane in self._lanes.items()
        }

    def _left(self, name: str, sources: Sequence[str], waiting: frozenset[str]) -> list[str]:
        """Sources that the lane read before and its file no longer names: what they queued ends as `skipped{disabled}`."""
        return [source for source in self._store.lanes().get(name, ()) if source not in sources and source not in waiting]

    async def stop(self, grace: float) -> None:
        """Stop taking, let requests in flight finish for `grace` seconds, leave the rest on disk."""
        await asyncio.gather(*(lane.stop(grace) for lane in self._lanes.values()))
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(transport.close() for transport in self._transports))
        self._lanes, self._tasks, self._transports = {}, {}, []

    def status(self) -> dict[str, LaneStatus]:
        """What each lane is doing, by name."""
        return {name: lane.status() for name, lane in self._lanes.items()}

    def probe(self) -> None:
        """Let paused lanes try again at once."""
        for lane in self._lanes.values():
            if isinstance(lane, Lane):
                lane.probe_now()


async def _supervise(lane: Lane | ParkedLane, name: str) -> None:
    pause = 1.0
    while True:
        try:
            await lane.run()
            return
        except Exception:  # boundary: one lane's bug must not take the others down
            log.exception("lane stopped unexpectedly; starting it again", extra={"destination": name, "pause_s": pause})
            await asyncio.sleep(pause)
            pause = min(60.0, pause * 2)
