"""A lane: everything one destination needs to work through its queue, and nothing that could hurt another lane.

    take ─► load, gate, map ─► batches ─► requests in flight (courier.py) ─► settlements ─► store

- The lane holds a bounded number of events and bytes in memory; the rest waits on disk.
- Requests are started by `_dispatch`, which runs whenever something changed: events were mapped, a request ended, a batch
  has waited long enough. An idle lane is one sleeping task.
- While the breaker is open or the lane is paused, what is in hand goes back to the store and only probes are sent, each
  with one event, another one each time.
- Settlements gather in the outbox. An event counts as held until its outcome is on disk.

A lane that is cancelled or stopped gives every unsettled event back; a request that was cut off is sent again later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter, deque

from gateway.clock import Clock
from gateway.config.models import DestinationConfig
from gateway.consent.gate import Need
from gateway.deliver import retry
from gateway.deliver.batch import Batcher, batch_of
from gateway.deliver.circuit import Circuit
from gateway.deliver.courier import Courier, Trip
from gateway.deliver.firing import Recorder
from gateway.deliver.gate import DRY_RUN, Gate
from gateway.deliver.limits import MAX_HELD_BYTES, Rate, bounds_of
from gateway.deliver.outbox import Outbox
from gateway.deliver.settle import Piece, Work
from gateway.deliver.status import LaneStatus
from gateway.deliver.steps import StepWatch
from gateway.deliver.transport import Transport
from gateway.destination import Destination, Plan
from gateway.event import shared
from gateway.meter import Meter
from gateway.outcomes import Ending, Outcome
from gateway.queue.base import Firing, Settlement, Store, Taken

__all__ = ["Lane", "LaneStatus"]
log = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
CHUNK = 64
"""Events mapped in one go: a few milliseconds of the loop."""
PROBE_CHOICE = 16
FLUSH_SECONDS = 5.0
_NOTHING = Ending(Outcome.SKIPPED, "unmapped", "the mapping has no such part any more")


class Lane:
    """One destination's delivery.

    `run` ends only by `stop`, or by an unforeseen error and may then be called again. The owner opens the lane in the
    store before, and closes the transport after. `rng` and `sleep` are for tests.
    """

    def __init__(
        self,
        config: DestinationConfig,
        destination: Destination,
        plan: Plan,
        need: Need,
        store: Store,
        transport: Transport,
        meter: Meter,
        clock: Clock,
        *,
        rng: random.Random | None = None,
        sleep: retry.Sleep = asyncio.sleep,
    ) -> None:
        self.name = config.name
        self._config, self._plan, self._destination = config, plan, destination
        self._store, self._clock, self._rng = store, clock, rng or random.Random()
        self.bounds = bounds_of(plan.manifest, config)
        self.circuit = Circuit(self.name, self.bounds.concurrency, meter, clock, "off" if config.mode == "off" else "running")
        self.circuit.changed = self._changed
        self._gate = Gate(config, plan, need, self.bounds, store)
        self._rate = Rate(self.bounds.rps, clock.monotonic())
        self._recorder = Recorder(self.name, config.settings)
        self._courier = Courier(
            self.name, destination, self._gate, self.circuit, self._rate, self._recorder, transport, meter, clock, sleep
        )
        self._batcher = Batcher(self.bounds)
        self._outbox = Outbox(self.name, store, self._settled, sleep)
        self._steps = StepWatch(self.name, clock, self._rng)
        self._held: dict[tuple[str, int], Taken] = {}
        self._held_bytes = 0
        self._flying: set[asyncio.Task[None]] = set()
        self._task_name = f"send-{self.name}"
        self._probed: deque[tuple[str, int]] = deque(maxlen=64)
        self._totals: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._active, self._stopping, self._grace = False, False, 0.0

    @property
    def state(self) -> str:
        """running, open (breaker), paused or off."""
        return self.circuit.state

    def status(self) -> LaneStatus:
        """What the lane is doing."""
        circuit, hold = self.circuit, self.circuit.hold_in(self._clock.monotonic())
        return LaneStatus(
            name=self.name,
            type=self._config.type,
            mode=self._config.mode,
            state=circuit.state,
            since=circuit.since,
            reason=circuit.reason or (f"the vendor asks for no request for {hold:.0f} s" if hold else ""),
            breaker="open" if circuit.breaker.open else "closed",
            in_flight=len(self._flying),
            held=len(self._held),
            concurrency=circuit.limit,
            last_delivery=self._courier.last_delivery,
            last_failure=self._courier.last_failure,
            totals={"requests": self._courier.requests, "late": self._outbox.late, **self._totals},
        )

    def probe_now(self) -> None:
        """Let a paused lane try again at once."""
        self.circuit.pause.probe_now()
        self.poke()

    def poke(self) -> None:
        """Look again at what is due: after the clock was moved."""
        self._dispatch()
        self._wake.set()

    async def run(self) -> None:
        """Deliver until `stop`; returns at once when that was called before."""
        if self._stopping:
            return
        self._active = True
        self._ended.clear()
        self.circuit.announce()
        self._feeder = asyncio.create_task(self._feed(), name=f"feed-{self.name}")
        try:
            await asyncio.wait({self._feeder})
            if not self._feeder.cancelled():
                self._feeder.result()
        finally:
            self._active = False
            await self._wind_up()
            self._ended.set()

    async def stop(self, grace: float) -> None:
        """Take no more, let requests in flight finish for `grace` seconds, give the rest back."""
        self._stopping, self._grace = True, grace
        if self._feeder is None:
            return
        self._active = False
        self._feeder.cancel()
        await self._ended.wait()

    async def _feed(self) -> None:
        while self._active:
            if back := self._steps.look():
                await self._store.shift_waits(self.name, back)
            if not self.circuit.running:
                await self._probe_turn()
                continue
            room = self._room()
            taken = self._store.take(self.name, min(room, CHUNK)) if room else []
            if taken:
                self._admit(taken)
                self._dispatch()
                await asyncio.sleep(0)
            elif room:
                await self._store.wait(self.name, IDLE_SECONDS)
            else:
                await self._nap(IDLE_SECONDS)

    def _room(self) -> int:
        """How many more events may be held."""
        return max(0, self.bounds.held - len(self._held)) if self._held_bytes < MAX_HELD_BYTES else 0

    async def _probe_turn(self) -> None:
        """Wait until a probe is due and send it."""
        delay = self.circuit.probe_in(self._clock.monotonic())
        if delay or self._held:
            await self._nap(min(delay or IDLE_SECONDS, IDLE_SECONDS))
            return
        choice = self._store.take(self.name, PROBE_CHOICE)
        choice.sort(key=lambda taken: (taken.source, taken.seq) in self._probed)
        while choice and not self._flying:
            self._probe(choice.pop(0))
        self._store.release(self.name, choice)
        if not self._flying and not self._held:
            await self._store.wait(self.name, IDLE_SECONDS)

    def _probe(self, taken: Taken) -> None:
        """Send one part of an event by itself, unless it is skipped."""
        self._probed.append((taken.source, taken.seq))
        settlement, pieces = self._prepared(taken, [], self._clock.now())
        self._hold(taken)
        if settlement:
            self._outbox.put([settlement])
            return
        self.circuit.probing()
        self._launch(Trip(pieces[:1], probe=True))
        for piece in pieces[1:]:
            piece.work.back(piece.part.index)

    def _admit(self, taken: list[Taken]) -> None:
        """Decide about each event; what is to be sent joins a batch."""
        now, wall = self._clock.monotonic(), self._clock.now()
        settlements: list[Settlement] = []
        firings: list[Firing] = []
        for one in taken:
            self._hold(one)
            settlement, pieces = self._prepared(one, firings, wall)
            if settlement:
                settlements.append(settlement)
            alone = one.retry is not None and one.retry.alone
            for piece in pieces:
                self._batcher.add(piece, now, alone)
        self._outbox.put(settlements, firings)

    def _prepared(self, taken: Taken, firings: list[Firing], now: float) -> tuple[Settlement | None, list[Piece]]:
        """An event's pieces to send, or how it ends without."""
        if taken.retry and (later := self._steps.put_off(taken.retry)):
            return Settlement(taken, "", retry=later), []
        try:
            work = Work(taken, shared(taken.body))
        except (ValueError, KeyError, TypeError):
            log.error("Stored event could not be read", extra={"destination": self.name, "seq": taken.seq})
            return Settlement(taken, "", Ending(Outcome.REJECTED, "mapping", "the stored event cannot be read")), []
        try:
            ending = self._gate.closed(work, now)
            if ending is None or ending is DRY_RUN:
                parts = self._plan.parts(work.event, now)
                if isinstance(parts, Ending):
                    return work.ended(ending or parts), []
                pieces = work.pieces(parts)
                if ending is None:
                    return (None, pieces) if pieces else (work.ended(_NOTHING), [])
                firings += self._rendered(pieces, now)
            return work.ended(ending), []
        except Exception:
            log.exception("Mapping failed", extra={"destination": self.name, "event": work.event.id})
            return work.ended(Ending(Outcome.REJECTED, "mapping", "the mapping failed")), []

    def _rendered(self, pieces: list[Piece], now: float) -> list[Firing]:
        """The requests of a dry run, as they would have been sent."""
        return [self._recorder.rendered([piece], self._destination.request(batch_of([piece]), now), now) for piece in pieces]

    def _hold(self, taken: Taken) -> None:
        self._held[(taken.source, taken.seq)] = taken
        self._held_bytes += len(taken.body)

    def _let_go(self, taken: Taken) -> None:
        if self._held.pop((taken.source, taken.seq), None):
            self._held_bytes -= len(taken.body)

    def _dispatch(self) -> None:
        """Start as many requests as are ready and allowed; come back when the next one may be."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while len(self._flying) < self.circuit.limit and (trip := self._next()):
            self._launch(trip)

    def _next(self) -> Trip | None:
        """The next trip if one is ready and may begin; otherwise a timer is set for when one may."""
        if not self.circuit.running or not self._active:
            return None
        now = self._clock.monotonic()
        bundle = self._batcher.next(now)
        delay = self._batcher.due_in(now) if bundle is None else self.circuit.hold_in(now) or self._rate.take(now)
        if bundle is not None and not delay:
            return Trip(bundle)
        if bundle is not None:
            self._batcher.put_back(bundle)
        if delay is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(delay, 0.001), self._dispatch)
        return None

    def _launch(self, trip: Trip) -> None:
        task = asyncio.create_task(self._fly(trip), name=self._task_name)
        self._flying.add(task)
        task.add_done_callback(self._landed)

    async def _fly(self, trip: Trip | None) -> None:
        """Carry one trip after another while there are more and as many at once are allowed."""
        while trip:
            await self._carry(trip)
            trip = self._next() if len(self._flying) <= self.circuit.limit else None

    async def _carry(self, trip: Trip) -> None:
        try:
            await self._courier.carry(trip)
        except Exception:
            log.exception("Sending failed", extra={"destination": self.name})
            await asyncio.sleep(1)
        finally:
            trip.give_back()
            self._record(trip.works, trip.firings)
        try:
            await self._courier.validate(trip)
        except Exception:
            log.exception("Validation failed", extra={"destination": self.name})

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._dispatch()
        self._wake.set()

    def _record(self, works: list[Work], firings: list[Firing]) -> None:
        """Settle the events of which all parts are in; release those of which nothing was learnt."""
        now = self._clock.now()
        settlements: list[Settlement] = []
        released: list[Taken] = []
        for work in works:
            settlement = work.settlement(now, self.circuit.stoppages, self._rng)
            if settlement is None:
                released.append(work.taken)
                continue
            if settlement.ending:
                self.circuit.pause.settled(work.key)
            settlements.append(settlement)
        self._outbox.put(settlements, firings)
        self._release(released)

    def _release(self, taken: list[Taken]) -> None:
        for one in taken:
            self._let_go(one)
        if taken:
            self._store.release(self.name, taken)

    def _settled(self, settlements: list[Settlement]) -> None:
        for settlement in settlements:
            self._let_go(settlement.taken)
            self._totals[settlement.ending.outcome if settlement.ending else "retried"] += 1
        self._wake.set()

    def _changed(self) -> None:
        """The circuit changed: what is in hand goes back while only probes are sent."""
        if not self.circuit.running:
            self._give_back()
        self._wake.set()

    def _give_back(self) -> None:
        works = [piece.work for piece in self._batcher.empty() if piece.work.back(piece.part.index)]
        self._record(works, [])

    async def _nap(self, seconds: float) -> None:
        """Wait for something to change."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _wind_up(self) -> None:
        if self._feeder:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        self._give_back()
        if self._flying and self._grace:
            await asyncio.wait(set(self._flying), timeout=self._grace)
        for task in list(self._flying):
            task.cancel()
        await asyncio.gather(*self._flying, return_exceptions=True)
        if self._timer:
            self._timer.cancel()
        await self._outbox.flush(FLUSH_SECONDS)
        self._release(list(self._held.values()))
