"""Small things that tests of the store share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.clock import Clock, FrozenClock
from gateway.config.models import Window
from gateway.outcomes import Ending, Outcome
from gateway.queue.base import NewEvent, Settlement, Taken
from gateway.queue.sqlite import SqliteStore

NOW = 1_795_514_400.0
DELIVERED = Ending(Outcome.DELIVERED)
REJECTED = Ending(Outcome.REJECTED, "vendor_4xx", "no such pixel")


def new_store(path: Path, *, clock: Clock | None = None, **options: Any) -> SqliteStore:
    """A store that is not open yet, with a frozen clock and no ballast unless asked."""
    settings: dict[str, Any] = {"retention": Window(), "firings": Window(), "personal": 72 * 3600.0, "ballast": 0, **options}
    return SqliteStore(path, clock=clock or FrozenClock(NOW), **settings)


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteStore]:
    """An open store; its equations are checked when it closes."""
    store = new_store(path, **options)
    await store.open()
    try:
        yield store
        audit = await store.audit()
        assert audit.balanced, audit
    finally:
        await store.close()


def event(id_: str, *, source: str = "shop", body: bytes | None = None, received: float = NOW, given: bool = True) -> NewEvent:
    """A purchase."""
    content = body if body is not None else b'{"v":1,"id":"%s"}' % id_.encode()
    return NewEvent(source, "purchase", "purchase", id_, content, received, given, content[-8:])


def events(count: int, prefix: str = "e", **options: Any) -> list[NewEvent]:
    """Several purchases."""
    return [event(f"{prefix}-{number:06d}", **options) for number in range(count)]


def ended(taken: Sequence[Taken], ending: Ending = DELIVERED) -> list[Settlement]:
    """The same ending for all."""
    return [Settlement(one, "e", ending) for one in taken]


async def deliver_all(store: SqliteStore, lane: str, ending: Ending = DELIVERED) -> int:
    """Take and settle until nothing is left; returns how many."""
    done = 0
    while taken := store.take(lane, 100):
        await store.settle(lane, ended(taken, ending))
        done += len(taken)
    return done


def held_bytes(folder: Path) -> bytes:
    """Every byte of the store's files."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())
