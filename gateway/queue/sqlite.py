"""The embedded store: the core with its clockwork, as base.Store describes it.

    store = SqliteStore(Path("data"), clock=Clock(), retention=Window(), firings=Window(), personal=259200, ack="durable",
                        ballast=64_000_000)
    await store.open()

- Operations that write go through the group-commit writer; each is answered after its commit. `ack: written` answers when
  the operating system has it and syncs within 50 ms.
- `take`, `depth`, `dead` … read committed rows through a connection of their own, on the loop, in short transactions.
- Long jobs (retention, replay, erasure) are cut into small transactions with room for hits between them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.clock import Clock
from gateway.config.models import Window
from gateway.errors import QueueFull, StoreError
from gateway.outcomes import Receipt
from gateway.queue import contexts, deadletters, firing, lanes, requeue, take, withdrawals
from gateway.queue.audit import audit_file
from gateway.queue.base import (
    Audit,
    Context,
    Counter,
    DeadFilter,
    DeadLetter,
    Firing,
    LaneDepth,
    NewEvent,
    Progress,
    Settlement,
    StoreStats,
    Taken,
    Withdrawal,
)
from gateway.queue.books import books
from gateway.queue.checkpoint import Checkpointer, in_use
from gateway.queue.commit_thread import CommitThread
from gateway.queue.core import Core, Limits, named_counters
from gateway.queue.database import Hook
from gateway.queue.folder import MOUNTS, Folder
from gateway.queue.jobs import Erasure, Housekeeping
from gateway.queue.lookup import Finder
from gateway.queue.settle import settle
from gateway.queue.stage import Stage
from gateway.queue.waiters import Waiters
from gateway.queue.writer import Writer

SYNC_SECONDS = 0.04
"""`ack: written`: the log is synced this long after the first commit that was not."""
REPLAY_SLICE = 200
log = logging.getLogger(__name__)


class SqliteStore:
    """base.Store over one SQLite file in a folder of its own."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        retention: Window,
        firings: Window,
        personal: float,
        ack: str = "durable",
        ballast: int = 64 * 10**6,
        mounts: Path = MOUNTS,
        hook: Hook | None = None,
    ) -> None:
        self._clock = clock
        self._folder = Folder(path, ballast=ballast, mounts=mounts)
        self._limits = Limits(retention.age, retention.bytes, personal, firings.age, firings.bytes)
        self._written = ack == "written"
        self._hook = hook
        self._sync_timer: asyncio.TimerHandle | None = None
        self._sync_future: asyncio.Future[Any] | None = None
        self._retaining = asyncio.Lock()
        self._tasks: set[asyncio.Future[Any]] = set()
        self.salt = b""

    # life

    async def open(self) -> None:
        """See base.Store.open."""
        self._folder.take()
        try:
            synchronous = "normal" if self._written else "full"
            self._core = Core(self._folder.file, self._clock, limits=self._limits, synchronous=synchronous, hook=self._hook)
        except BaseException:
            self._folder.release()
            raise
        self._folder.sync()
        self.salt = self._core.memory.salt
        self._wal = os.open(self._folder.wal, os.O_RDONLY | os.O_CLOEXEC)
        self._thread = CommitThread()
        self._checkpointer = Checkpointer(self._folder.file)
        self._checkpointer.start()
        self._waiters = Waiters(self._core.memory, self._clock)
        self._writer = Writer(
            self._core, self._folder, self._checkpointer, self._thread, self._applied, synced=not self._written
        )
        self._writer.start()
        self._housekeeping = Housekeeping(self._writer, self._limits)
        if not self._folder.reserve():
            log.error("There is no room for the reserve of %d bytes: hits are refused", self._folder.ballast)
            self._writer.start_full()

    async def close(self) -> None:
        """See base.Store.close."""
        await self._writer.stop()
        if self._sync_timer:
            self._sync_timer.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._checkpointer.stop()
        await self._thread.run(self._close_files)
        self._thread.stop()
        self._folder.release()

    def _close_files(self) -> None:
        os.fdatasync(self._wal)
        os.close(self._wal)
        self._core.close()

    def _applied(self, stage: Stage) -> None:
        self._waiters.wake(stage)
        if self._written and self._sync_timer is None:
            self._sync_timer = asyncio.get_running_loop().call_later(SYNC_SECONDS, self._sync)

    def _sync(self) -> None:
        self._sync_timer = None
        self._keep(asyncio.get_running_loop().run_in_executor(None, os.fdatasync, self._wal))

    def _keep(self, future: asyncio.Future[Any]) -> None:
        """Hold on to work nobody waits for, and report what went wrong with it."""
        self._tasks.add(future)
        future.add_done_callback(self._kept)

    def _kept(self, future: asyncio.Future[Any]) -> None:
        self._tasks.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            log.error("Background work of the store failed: %s", error)

    # hits and lanes

    def append(self, events: Sequence[NewEvent]) -> asyncio.Future[list[Receipt]]:
        """See base.Store.append."""
        used = self._core.memory.bytes
        if used > self._limits.bytes and not self._retaining.locked():
            self._keep(asyncio.ensure_future(self.retain()))
        if used > self._limits.bytes + self._limits.bytes // 4:
            raise QueueFull("the queue is over its byte limit", 5)
        return self._writer.append(events)

    def contexts(self, keys: Sequence[bytes], since: float) -> Mapping[bytes, Context]:
        """See base.Store.contexts."""
        return contexts.read(self._core.reader, keys, since)

    async def open_lane(self, lane: str, sources: Sequence[str]) -> None:
        """See base.Store.open_lane."""
        await self._writer.submit(lanes.open_lane, lane, sources)
        lanes.activate(self._core.memory, lane, sources)
        self._waiters.wake_lane(lane)

    def lanes(self) -> Mapping[str, Sequence[str]]:
        """See base.Store.lanes."""
        memory = self._core.memory
        found: dict[str, list[str]] = {lane.name: [] for lane in memory.lanes.values()}
        for lane, source in memory.positions:
            found[memory.lanes[lane].name].append(memory.sources[source].name)
        return found

    def take(self, lane: str, limit: int) -> list[Taken]:
        """See base.Store.take."""
        taken, damaged = self._core.take(lane, limit)
        if damaged:
            log.error("%d stored events of lane %s failed their checksum and were not delivered", len(damaged), lane)
            self._keep(self._writer.submit(settle, lane, damaged))
        return taken

    async def wait(self, lane: str, timeout: float) -> None:
        """See base.Store.wait."""
        await self._waiters.wait(lane, timeout)

    def release(self, lane: str, taken: Iterable[Taken]) -> None:
        """See base.Store.release."""
        memory = self._core.memory
        take.release(memory, memory.lanes[memory.lane_ids[lane]], taken)
        self._waiters.wake_lane(lane)

    def holds(self, lane: str, taken: Taken) -> bool:
        """See base.Store.holds."""
        memory = self._core.memory
        return take.holds(memory, memory.lanes[memory.lane_ids[lane]], taken)

    async def shift_waits(self, lane: str, seconds: float) -> None:
        """See base.Store.shift_waits; in slices."""
        at: int | None = 0
        while at is not None:
            at = await self._writer.submit(requeue.shift_waits, lane, seconds, at)

    async def settle(self, lane: str, settlements: Sequence[Settlement], firings: Sequence[Firing] = ()) -> int:
        """See base.Store.settle."""

        def operation(stage: Stage) -> int:
            firing.record(stage, firings)
            return settle(stage, lane, settlements)

        late: int = await self._writer.submit(operation)
        return late

    def depth(self, lane: str) -> LaneDepth:
        """See base.Store.depth."""
        return self._core.depth(lane)

    # withdrawals and erasure

    async def withdraw(self, withdrawn: Sequence[Withdrawal]) -> None:
        """See base.Store.withdraw."""
        await self._writer.submit(withdrawals.withdraw, withdrawn)

    async def lift(self, subjects: Iterable[bytes], purposes: frozenset[str], at: float) -> None:
        """See base.Store.lift."""
        await self._writer.submit(withdrawals.lift, list(subjects), purposes, at)

    @property
    def withdrawals(self) -> Mapping[bytes, Mapping[str, tuple[float, float]]]:
        """See base.Store.withdrawals."""
        return self._core.memory.withdrawals

    async def erase(self, subjects: frozenset[str], matches: Sequence[tuple[str, str, str]]) -> int:
        """See base.Store.erase."""
        found = await Erasure(self._writer, subjects, matches).run()
        if not await self._writer.in_thread(self._truncate):
            self._checkpointer.restart_due = True
            raise StoreError(f"{found} events were erased, but the write-ahead log could not be emptied yet; erase once more")
        return found

    def _truncate(self) -> bool:
        found = in_use(self._core.db.connection, "truncate")
        self._checkpointer.restarted(found)
        return found is not None

    # keeping house

    async def retain(self) -> None:
        """See base.Store.retain."""
        async with self._retaining:
            await self._housekeeping.run()

    # dead letters and replays

    async def dead(self, where: DeadFilter) -> list[DeadLetter]:
        """See base.Store.dead."""
        return deadletters.read(self._core.reader, self._core.memory, where)

    async def replay_dead(self, where: DeadFilter) -> int:
        """See base.Store.replay_dead."""
        return await self._each_letter(where, requeue.replay_letters)

    async def drop_dead(self, where: DeadFilter) -> int:
        """See base.Store.drop_dead."""
        return await self._each_letter(where, deadletters.drop)

    async def _each_letter(self, where: DeadFilter, operation: Callable[[Stage, Sequence[int]], int]) -> int:
        ids = deadletters.matching(self._core.reader, self._core.memory, where)
        done = 0
        for at in range(0, len(ids), REPLAY_SLICE):
            done += await self._writer.submit(operation, ids[at : at + REPLAY_SLICE])
        return done

    async def replay(self, lane: str, since: float, sources: Sequence[str] | None = None) -> AsyncIterator[Progress]:
        """See base.Store.replay. Raises StoreError for a lane or source that the store does not know."""
        places = self._replayed(lane, sources)
        lane_id = self._core.memory.lane_ids[lane]
        starts = {source: await self._writer.submit(requeue.first_since, source, since) for source in places}
        heads = {source: self._core.memory.sources[source].head for source in places}
        total, done, queued = sum(max(0, heads[s] - starts[s] + 1) for s in places), 0, 0
        for source in places:
            at = starts[source]
            while at <= heads[source]:
                hi = min(at + REPLAY_SLICE - 1, heads[source])
                more, _ = await self._writer.submit(requeue.replay_slice, lane_id, source, at, hi, since)
                done, queued, at = done + hi - at + 1, queued + more, hi + 1
                yield Progress(done, total, queued)

    def _replayed(self, lane: str, sources: Sequence[str] | None) -> list[int]:
        memory = self._core.memory
        lane_id = memory.lane_ids.get(lane)
        known = [source for of, source in memory.positions if of == lane_id]
        if lane_id is None or not known:
            raise StoreError(f"the store knows no lane {lane}")
        if sources is None:
            return known
        unknown = [name for name in sources if memory.source_ids.get(name) not in known]
        if unknown:
            raise StoreError(f"lane {lane} does not read {', '.join(unknown)}")
        return [memory.source_ids[name] for name in dict.fromkeys(sources)]

    # looking

    def counters(self) -> Mapping[Counter, int]:
        """See base.Store.counters. Beside the outcomes: logged per source and name, accepted per source."""
        return named_counters(self._core.memory)

    @property
    def full(self) -> bool:
        """See base.Store.full."""
        return self._writer.full

    def stats(self) -> StoreStats:
        """See base.Store.stats. `commit_seconds` are the commits since the last call."""
        seconds, self._core.commit_seconds = self._core.commit_seconds, []
        return StoreStats(
            log_bytes=self._core.memory.bytes,
            wal_bytes=self._checkpointer.wal_bytes,
            disk_free=self._folder.free_bytes(),
            full=self._writer.full,
            corrupt_rows=self._core.corrupt_rows,
            commit_seconds=tuple(seconds),
        )

    async def audit(self) -> Audit:
        """See base.Store.audit; in a thread, with a connection of its own."""
        return await asyncio.to_thread(audit_file, self._folder.file)

    def books(self) -> Audit:
        """See base.Store.books."""
        return books(self._core.memory)

    async def find(self, event_id: str) -> list[tuple[str, int, bytes, float]]:
        """See base.Store.find; in a thread, as it may have to read the whole log."""
        names = {source.id: source.name for source in self._core.memory.sources.values()}
        return await asyncio.to_thread(Finder(self._folder.file, names).find, event_id)

    async def firings(self, lane: str | None, event_id: str | None, limit: int) -> list[Firing]:
        """See base.Store.firings; in a thread."""
        return await asyncio.to_thread(Finder(self._folder.file, {}).firings, lane, event_id, limit)
