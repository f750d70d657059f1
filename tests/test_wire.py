"""What travels between the owner of the store and its receivers: frames, receipts, reports."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import QueueFull
from gateway.meter import REQUEST_SECONDS, Durations, Meter
from gateway.outcomes import Receipt
from gateway.queue.base import NewEvent
from gateway.workers.remote import RelayedMeter, RemoteStore, count, told
from gateway.workers.wire import MAX_FRAME, Frame, Link, packed
from tests.store_kit import event, events, opened

FRAMES: list[Frame] = [("append", 1, [b"x" * n]) for n in (0, 1, 70_000)] + [("state", 0, {"ready": True}), ("done", 1, 3)]


@pytest.mark.parametrize("most", [1, 3, 4096, 10**6])
def test_frames_arrive_whole_and_in_order_however_they_are_cut(most: int) -> None:
    taken: list[Frame] = []
    link, sent, draw = Link(taken.append, lambda: None), b"".join(packed(*frame) for frame in FRAMES * 2), random.Random(most)
    while sent:
        length = draw.randint(1, most)
        link.data_received(sent[:length])
        sent = sent[length:]
    assert taken == FRAMES * 2


async def test_a_frame_beyond_all_measure_ends_the_link() -> None:
    lost = asyncio.Event()
    ours, theirs = socket.socketpair()
    link, other = Link(lambda _frame: None, lost.set), Link(lambda _frame: None, lambda: None)
    await link.connect(ours)
    theirs.sendall((MAX_FRAME + 1).to_bytes(4, "big"))
    await asyncio.wait_for(lost.wait(), 5)
    link.send("state", 0, None)
    other.send("state", 0, None)
    theirs.close()


class Owner:
    """The owner's end of a link over a real store, as far as appending goes; `frames` are what it was sent."""

    def __init__(self, store: Any) -> None:
        self.store, self.frames = store, list[Frame]()
        self.link = Link(self._take, lambda: None)

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        asked = asyncio.ensure_future(self.store.append([NewEvent._make(one) for one in frame[2]]))
        asked.add_done_callback(lambda done: self.link.send("done", frame[1], told(done.result())))


async def test_each_hit_gets_its_own_receipts_and_hits_that_come_in_turn_share_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.workers.remote.GATHER", 5.0)
    async with opened(tmp_path) as store:
        ours, theirs = socket.socketpair()
        owner = Owner(store)
        await owner.link.connect(ours)
        link = Link(lambda frame: str(remote.take(frame)), lambda: remote.lose())
        remote = RemoteStore(link, tmp_path / "tagway.db")
        await link.connect(theirs)
        hits: Sequence[list[NewEvent]] = [events(2, "a"), events(1, "b"), [event("a-000000"), event("c")], events(1, "d")]
        answers = []
        for hit in hits:
            answers.append(remote.append(hit))
            await asyncio.sleep(0)
        logged = Receipt.LOGGED
        assert await asyncio.gather(*answers) == [[logged] * 2, [logged], [Receipt.SAME, logged], [logged]]
        assert len(owner.frames) == 1
        assert await remote.append(events(1, "e")) == [logged]
        last = remote.append(events(1, "f"))
        owner.link.close()
        with pytest.raises(QueueFull, match="away"):
            await last
        with pytest.raises(QueueFull, match="away"):
            await remote.append(events(1, "g"))


class Heard(Meter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.answered: dict[tuple[str, int], int] = {}
        self.durations = Durations(REQUEST_SECONDS)
        self.counts: dict[tuple[str, ...], int] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        self.answered[(route, status)] = self.answered.get((route, status), 0) + 1
        self.durations.observe(seconds)

    def requests(self, counts: Mapping[tuple[str, int], int], durations: Durations) -> None:
        self.answered.update(counts)
        self.durations.add(durations)

    def received(self, source: str, dialect: str, events: int) -> None:
        self._add("received", source, dialect, n=events)

    def refused(self, route: str, reason: str, events: int = 1) -> None:
        self._add("refused", route, reason, n=events)

    def ignored(self, source: str, route: str, reason: str) -> None:
        self._add("ignored", source, route, reason)

    def dropped(self, source: str, field: str) -> None:
        self._add("dropped", source, field)

    def _add(self, *key: str, n: int = 1) -> None:
        self.counts[key] = self.counts.get(key, 0) + n


def test_the_owner_counts_all_that_a_receiver_reports() -> None:
    relayed, direct, heard = RelayedMeter(), Heard(), Heard()
    assert relayed.drain() is None
    for meter in (relayed, direct):
        for n in range(5):
            meter.request("/v1/events", 200 if n else 400, n / 8)
            meter.received("shop", "json", n)
            meter.ignored("shop", "/v1/events", "prefetch")
            meter.dropped("shop", "user.email")
        meter.refused("/v1/events", "malformed")
        meter.refused("/v1/events", "malformed", 3)
    reports = relayed.drain()
    assert reports is not None
    count(heard, reports)
    assert (heard.answered, heard.counts) == (direct.answered, direct.counts)
    assert (heard.durations.counts, heard.durations.total) == (direct.durations.counts, direct.durations.total)
    assert sum(heard.durations.counts) == 5
    assert relayed.drain() is None
