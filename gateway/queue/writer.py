"""Group commit: whatever has gathered becomes one transaction (design §3, §6).

No timer runs while nothing comes in. Commits start at least 1 ms apart, and each takes all that has gathered; groups of
settlements alone keep a wider distance, so that they ride with the next hits where there are any. A commit costs as much as
twenty hits, so a group that is due still waits, for a millisecond at most, while each turn of the loop brings it more: a busy
gateway makes large groups, a lone hit waits for nobody.

SQL runs on the loop, COMMIT in a thread, and callers get their answer when it is on disk. Where COMMIT does not sync (`ack:
written`) it takes 40 us, less than the way to a thread and back, and runs on the loop too; such commits start 2 ms apart.

A group that fails is taken apart: each member is tried alone, so that a bad one fails by itself. When the disk is full the
hits of the group get QueueFull, the ballast is freed, and everything else is tried again until it fits.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.errors import QueueFull, StoreError
from gateway.outcomes import Receipt
from gateway.queue.append import append
from gateway.queue.base import NewEvent
from gateway.queue.checkpoint import Checkpointer, in_use
from gateway.queue.commit_thread import CommitThread
from gateway.queue.core import Core
from gateway.queue.folder import Folder
from gateway.queue.stage import Stage

APART = 0.001
"""Least seconds between the starts of two commits."""
APART_UNSYNCED = 0.002
"""The same for commits that do not sync, which take next to no time themselves."""
APART_SETTLING = 0.005
"""The same for groups without hits."""
JOIN = 0.001
"""Seconds that a group that is due waits for hits that keep coming in."""
QUIET_TURNS = 2
"""Turns of the loop without a hit after which none is on its way: one reads a request, the next handles it."""
GROUP_EVENTS = 1000
"""Hits beyond this wait for the next group, so that the loop is never held for long."""
RECOVERY_SECONDS = 1.0
WAITING_BYTES = 64 << 20
"""Hits handed in and not yet committed; more are refused."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Item:
    """One member of a group: hits to append, or another operation."""

    future: asyncio.Future[Any]
    events: Sequence[NewEvent] = ()
    operation: Callable[[Stage], Any] | None = None
    bytes: int = 0

    def succeed(self, result: Any) -> None:
        """Answer the caller, who may have left."""
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Tell the caller that nothing of it was stored: hits may come again, whatever the reason."""
        if isinstance(error, sqlite3.Error):
            said = f"the store cannot be written: {error}"
            error = QueueFull(said) if self.events else StoreError(said)
        if not self.future.done():
            self.future.set_exception(error)


class Writer:
    """The only user of the core's writing connection once it runs."""

    def __init__(
        self,
        core: Core,
        folder: Folder,
        checkpointer: Checkpointer,
        thread: CommitThread,
        applied: Callable[[Stage], None],
        *,
        synced: bool = True,
    ) -> None:
        """`synced`: whether COMMIT syncs."""
        self.core = core
        self.full = False
        self._folder = folder
        self._checkpointer = checkpointer
        self._thread = thread
        self._applied = applied
        self._synced = synced
        self._apart = APART if synced else APART_UNSYNCED
        self._waiting: list[Item] = []
        self._waiting_bytes = 0
        self._work = asyncio.Event()
        self._hits = asyncio.Event()
        self._closing = False
        self._last = 0.0
        self._recovery: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start taking work."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="tagway-writer")

    async def stop(self) -> None:
        """Commit what was handed in, then end."""
        self._closing = True
        self._work.set()
        self._hits.set()
        if self._task:
            await self._task
        if self._recovery:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)

    def append(self, events: Sequence[NewEvent]) -> asyncio.Future[list[Receipt]]:
        """Hand in a hit's events. Raises QueueFull."""
        size = sum(len(event.body) for event in events)
        if self.full or self._waiting_bytes + size > WAITING_BYTES:
            raise QueueFull("the disk is full" if self.full else "too many hits are waiting to be stored")
        self._waiting_bytes += size
        self._hits.set()
        return self._put(Item(asyncio.get_running_loop().create_future(), events, bytes=size))

    def submit(self, operation: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Hand in any other operation: `operation(stage, *args)`."""
        return self._put(Item(asyncio.get_running_loop().create_future(), operation=partial(_call, operation, args)))

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        """Run something in the writer's thread, never at the same time as a commit."""
        return await self._thread.run(call)

    def _put(self, item: Item) -> asyncio.Future[Any]:
        if self._closing:
            raise StoreError("the store is closed")
        self._waiting.append(item)
        self._work.set()
        return item.future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()
                continue
            await self._keep_apart(loop)
            self._last = loop.time()
            await self._group(self._gather())
            if self._checkpointer.restart_due:
                self._checkpointer.restarted(await self.in_thread(self._restart))

    async def _keep_apart(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closing:
            return
        if not any(item.events for item in self._waiting):
            self._hits.clear()
            pause = self._last + APART_SETTLING - loop.time()
            if pause > 0:
                try:
                    await asyncio.wait_for(self._hits.wait(), pause)
                except TimeoutError:
                    return
        pause = self._last + self._apart - loop.time()
        if pause > 0:
            await asyncio.sleep(pause)
        await self._let_join(loop)

    async def _let_join(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the hits that the loop is busy with."""
        until, seen, quiet = loop.time() + JOIN, len(self._waiting), 0
        while quiet < QUIET_TURNS and loop.time() < until:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == seen else 0
            seen = len(self._waiting)

    def _gather(self) -> list[Item]:
        group: list[Item] = []
        events = 0
        for item in self._waiting:
            if group and events + len(item.events) > GROUP_EVENTS:
                break
            group.append(item)
            events += len(item.events)
            self._waiting_bytes -= item.bytes
        del self._waiting[: len(group)]
        return group

    async def _group(self, items: list[Item]) -> None:
        """Commit a group, or what of it can be committed."""
        try:
            results = await self._transaction(items)
        except Exception as error:  # noqa: BLE001 - the boundary between callers: nobody's mistake may end the writer
            self.core.rollback()
            if no_space(error):
                await self._no_space(items, error)
            elif len(items) > 1:
                for item in items:
                    await self._group([item])
            else:
                log.error("An operation of the store failed: %s", error)
                items[0].fail(error)
            return
        for item, result in zip(items, results, strict=True):
            item.succeed(result)

    async def _transaction(self, items: list[Item]) -> list[Any]:
        stage = self.core.begin()
        events = [event for item in items for event in item.events]
        receipts = append(stage, events) if events else []
        results: list[Any] = []
        at = 0
        for item in items:
            if item.operation:
                results.append(item.operation(stage))
            else:
                results.append(receipts[at : at + len(item.events)])
                at += len(item.events)
        self.core.prepare(stage)
        if self._synced:
            await self._thread.run(self.core.commit)
        else:
            self.core.commit()
        self.core.applied(stage)
        self._checkpointer.committed()
        self._applied(stage)
        return results

    def _restart(self) -> int | None:
        return in_use(self.core.db.connection, "restart")

    # a full disk

    async def _no_space(self, items: list[Item], error: Exception) -> None:
        """Refuse the hits, free the ballast, keep the rest for another try."""
        log.error("The disk is full, hits are refused until there is room: %s", error)
        first = not self.full
        self.full = True
        for item in items:
            if item.events:
                item.fail(QueueFull("the disk is full"))
        rest = [item for item in items if not item.events]
        await self.in_thread(self._make_room)
        if self._closing and not first:
            for item in rest:
                item.fail(StoreError(f"the disk is full: {error}"))
        else:
            self._waiting[:0] = rest
        if self._recovery is None or self._recovery.done():
            self._recovery = asyncio.get_running_loop().create_task(self._recover(), name="tagway-recovery")
        if not first and rest and not self._closing:
            await asyncio.sleep(RECOVERY_SECONDS / 2)

    def _make_room(self) -> None:
        self._folder.give_up_reserve()
        try:
            self._checkpointer.restarted(in_use(self.core.db.connection, "truncate"))
        except sqlite3.Error as error:
            log.warning("The write-ahead log could not be emptied: %s", error)

    async def _recover(self) -> None:
        while self.full:
            await asyncio.sleep(RECOVERY_SECONDS)
            if await self.in_thread(self._folder.reserve):
                self.full = False
                log.warning("There is room on the disk again, hits are taken")

    def start_full(self) -> None:
        """Begin refusing: the ballast could not be made."""
        self.full = True
        self._recovery = asyncio.get_running_loop().create_task(self._recover(), name="tagway-recovery")


def _call(operation: Callable[..., Any], args: tuple[Any, ...], stage: Stage) -> Any:
    return operation(stage, *args)


def no_space(error: BaseException) -> bool:
    """Whether a write failed for want of space, or of a working disk."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
