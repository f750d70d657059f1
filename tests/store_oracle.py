"""An independent idea of what the store holds: the truth of every event in every lane, kept in plain Python.

It shares no code with the store but the vocabulary (base.py, outcomes.py), keeps one record per (lane, event) with a version
that every change raises, and recounts every total from these records.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.outcomes import Ending, Outcome
from gateway.queue.base import DeadLetter, NewEvent, RetryState, Settlement, Taken

WORSE = ["delivered", "skipped", "expired", "withdrawn", "erased", "rejected", "dead"]
PERSONS = ("ada@example.com", "bob@example.com")


def body_of(number: int, person: str, padding: int) -> bytes:
    """A small event."""
    page = {"url": f"https://shop.example/p?who={person}", "title": "x" * padding}
    return json.dumps({"v": 1, "n": number, "user": {"email": person}, "page": page}).encode()


def bare(body: bytes) -> bytes:
    """What is left of it without personal data."""
    event = json.loads(body)
    event.pop("user", None)
    event["page"]["url"] = event["page"]["url"].split("?")[0]
    return json.dumps(event, separators=(",", ":")).encode()


def person_in(body: bytes) -> str | None:
    """Whose event it is."""
    email: str | None = json.loads(body).get("user", {}).get("email")
    return email


def weight(event_id: str, body: bytes) -> int:
    """What the byte limit counts for one event or copy."""
    return len(body) + len(event_id) + 64


def worse(a: Ending | None, b: Ending | None) -> Ending | None:
    """The worse of two, the first where equal."""
    if a is None or b is None:
        return a or b
    return b if WORSE.index(str(b.outcome)) > WORSE.index(str(a.outcome)) else a


@dataclass
class Event:
    """An event that was logged."""

    number: int
    id: str
    label: str
    received: float
    body: bytes
    in_log: bool = True


@dataclass
class Status:
    """Of an event in a lane: fresh, waiting (with its state and perhaps a copy), or done."""

    version: int
    ending: Ending | None = None
    retry: RetryState | None = None
    copy: bytes | None = None
    since: float = 0.0

    @property
    def queued(self) -> bool:
        """Whether it has no outcome yet."""
        return self.ending is None


@dataclass
class LaneTruth:
    """A lane in a source."""

    start: int
    backfilled: int = 0
    late: int = 0
    events: dict[int, Status] = field(default_factory=dict)


@dataclass
class SourceTruth:
    """A source."""

    name: str
    events: dict[int, Event] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    accepted: int = 0
    stripped: int = 0
    seen: dict[tuple[str, str], tuple[bytes, float]] = field(default_factory=dict)

    @property
    def head(self) -> int:
        """The last number."""
        return max(self.events, default=0)


@dataclass
class Letter:
    """A kept copy."""

    lane: str
    source: str
    number: int
    event_id: str
    label: str
    ending: Ending
    tries: int
    first_at: float
    at: float
    received: float
    body: bytes


@dataclass(eq=False)
class Flight:
    """A Taken in somebody's hands, with the version of the record when it was taken.

    `flying` ends with a new start of the lane: the event can then be taken again, and the first verdict counts.
    """

    lane: str
    taken: Taken
    version: int
    flying: bool = True


class Oracle:
    """All truth. Methods named after the store's operations say what must have happened."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceTruth] = {}
        self.lanes: dict[tuple[str, str], LaneTruth] = {}
        self.letters: list[Letter] = []
        self.withdrawn: dict[tuple[bytes, str], tuple[float, float]] = {}
        self.contexts: dict[bytes, tuple[str, str, float, bytes]] = {}
        self._version = 0

    def version(self) -> int:
        """A new version number."""
        self._version += 1
        return self._version

    def source(self, name: str) -> SourceTruth:
        """A source, made where it is new."""
        return self.sources.setdefault(name, SourceTruth(name))

    # operations

    def append(self, events: list[NewEvent], now: float) -> list[str]:
        """The receipts, and what was stored."""
        receipts = []
        for event in events:
            for context in event.contexts:
                self.contexts[context.key] = (event.source, event.id, event.received, context.body)
            source = self.source(event.source)
            source.accepted += 1
            key = (event.id, event.name)
            before = source.seen.get(key) if event.deduplicate else None
            receipt = "logged" if before is None else "same" if before[0] == event.digest else "conflict"
            receipts.append(receipt)
            source.counts[(event.label, receipt)] += 1
            if receipt == "logged":
                if event.deduplicate:
                    source.seen[key] = (event.digest, event.received)
                self._log(source, event.id, event.label, event.received, event.body)
            elif receipt == "conflict":
                ending = Ending(Outcome.DUPLICATE, "conflict")
                self._bury("", event.source, 0, event.id, event.label, ending, 0, now, now, event.received, event.body)
        return receipts

    def _log(self, source: SourceTruth, id_: str, label: str, received: float, body: bytes) -> None:
        number = source.head + 1
        source.events[number] = Event(number, id_, label, received, body)
        for (_, name), lane in self.lanes.items():
            if name == source.name:
                lane.events[number] = Status(self.version())

    def _bury(self, *columns: Any) -> None:
        self.letters.append(Letter(*columns))

    def open_lane(self, lane: str, sources: list[str]) -> None:
        """New ones start after the head."""
        for name in sources:
            self.lanes.setdefault((lane, name), LaneTruth(self.source(name).head + 1))

    def status(self, lane: str, source: str, number: int) -> Status:
        """The record of an event in a lane."""
        return self.lanes[(lane, source)].events[number]

    def settle(self, flights: list[Flight], settlements: list[Settlement], now: float) -> int:
        """How many came late, and what was recorded."""
        late = 0
        for flight, settlement in zip(flights, settlements, strict=True):
            taken = flight.taken
            status = self.status(flight.lane, taken.source, taken.seq)
            if status.version != flight.version:
                self.lanes[(flight.lane, taken.source)].late += 1
                late += 1
                continue
            before = status.retry
            worst = worse(before.worst if before else None, settlement.ending or (settlement.retry and settlement.retry.worst))
            status.version = self.version()
            if settlement.retry:
                status.retry = replace(settlement.retry, worst=worst)
                continue
            assert worst is not None
            self._finish(flight, settlement, status, worst, now)
        return late

    def _finish(self, flight: Flight, settlement: Settlement, status: Status, ending: Ending, now: float) -> None:
        taken, before = flight.taken, status.retry
        status.ending, status.retry, status.copy = ending, None, None
        if ending.keeps_event:
            tries = (before.tries if before else 0) + (str(ending.outcome) in ("rejected", "dead"))
            first_at = before.first_at if before and before.first_at else now
            event = self.sources[taken.source].events[taken.seq]
            place = (flight.lane, taken.source, taken.seq, settlement.event_id, event.label)
            self._bury(*place, ending, tries, first_at, now, event.received, taken.body)

    def end(self, lane: str, source: str, number: int, ending: Ending) -> None:
        """Something overtook the event: it ends without a copy."""
        status = self.status(lane, source, number)
        status.version = self.version()
        status.ending, status.retry, status.copy = ending, None, None

    def replay(self, lane: str, source: str, lo: int, hi: int, since: float, now: float) -> int:
        """Everything in lo..hi that is in the log, neither delivered nor queued there."""
        truth = self.lanes[(lane, source)]
        queued = 0
        for number, event in self.sources[source].events.items():
            if not (lo <= number <= hi and event.in_log and event.received >= since):
                continue
            status = truth.events.get(number)
            if status and (status.queued or status.ending == Ending(Outcome.DELIVERED)):
                continue
            if status is None:
                truth.backfilled += 1
            self.letters = [x for x in self.letters if (x.lane, x.source, x.number) != (lane, source, number)]
            truth.events[number] = Status(self.version(), retry=RetryState(due=now), since=now)
            queued += 1
        return queued

    def replay_letter(self, letter: Letter, now: float) -> None:
        """A letter goes back to its lane with its copy, a conflicting duplicate to the log."""
        self.letters.remove(letter)
        source = self.sources[letter.source]
        if letter.lane:
            truth = self.lanes[(letter.lane, letter.source)]
            state = RetryState(due=now)
            truth.events[letter.number] = Status(self.version(), retry=state, copy=letter.body, since=now)
        else:
            source.counts[(letter.label, "conflict")] -= 1
            source.counts[(letter.label, "logged")] += 1
            self._log(source, letter.event_id, letter.label, letter.received, letter.body)

    def withdraw(self, subject: bytes, purpose: str, at: float) -> None:
        """A restriction, unless it was lifted later."""
        before_at, lifted = self.withdrawn.get((subject, purpose), (0.0, 0.0))
        if at >= lifted:
            self.withdrawn[(subject, purpose)] = (max(at, before_at), 0.0)

    def lift(self, subject: bytes, purpose: str, at: float) -> None:
        """A newer choice."""
        before = self.withdrawn.get((subject, purpose))
        if before and at >= max(before):
            self.withdrawn[(subject, purpose)] = (before[0], at)

    def erase(self, person: str) -> int:
        """Everything of a person; returns of how many events."""
        found: set[tuple[str, int]] = set()
        nameless = 0
        for source in self.sources.values():
            for event in source.events.values():
                if event.in_log and person_in(event.body) == person:
                    self._erase_event(source, event)
                    found.add((source.name, event.number))
        erased = Ending(Outcome.ERASED)
        for lane, name, number, status in self.queued():
            if status.copy is not None and person_in(status.copy) == person:
                self.end(lane, name, number, erased)
                self._forget_id(name, self.sources[name].events[number].id)
                found.add((name, number))
        for letter in list(self.letters):
            if (letter.source, letter.number) in found or person_in(letter.body) == person:
                self.letters.remove(letter)
                self._forget_id(letter.source, letter.event_id)
                nameless += letter.number == 0
                found |= {(letter.source, letter.number)} if letter.number else set()
        return len(found) + nameless

    def _erase_event(self, source: SourceTruth, event: Event) -> None:
        event.in_log = False
        self._forget_id(source.name, event.id)
        for (lane, name), truth in self.lanes.items():
            status = truth.events.get(event.number)
            if name == source.name and status and status.queued:
                self.end(lane, name, event.number, Ending(Outcome.ERASED))

    def _forget_id(self, source: str, id_: str) -> None:
        self.contexts = {key: kept for key, kept in self.contexts.items() if kept[:2] != (source, id_)}
        seen = self.sources[source].seen
        for key in [key for key in seen if key[0] == id_]:
            del seen[key]

    # totals

    def queued(self) -> list[tuple[str, str, int, Status]]:
        """Every (lane, source, number) without an outcome."""
        return [
            (lane, source, number, status)
            for (lane, source), truth in self.lanes.items()
            for number, status in truth.events.items()
            if status.queued
        ]

    def needs_log(self, source: str, number: int) -> bool:
        """Whether a lane still needs the row of an event."""
        return any(
            status.queued and status.copy is None
            for (_, name), truth in self.lanes.items()
            if name == source and (status := truth.events.get(number))
        )

    def bytes(self) -> int:
        """What the byte limit sees."""
        logged = sum(weight(e.id, e.body) for s in self.sources.values() for e in s.events.values() if e.in_log)
        copies = sum(weight(self.sources[s].events[n].id, x.copy) for _, s, n, x in self.queued() if x.copy is not None)
        return logged + copies + sum(weight(letter.event_id, letter.body) for letter in self.letters)

    def counters(self) -> dict[tuple[str, str, str, str, str], int]:
        """The whole ledger, recounted."""
        found: Counter[tuple[str, str, str, str, str]] = Counter()
        for source in self.sources.values():
            found[(source.name, "", "", "accepted", "")] += source.accepted
            for (label, receipt), n in source.counts.items():
                key = ("logged", "") if receipt == "logged" else ("duplicate", receipt)
                found[(source.name, "", label, *key)] += n
        for (lane, name), truth in self.lanes.items():
            for number, status in truth.events.items():
                if status.ending:
                    label = self.sources[name].events[number].label
                    found[(name, lane, label, str(status.ending.outcome), status.ending.reason)] += 1
        return {key: n for key, n in found.items() if n}

    def rows(self) -> Iterator[tuple[str, int, bytes]]:
        """What must be in the log."""
        for source in self.sources.values():
            for event in source.events.values():
                if event.in_log:
                    yield source.name, event.number, event.body


def letter_key(letter: Letter | DeadLetter) -> tuple[Any, ...]:
    """What must be the same in a kept copy."""
    number = letter.number if isinstance(letter, Letter) else letter.seq
    ending = (str(letter.ending.outcome), letter.ending.reason)
    kept = (letter.tries, letter.first_at, letter.at, letter.body)
    return letter.lane, letter.source, number, letter.event_id, letter.label, ending, *kept
