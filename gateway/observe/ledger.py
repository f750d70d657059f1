"""The ledger as people and programs read it: pure functions over what the store counted (design §7).

Every event a destination could have had stands in exactly one place of its row:

    accepted = delivered + each outcome + queued

`ledger()` gives the whole view, `to_json()` is the body of `/ledger`, `table()` is what `tagway audit` prints. A figure of a
vendor that never says whether it took an event (`confirms: none`) carries a `*`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.outcomes import REASONS, Outcome
from gateway.queue.base import Audit, Counter, LaneCount, SourceCount

Key = tuple[str, str]
"""(outcome, reason)"""

_FAILURES = {
    "vendor_4xx": "refused",
    "vendor_code": "refused by code",
    "auth": "no access",
    "rate": "rate limit",
    "vendor_5xx": "vendor error",
    "timeout": "timeout",
    "connect": "no connection",
    "tls": "TLS",
    "dns": "DNS",
    "mapping": "mapping",
    "too_large": "too large",
}
WORDS: dict[Key, str] = {
    ("delivered", ""): "delivered",
    ("skipped", "disabled"): "disabled",
    ("skipped", "bot"): "bot",
    ("skipped", "loop"): "sent by the page",
    ("skipped", "consent"): "no consent",
    ("skipped", "filter"): "filtered",
    ("skipped", "share"): "outside share",
    ("skipped", "mode"): "dry run",
    ("skipped", "unmapped"): "not mapped",
    ("skipped", "incomplete"): "incomplete",
    ("expired", "age"): "too old",
    ("expired", "retention"): "retention",
    ("expired", "space"): "no room",
    **{("rejected", reason): f"rejected ({words})" for reason, words in _FAILURES.items()},
    **{("dead", reason): f"given up ({words})" for reason, words in _FAILURES.items()},
    ("withdrawn", ""): "withdrawn",
    ("erased", ""): "erased",
    ("duplicate", "same"): "same again",
    ("duplicate", "conflict"): "same id, other content",
}
"""Each outcome in a word or two: the columns of the table."""

_FAILURE_SENTENCES = {
    "vendor_4xx": "the vendor answered that the request is wrong",
    "vendor_code": "the vendor's answer carried an error code",
    "auth": "the vendor does not accept the token or its rights",
    "rate": "the vendor's rate limit",
    "vendor_5xx": "the vendor had an error of its own",
    "timeout": "the vendor did not answer in time",
    "connect": "no connection to the vendor",
    "tls": "no trusted TLS connection to the vendor",
    "dns": "the vendor's host name could not be resolved",
    "mapping": "the mapping could not build a payload",
    "too_large": "the payload is larger than the vendor takes",
}
SENTENCES: dict[Key, str] = {
    ("delivered", ""): "The vendor took it.",
    ("skipped", "disabled"): "The destination is switched off or no longer configured.",
    ("skipped", "bot"): "The visitor looks like a bot.",
    ("skipped", "loop"): "The page itself has sent this event to the vendor.",
    ("skipped", "consent"): "The visitor did not allow what this destination needs.",
    ("skipped", "filter"): "A condition, a rule of the mapping or the hit's own list of destinations leaves it out.",
    ("skipped", "share"): "The visitor is outside the configured share.",
    ("skipped", "mode"): "The destination runs dry: the request was built and not sent.",
    ("skipped", "unmapped"): "The mapping does not list this event.",
    ("skipped", "incomplete"): "The event lacks a value that the vendor requires.",
    ("expired", "age"): "It became older than the vendor takes.",
    ("expired", "retention"): "It waited longer than events are kept.",
    ("expired", "space"): "It had to make room: the store reached its size limit.",
    **{("rejected", reason): f"Refused for good: {words}." for reason, words in _FAILURE_SENTENCES.items()},
    **{("dead", reason): f"Given up after many tries: {words}." for reason, words in _FAILURE_SENTENCES.items()},
    ("withdrawn", ""): "The visitor withdrew consent before it was sent.",
    ("erased", ""): "The person was erased before it was sent.",
    ("duplicate", "same"): "The same event came before; it was kept once.",
    ("duplicate", "conflict"): "The same id came before with other content; the second is kept with the dead letters.",
}
"""Each outcome in a sentence: the page, `explain`."""
QUEUED_WORDS = "queued"
_ORDER: tuple[Key, ...] = tuple((str(outcome), reason) for outcome in Outcome for reason in REASONS[outcome])
_FOOTNOTE = "* counted as delivered when sent: this vendor never says whether it took an event"


def reason_words(outcome: str, reason: str = "") -> str:
    """`("skipped", "consent")` → `no consent`. Raises KeyError for what is no outcome."""
    return WORDS[(outcome, reason)]


def reason_sentence(outcome: str, reason: str = "") -> str:
    """`("skipped", "consent")` → `The visitor did not allow what this destination needs.` Raises KeyError."""
    return SENTENCES[(outcome, reason)]


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """The equation of one destination: over all its sources, or of the one named in `source`."""

    destination: str
    source: str
    accepted: int
    backfilled: int
    outcomes: Mapping[Key, int]
    queued: int
    late: int
    confirms: str
    balanced: bool

    @property
    def delivered(self) -> int:
        """Events the vendor has."""
        return self.outcomes.get(("delivered", ""), 0)

    @property
    def name(self) -> str:
        """With the mark of a vendor that never confirms."""
        return f"{self.destination} *" if self.confirms == "none" else self.destination


@dataclass(frozen=True, slots=True)
class EventRow:
    """How one event name ended, per destination; `duplicates` are counted at the source."""

    event: str
    destinations: Mapping[str, Mapping[Key, int]]
    duplicates: Mapping[Key, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The whole view. `balanced` is the exit code of `tagway audit`."""

    destinations: tuple[DestinationRow, ...]
    pairs: tuple[DestinationRow, ...]
    sources: tuple[SourceCount, ...]
    events: tuple[EventRow, ...]
    problems: tuple[str, ...]
    balanced: bool


def ledger(audit: Audit, counters: Mapping[Counter, int], confirms: Mapping[str, str]) -> Ledger:
    """`confirms` is destination → the manifest's `confirms` (event, request, none); a parked lane may be missing there."""
    lanes: defaultdict[str, list[LaneCount]] = defaultdict(list)
    for row in audit.lanes:
        lanes[row.lane].append(row)
    return Ledger(
        destinations=tuple(_row(lane, "", rows, confirms.get(lane, "event")) for lane, rows in sorted(lanes.items())),
        pairs=tuple(
            _row(row.lane, row.source, [row], confirms.get(row.lane, "event"))
            for row in sorted(audit.lanes, key=lambda row: (row.lane, row.source))
        ),
        sources=audit.sources,
        events=_events(counters),
        problems=audit.problems,
        balanced=audit.balanced,
    )


def _row(lane: str, source: str, rows: Sequence[LaneCount], confirms: str) -> DestinationRow:
    outcomes: defaultdict[Key, int] = defaultdict(int)
    for row in rows:
        for key, count in row.outcomes.items():
            outcomes[(str(key[0]), key[1])] += count
    return DestinationRow(
        destination=lane,
        source=source,
        accepted=sum(row.logged + row.backfilled for row in rows),
        backfilled=sum(row.backfilled for row in rows),
        outcomes={key: outcomes[key] for key in _ORDER if outcomes.get(key)},
        queued=sum(row.queued for row in rows),
        late=sum(row.late for row in rows),
        confirms=confirms,
        balanced=all(row.balanced for row in rows),
    )


def _events(counters: Mapping[Counter, int]) -> tuple[EventRow, ...]:
    lanes: defaultdict[str, defaultdict[str, dict[Key, int]]] = defaultdict(lambda: defaultdict(dict))
    duplicates: defaultdict[str, dict[Key, int]] = defaultdict(dict)
    for (_source, lane, label, outcome, reason), count in counters.items():
        key = (str(outcome), reason)
        if key not in WORDS or not count:
            continue
        cells = lanes[label][lane] if lane else duplicates[label]
        cells[key] = cells.get(key, 0) + count
    return tuple(EventRow(name, lanes.get(name, {}), duplicates.get(name, {})) for name in sorted({*lanes, *duplicates}))


def _cells(outcomes: Mapping[Key, int]) -> list[dict[str, Any]]:
    return [
        {"outcome": key[0], "reason": key[1], "words": WORDS[key], "events": outcomes[key]}
        for key in _ORDER
        if outcomes.get(key)
    ]


def _row_json(row: DestinationRow) -> dict[str, Any]:
    return {
        "destination": row.destination,
        **({"source": row.source} if row.source else {}),
        "accepted": row.accepted,
        "backfilled": row.backfilled,
        "delivered": row.delivered,
        "outcomes": _cells(row.outcomes),
        "queued": row.queued,
        "late": row.late,
        "confirms": row.confirms,
        "balanced": row.balanced,
    }


def to_json(view: Ledger) -> dict[str, Any]:
    """The body of `GET /ledger` and of `tagway audit --json`."""
    return {
        "balanced": view.balanced,
        "problems": list(view.problems),
        "destinations": [
            _row_json(row) | {"sources": [_row_json(pair) for pair in view.pairs if pair.destination == row.destination]}
            for row in view.destinations
        ],
        "sources": [
            {
                "source": row.source,
                "accepted": row.accepted,
                "logged": row.logged,
                "duplicates": {"same": row.same, "conflict": row.conflict},
                "balanced": row.balanced,
            }
            for row in view.sources
        ],
        "events": [
            {
                "event": row.event,
                "destinations": {name: _cells(cells) for name, cells in sorted(row.destinations.items())},
                "duplicates": _cells(row.duplicates),
            }
            for row in view.events
        ],
    }


def table(view: Ledger) -> str:
    """The equations as text: one line per destination and per source, then what is wrong.

    >>> print(table(view))
    destination  accepted = delivered + no consent + queued
    ga4 *             100 =        90 +          8 +      2  ✓
    meta              100 =       100 +          0 +      0  ✓
    """
    blocks = [_destinations_table(view), _sources_table(view)]
    notes = [_FOOTNOTE] if any(row.confirms == "none" for row in view.destinations) else []
    notes += [f"problem: {problem}" for problem in view.problems]
    return "\n\n".join([block for block in blocks if block] + (["\n".join(notes)] if notes else []))


def _destinations_table(view: Ledger) -> str:
    used = [key for key in _ORDER if any(row.outcomes.get(key) for row in view.destinations) or key == ("delivered", "")]
    header = ["destination", "accepted", *(WORDS[key] for key in used), QUEUED_WORDS]
    rows = [
        ([row.name, row.accepted, *(row.outcomes.get(key, 0) for key in used), row.queued], row.balanced)
        for row in view.destinations
    ]
    return _equations(header, rows)


def _sources_table(view: Ledger) -> str:
    header = ["source", "accepted", "logged", *(WORDS[("duplicate", reason)] for reason in REASONS[Outcome.DUPLICATE])]
    rows = [([row.source, row.accepted, row.logged, row.same, row.conflict], row.balanced) for row in view.sources]
    return _equations(header, rows)


def _equations(header: Sequence[str], rows: Sequence[tuple[Sequence[Any], bool]]) -> str:
    """Name, total = part + part + …, and a mark: aligned columns."""
    if not rows:
        return ""
    lines = [list(header), *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells] for cells, _ in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    marks = ["", *("  ✓" if balanced else "  ✗ does not balance" for _, balanced in rows)]
    return "\n".join(_equation(line, widths) + mark for line, mark in zip(lines, marks, strict=True))


def _equation(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, total, *parts = (
        cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"{name}  {total} = {' + '.join(parts)}"
