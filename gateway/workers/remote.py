"""The owner's store and meter, as a receiver has them: calls go over the Unix socket, few frames for many calls.

What all hits of one turn of the loop want stored travels in one frame; withdrawals are a copy that the owner renews (the lanes
ask the owner's own table before each request, so that a copy that is a moment old narrows nothing too late); contexts of
checkouts are read from the store's file, which many may read.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.errors import QueueFull
from gateway.meter import Meter
from gateway.outcomes import Receipt
from gateway.queue import contexts
from gateway.queue.base import Context, NewEvent, Withdrawal
from gateway.workers.wire import Frame, packed

AWAY = "the process that owns the store is away"
RETRY_SECONDS = 1


class RemoteStore:
    """What a receiver's intake and consent route need of a Store (gateway/queue/base.py). Raises QueueFull like one."""

    def __init__(self, writer: asyncio.StreamWriter, file: Path) -> None:
        self.salt = b""
        self.withdrawals: Mapping[bytes, Mapping[str, tuple[float, float]]] = {}
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._gathered: list[tuple[Sequence[NewEvent], asyncio.Future[list[Receipt]]]] = []
        self._reader = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
        self._gone = False

    async def append(self, events: Sequence[NewEvent]) -> list[Receipt]:
        """See Store.append; answered after the owner's commit."""
        if self._gone:
            raise QueueFull(AWAY, RETRY_SECONDS)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Receipt]] = loop.create_future()
        if not self._gathered:
            loop.call_soon(self._send_gathered)
        self._gathered.append((events, future))
        return await future

    async def withdraw(self, withdrawals: Sequence[Withdrawal]) -> None:
        """See Store.withdraw."""
        await self._call("withdraw", list(withdrawals))

    async def lift(self, subjects: Iterable[bytes], purposes: frozenset[str], at: float) -> None:
        """See Store.lift."""
        await self._call("lift", (list(subjects), purposes, at))

    def contexts(self, keys: Sequence[bytes], since: float) -> Mapping[bytes, Context]:
        """See Store.contexts."""
        return contexts.read(self._reader, keys, since)

    def take(self, frame: Frame) -> bool:
        """An answer of the owner; False for a frame that is none."""
        kind, number, payload = frame
        if kind not in ("done", "full", "failed"):
            return False
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            if kind == "done":
                future.set_result(payload)
            else:
                words, seconds = payload if kind == "full" else (payload, RETRY_SECONDS)
                future.set_exception(QueueFull(words, seconds))
        return True

    def lose(self) -> None:
        """The owner is gone: nobody waits any longer, and nothing was stored."""
        self._gone = True
        waiting = [*self._waiting.values(), *(future for _, future in self._gathered)]
        for future in waiting:
            if not future.done():
                future.set_exception(QueueFull(AWAY, RETRY_SECONDS))
        self._waiting, self._gathered = {}, []
        self._reader.close()

    def _send_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        events = [event for some, _ in gathered for event in some]
        answer = self._begin("append", events)
        answer.add_done_callback(lambda done: _hand_out(done, gathered))

    async def _call(self, kind: str, payload: Any) -> Any:
        if self._gone:
            raise QueueFull(AWAY, RETRY_SECONDS)
        return await self._begin(kind, payload)

    def _begin(self, kind: str, payload: Any) -> asyncio.Future[Any]:
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(packed(kind, number, payload))
        return future


def _hand_out(done: asyncio.Future[Any], gathered: Sequence[tuple[Sequence[NewEvent], asyncio.Future[list[Receipt]]]]) -> None:
    """Give each hit its own part of the answer."""
    error = done.exception()
    at = 0
    for events, future in gathered:
        receipts = None if error else [Receipt(one) for one in done.result()[at : at + len(events)]]
        at += len(events)
        if future.done():
            continue
        if receipts is None:
            future.set_exception(error or QueueFull(AWAY, RETRY_SECONDS))
        else:
            future.set_result(receipts)


class RelayedMeter(Meter):
    """Gathers what a receiver reports; `flush` sends it to the owner, whose metrics are the only ones."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, tuple[Any, ...]]] = []

    def request(self, route: str, status: int, seconds: float) -> None:
        self._calls.append(("request", (route, status, seconds)))

    def received(self, source: str, dialect: str, events: int) -> None:
        self._calls.append(("received", (source, dialect, events)))

    def refused(self, route: str, reason: str, events: int = 1) -> None:
        self._calls.append(("refused", (route, reason, events)))

    def ignored(self, source: str, route: str, reason: str) -> None:
        self._calls.append(("ignored", (source, route, reason)))

    def dropped(self, source: str, field: str) -> None:
        self._calls.append(("dropped", (source, field)))

    def drain(self) -> list[tuple[str, tuple[Any, ...]]]:
        """The calls since the last one."""
        calls, self._calls = self._calls, []
        return calls
