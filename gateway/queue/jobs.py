"""Long jobs in small transactions: keeping house, and erasing a person."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from gateway.queue import contexts, erase, firing, personal, remembered, retention
from gateway.queue.base import CONTEXT_AGE
from gateway.queue.core import Limits
from gateway.queue.erase import Person
from gateway.queue.stage import Stage
from gateway.queue.writer import Writer

T = TypeVar("T")
PURGE_SECONDS = 0.02
"""Time that one pass spends on forgetting ids."""
PURGE_PAUSE = 3600.0
"""Seconds between the end of a walk through the remembered ids and the next."""
PENDING_SLICES = 5
FIRING_SLICE = 500


class Housekeeping:
    """Retention, personal data, contexts, firings and remembered ids; `run` is one pass."""

    def __init__(self, writer: Writer, limits: Limits) -> None:
        self._writer = writer
        self._limits = limits
        self._pending = 0
        self._place: remembered.Place | None = remembered.START
        self._walked = -PURGE_PAUSE

    async def run(self) -> None:
        """Do what is due, a slice at a time."""
        limits = self._limits
        await self._until_done(retention.by_age, limits)
        scanned: dict[int, int] = {}
        await self._until_done(retention.by_space, limits, scanned)
        await self._until_done(personal.strip_new, limits)
        await self._strip_pending()
        await self._until_done(self._forget_contexts)
        await self._until_done(self._forget_firings)
        await self._purge()

    async def _until_done(self, piece: Callable[..., int], *args: object) -> None:
        while await self._writer.submit(piece, *args):
            await asyncio.sleep(0)

    async def _strip_pending(self) -> None:
        for _ in range(PENDING_SLICES):
            at = self._pending
            went: int | None = await self._writer.submit(personal.strip_pending, at)
            self._pending = went or 0
            if went is None:
                return

    def _forget_contexts(self, stage: Stage) -> int:
        return contexts.forget(stage, stage.now - min(CONTEXT_AGE, self._limits.personal))

    def _forget_firings(self, stage: Stage) -> int:
        limits = self._limits
        return firing.forget(stage, stage.now - limits.firings_age, limits.firings_bytes, FIRING_SLICE)

    async def _purge(self) -> None:
        started = time.monotonic()
        if self._place is None:
            if started < self._walked + PURGE_PAUSE:
                return
            self._place = remembered.START
        remembered_for = self._limits.remembered
        while self._place is not None and time.monotonic() < started + PURGE_SECONDS:
            at = self._place
            self._place = await self._writer.submit(remembered.purge, at, remembered_for)
        if self._place is None:
            self._walked = time.monotonic()


class Erasure:
    """One erasure, slice by slice, over everything that holds an event's bytes."""

    def __init__(self, writer: Writer, events: frozenset[str], matches: Sequence[tuple[str, str, str]]) -> None:
        self._writer = writer
        self._person = Person(events, matches)

    async def run(self) -> int:
        """Erase; returns how many events were found."""
        person = self._person
        await self._walk(erase.erase_log, 0)
        await self._walk(erase.erase_copies, (0, 0))
        await self._walk(erase.erase_letters, 0)
        await self._walk(contexts.erase, 0)
        below: int | None = 1 << 62
        while below is not None and person.found:
            below = await self._writer.submit(firing.blank, person.found, below, FIRING_SLICE)
        return len(person.found) + person.unnumbered

    async def _walk(self, piece: Callable[[Stage, Person, T], T | None], start: T) -> None:
        at: T | None = start
        while at is not None:
            at = await self._writer.submit(piece, self._person, at)
            await asyncio.sleep(0)
