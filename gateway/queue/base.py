"""The queue's protocol: what every backend promises (design §0, §6). `sqlite` is the embedded default.

- A call to `append` or `settle` that returns has been committed and synced; one that raises changed nothing.
- An event is stored once, in the log of its source; sequence numbers are per source and without gaps.
- A destination is a *lane*. Of each source that it reads a lane keeps where it began, which numbers are settled (with the
  code of their ending, while the log row lives) and its retry rows. What is in flight is not stored.
- `settle` looks at position and retry row inside its transaction and drops what has an outcome already (counted `late`).
- One retry row stands for one event of one lane and names the parts that are still to be sent, so the outcome of an
  event of several parts is written once, with the last part.

The equations (design §0.3), counted and checked by `audit`:
    per source:           accepted = logged + duplicates
    per (lane, source):   logged since the lane began + back-filled = the sum of the outcomes + queued
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.outcomes import Ending, Receipt

CONTEXT_AGE = 48 * 3600.0
"""Seconds that a context is kept; less where personal data has to go sooner."""


class Context(NamedTuple):
    """What a browser's hit says of its visitor, kept for the shop's word of the same order (gateway/checkout.py).

    `key` is a keyed hash of the checkout, cart or order; `body` is JSON; `at` is wall time, set by the store.
    """

    key: bytes
    body: bytes
    at: float = 0.0


class NewEvent(NamedTuple):
    """An accepted event on its way to disk.

    `deduplicate` is true when the client gave the id: then (source, name, id) is remembered for at least 48 h and
    `digest` (8 bytes over the client's own content) tells a repeat that is the same from one that conflicts. `contexts`
    are written with it, be it a repeat or not.
    """

    source: str
    name: str
    label: str
    id: str
    body: bytes
    received: float
    deduplicate: bool = False
    digest: bytes = b""
    contexts: tuple[Context, ...] = ()


@dataclass(frozen=True, slots=True)
class RetryState:
    """What is known of an event that waits for another try in one lane.

    `tries` counts failed requests (a split is not one); `first_at` is the wall time of the first failure, moved on by the
    time spent under a breaker or a pause; `parts` are the indices still to be sent (None: all of them); `worst` is the
    worst ending among the parts that are done; `alone` asks for a request of its own; `why` is the last failure.
    """

    due: float
    tries: int = 0
    first_at: float = 0.0
    parts: tuple[int, ...] | None = None
    worst: Ending | None = None
    alone: bool = False
    why: Ending | None = None


class Taken(NamedTuple):
    """An event handed to a lane; in flight until it is settled or released.

    `token` is the version of its retry row (0: fresh): a verdict on an older version comes late. Hand the object back as
    it came.
    """

    source: str
    seq: int
    label: str
    body: bytes
    received: float
    retry: RetryState | None = None
    token: int = 0


class Settlement(NamedTuple):
    """What a lane found out about one event: its ending, or that it waits for another try (exactly one of the two).

    Where the ending keeps a copy of the event, `taken.body` is what is kept. The ending counted is the worse of `ending`
    and the worst of the parts that ended before.
    """

    taken: Taken
    event_id: str
    ending: Ending | None = None
    retry: RetryState | None = None


class Firing(NamedTuple):
    """One request to a vendor: the record of a tag firing (design §7).

    `events` are (source, sequence number, event id). `answer` is the vendor's, at most 2 KiB; `request` is the masked
    request line and size, never a body.
    """

    lane: str
    at: float
    status: int
    ms: float
    request: str
    answer: str
    events: tuple[tuple[str, int, str], ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A kept event that was not delivered (or a conflicting duplicate, then `lane` is empty)."""

    id: int
    lane: str
    source: str
    seq: int
    event_id: str
    label: str
    ending: Ending
    tries: int
    first_at: float
    at: float
    body: bytes


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which dead letters: every field narrows; `ids` are DeadLetter.id."""

    ids: tuple[int, ...] = ()
    lane: str | None = None
    source: str | None = None
    outcome: str | None = None
    reason: str | None = None
    event_id: str | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class LaneCount:
    """A (lane, source) row of the ledger. `outcomes` is {(outcome, reason): n}; `queued` counts events, not rows."""

    lane: str
    source: str
    logged: int
    backfilled: int
    outcomes: Mapping[tuple[str, str], int]
    queued: int
    late: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every event has exactly one outcome or is queued."""
        return self.logged + self.backfilled == sum(self.outcomes.values()) + self.queued


@dataclass(frozen=True, slots=True)
class SourceCount:
    """A source's row of the ledger."""

    source: str
    accepted: int
    logged: int
    same: int
    conflict: int

    @property
    def balanced(self) -> bool:
        """Whether every accepted hit was logged or is a duplicate."""
        return self.accepted == self.logged + self.same + self.conflict


@dataclass(frozen=True, slots=True)
class Audit:
    """The equations as counted in the store, row by row; `problems` are sentences, empty when all is well."""

    sources: tuple[SourceCount, ...]
    lanes: tuple[LaneCount, ...]
    problems: tuple[str, ...] = ()

    @property
    def balanced(self) -> bool:
        """Whether every equation holds and no row is damaged."""
        return not self.problems and all(s.balanced for s in self.sources) and all(r.balanced for r in self.lanes)


@dataclass(frozen=True, slots=True)
class LaneDepth:
    """What waits in a lane: events, how many of them in the retry table, and the oldest one's receipt (wall time)."""

    queued: int
    retrying: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Sizes for /metrics: bytes of the log with its copies, WAL bytes in use, free disk, and whether hits are refused."""

    log_bytes: int
    wal_bytes: int
    disk_free: int
    full: bool
    corrupt_rows: int = 0
    commit_seconds: Sequence[float] = field(default=())


Counter = tuple[str, str, str, str, str]
"""(source, lane, label, outcome, reason): lane is empty for what is counted at the source."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Of a long job: how many of how many were looked at (`total` is an estimate), and how many of them were queued."""

    done: int
    total: int
    queued: int = 0


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A subject's restriction: `subject` is a salted hash, `purposes` are those now denied, `at` is wall time."""

    subject: bytes
    purposes: frozenset[str]
    at: float


class Store(Protocol):
    """What the gateway needs of a queue. Names of lanes and sources are the configured ones."""

    salt: bytes
    """Made once per store; subjects of withdrawals are hashed with it."""

    async def open(self) -> None:
        """Take ownership, recover, start the writer. Raises StoreLocked, StoreTooNew, StoreUnfit."""

    async def close(self) -> None:
        """Commit what was handed in, stop the writer, let go of the folder."""

    def append(self, events: Sequence[NewEvent]) -> Awaitable[list[Receipt]]:
        """Store a hit's events in one transaction. Raises QueueFull (nothing stored), at once or when awaited."""

    def contexts(self, keys: Sequence[bytes], since: float) -> Mapping[bytes, Context]:
        """The contexts kept under these keys since a time (wall clock), by key."""

    async def open_lane(self, lane: str, sources: Sequence[str]) -> None:
        """Declare a lane and what it reads. A (lane, source) never seen before starts now; a known one resumes."""

    def lanes(self) -> Mapping[str, Sequence[str]]:
        """Every lane the store knows, with the sources it has a position for; also those no longer configured."""

    def take(self, lane: str, limit: int) -> list[Taken]:
        """Up to `limit` events: half due retries, half fresh, sources in turn. Empty when there is nothing to do."""

    async def wait(self, lane: str, timeout: float) -> None:
        """Return when `take` may have something, or after `timeout` seconds."""

    def release(self, lane: str, taken: Iterable[Taken]) -> None:
        """Give events back unsettled (pause, reload, shutdown): they can be taken again."""

    def holds(self, lane: str, taken: Taken) -> bool:
        """Whether an event that was taken is still the lane's to send: not once it was settled, released or erased."""

    async def shift_waits(self, lane: str, seconds: float) -> None:
        """Move the times of the lane's retry rows by `seconds`, as the wall clock was moved; none becomes due before now."""

    async def settle(self, lane: str, settlements: Sequence[Settlement], firings: Sequence[Firing] = ()) -> int:
        """Record outcomes and retries with the requests that led there, in one transaction. Returns how many came late."""

    async def withdraw(self, withdrawals: Sequence[Withdrawal]) -> None:
        """Make restrictions hold; when this returns no request that begins later may carry these subjects."""

    async def lift(self, subjects: Iterable[bytes], purposes: frozenset[str], at: float) -> None:
        """A new choice of the visitor takes a restriction back, for events received after `at`."""

    @property
    def withdrawals(self) -> Mapping[bytes, Mapping[str, tuple[float, float]]]:
        """subject → purpose → (withdrawn at, lifted at or 0); read before each request."""

    async def erase(self, subjects: frozenset[str], matches: Sequence[tuple[str, str, str]]) -> int:
        """Remove a person: events whose (section, key) equals value end as `erased` where queued and lose their bytes.

        `matches` are (section, key, value), for example ("user", "email", "ada@example.com"); `subjects` are ids of events
        that are also to go. Outcomes already counted stay. Returns how many events were found. Raises StoreError when the
        write-ahead log could not be emptied of their bytes; the erasure itself then holds, and emptying is tried again.
        """

    async def retain(self) -> None:
        """One pass of retention, personal data stripping and de-dup purge; called every few seconds."""

    async def dead(self, where: DeadFilter) -> list[DeadLetter]:
        """Dead letters, newest first."""

    async def replay_dead(self, where: DeadFilter) -> int:
        """Queue dead letters again: subtract the old outcome, add to queued. Returns how many."""

    async def drop_dead(self, where: DeadFilter) -> int:
        """Delete the kept copies; the outcomes stay as counted."""

    def replay(self, lane: str, since: float, sources: Sequence[str] | None = None) -> AsyncIterator[Progress]:
        """Back-fill a lane from the log: everything received since then that is not delivered there nor queued."""

    def counters(self) -> Mapping[Counter, int]:
        """All ledger counters as committed."""

    def depth(self, lane: str) -> LaneDepth:
        """What waits in a lane."""

    @property
    def full(self) -> bool:
        """Whether hits are refused for want of room."""

    def stats(self) -> StoreStats:
        """Sizes and health; `commit_seconds` are those since the last call, so only the meter asks."""

    async def audit(self) -> Audit:
        """Count the equations from the rows themselves."""

    def books(self) -> Audit:
        """The same sums as kept in memory: cheap, and blind to what is damaged in the file."""

    async def find(self, event_id: str) -> list[tuple[str, int, bytes, float]]:
        """Events of that id still in the log or kept: (source, sequence number, body, received)."""

    async def firings(self, lane: str | None, event_id: str | None, limit: int) -> list[Firing]:
        """Newest requests, of one lane or of one event."""
