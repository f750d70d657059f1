"""The owner's store and meter, as a receiver has them: calls go over the Unix socket, few frames for many calls.

What hits want stored gathers for as long as each turn of the loop brings more, a few milliseconds at most, and travels in one
frame: a frame costs as much as ten hits. Withdrawals are a copy that the owner renews (the lanes
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
from gateway.meter import REQUEST_SECONDS, Durations, Meter
from gateway.outcomes import Receipt
from gateway.queue import contexts
from gateway.queue.base import Context, NewEvent, Withdrawal
from gateway.queue.writer import QUIET_TURNS
from gateway.workers.wire import Frame, Link

AWAY = "the process that owns the store is away"
RETRY_SECONDS = 1
GATHER = 0.004
"""Seconds for which hits are gathered that keep coming in."""


class RemoteStore:
    """What a receiver's intake and consent route need of a Store (gateway/queue/base.py). Raises QueueFull like one."""

    def __init__(self, link: Link, file: Path) -> None:
        self.salt = b""
        self.withdrawals: Mapping[bytes, Mapping[str, tuple[float, float]]] = {}
        self._link = link
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._gathered: list[_Hit] = []
        self._reader = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
        self._gone = False

    def append(self, events: Sequence[NewEvent]) -> asyncio.Future[list[Receipt]]:
        """See Store.append; answered after the owner's commit."""
        if self._gone:
            raise QueueFull(AWAY, RETRY_SECONDS)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Receipt]] = loop.create_future()
        if not self._gathered:
            loop.call_soon(self._gather, loop, loop.time() + GATHER, 0, 0)
        self._gathered.append((events, future))
        return future

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

    def _gather(self, loop: asyncio.AbstractEventLoop, until: float, seen: int, quiet: int) -> None:
        """Once a turn of the loop: send what has gathered when no hit is on its way any more."""
        quiet = quiet + 1 if len(self._gathered) == seen else 0
        if quiet < QUIET_TURNS and loop.time() < until:
            loop.call_soon(self._gather, loop, until, len(self._gathered), quiet)
        elif self._gathered:
            self._send_gathered()

    def _send_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        events = [tuple(event) for some, _ in gathered for event in some]
        answer = self._begin("append", events)
        answer.add_done_callback(lambda done: _hand_out(done, gathered))

    async def _call(self, kind: str, payload: Any) -> Any:
        if self._gone:
            raise QueueFull(AWAY, RETRY_SECONDS)
        return await self._begin(kind, payload)

    def _begin(self, kind: str, payload: Any) -> asyncio.Future[Any]:
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._link.send(kind, number, payload)
        return future


_Hit = tuple[Sequence[NewEvent], asyncio.Future[list[Receipt]]]


def _hand_out(done: asyncio.Future[int | list[str]], gathered: Sequence[_Hit]) -> None:
    """Give each hit its own part of the answer (`told`)."""
    error = done.exception()
    answer = 0 if error else done.result()
    receipts = [Receipt.LOGGED] * answer if isinstance(answer, int) else [Receipt(one) for one in answer]
    at = 0
    for events, future in gathered:
        if not future.done():
            if error:
                future.set_exception(error)
            else:
                future.set_result(receipts[at : at + len(events)])
        at += len(events)


def told(receipts: Sequence[Receipt]) -> int | list[str]:
    """Receipts as they travel: how many, where all are the usual one."""
    return len(receipts) if receipts.count(Receipt.LOGGED) == len(receipts) else [str(one) for one in receipts]


class RelayedMeter(Meter):
    """Adds up what a receiver reports until it goes to the owner, whose metrics are the only ones."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._durations = Durations(REQUEST_SECONDS)
        self._counts: dict[tuple[str, str, str, str], int] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests[(route, status)] = self._requests.get((route, status), 0) + 1
        self._durations.observe(seconds)

    def received(self, source: str, dialect: str, events: int) -> None:
        self._add(("received", source, dialect, ""), events)

    def refused(self, route: str, reason: str, events: int = 1) -> None:
        self._add(("refused", route, reason, ""), events)

    def ignored(self, source: str, route: str, reason: str) -> None:
        self._add(("ignored", source, route, reason), 1)

    def dropped(self, source: str, field: str) -> None:
        self._add(("dropped", source, field, ""), 1)

    def _add(self, key: tuple[str, str, str, str], n: int) -> None:
        self._counts[key] = self._counts.get(key, 0) + n

    def drain(self) -> Reports | None:
        """What was reported since the last call."""
        if not self._requests and not self._counts:
            return None
        reports = self._requests, self._durations, self._counts
        self._requests, self._durations, self._counts = {}, Durations(REQUEST_SECONDS), {}
        return reports


Reports = tuple[dict[tuple[str, int], int], Durations, dict[tuple[str, str, str, str], int]]
"""Requests by (route, status), their durations, and counts by (method of Meter, its arguments)."""


def count(meter: Meter, reports: Reports) -> None:
    """Report to a meter what a receiver's has added up."""
    requests, durations, counts = reports
    meter.requests(requests, durations)
    for (method, first, second, third), n in counts.items():
        if method == "received":
            meter.received(first, second, n)
        elif method == "refused":
            meter.refused(first, second, n)
        for _ in range(n):
            if method == "ignored":
                meter.ignored(first, second, third)
            elif method == "dropped":
                meter.dropped(first, second)
